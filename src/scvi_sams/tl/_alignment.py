"""Latent dimensions of several models, brought to one order and one sign."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

_MOST_PASSES = 50


class Alignment(NamedTuple):
    """Which dimension of which model is which, and its sign.

    Dimension k of the alignment is ``signs[a, k]`` times dimension ``permutations[a, k]`` of
    model a. The reference's own are 0, 1, 2, … with sign 1.
    """

    permutations: npt.NDArray[np.intp]  # n x K
    signs: npt.NDArray[np.intp]  # n x K, -1 or 1
    agreement: npt.NDArray[np.float64]  # n x n
    reference: int

    def apply(self, stacked: npt.NDArray[np.float64], *, signed: bool) -> npt.NDArray[np.float64]:
        """Order, and turn if ``signed``, the dimensions of ``stacked`` (n × T × K)."""
        ones = np.ones_like(self.signs)
        return _aligned(stacked, self.permutations, self.signs if signed else ones)


def align(effects: npt.NDArray[np.float64], reference: int | None = None) -> Alignment:
    r"""Find the order and signs of latent dimensions under which models agree most.

    .. math::
        \min_{\pi, s} \sum_a \sum_{tk}
        \Big(s_{ak} X^a_{t \pi_a(k)} - \bar X_{tk}\Big)^2,
        \qquad \bar X_{tk} = \frac1n \sum_a s_{ak} X^a_{t \pi_a(k)}

    where :math:`X^a_{tk}` is the effect of perturbation t on dimension k in model a,
    :math:`\pi_a` a permutation and :math:`s_{ak} = \pm 1`. While the others stand, the best for
    one model is the assignment that maximises
    :math:`\sum_k |\langle R_k, X^a_{\pi_a(k)} \rangle|`, R being the sum of the others'
    aligned effects (Hungarian algorithm, Kuhn 1955), with the signs of those inner products. The
    models take turns until nothing changes: generalised Procrustes analysis (Gower 1975),
    restricted to signed permutations. Since that finds a minimum near its start, all are
    aligned to each model in turn for a start, and the lowest sum counts, so that no model is
    favoured. That there is no lower one is not guaranteed.

    Parameters
    ----------
    effects
        Effects in each model, models × perturbations × latent dimensions.
    reference
        Model whose order and signs the alignment takes. By default the one whose ``agreement``
        with the others is largest in total; the first of several.

    Returns
    -------
    The alignment. Its ``agreement`` of two models is the cosine of their effects (as vectors of
    length TK) after the best matching of the two, in [0, 1]; 0 beside a model without effects.
    """
    agreement = _agreement(effects)
    if reference is None:
        reference = int(agreement.sum(1).argmax())
    # the sum falls as the norm of the mean grows
    permutations, signs = max(
        (_align_from(effects, start) for start in effects),
        key=lambda found: float((_aligned(effects, *found).mean(0) ** 2).sum()),
    )
    as_in_reference = np.argsort(permutations[reference])
    permutations, signs = permutations[:, as_in_reference], signs[:, as_in_reference]
    return Alignment(permutations, signs * signs[reference], agreement, reference)


def _align_from(
    effects: npt.NDArray[np.float64], start: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Permutations and signs once the models, aligned to ``start``, took turns."""
    columns, turns, _ = zip(*(_match(one, start) for one in effects), strict=True)
    permutations, signs = np.stack(columns), np.stack(turns)
    aligned = _aligned(effects, permutations, signs)
    total = aligned.sum(0)
    for _ in range(_MOST_PASSES):
        changed = False
        for a, one in enumerate(effects):
            permutation, sign, _ = _match(one, total - aligned[a])
            if (permutation != permutations[a]).any() or (sign != signs[a]).any():
                changed = True
                permutations[a], signs[a] = permutation, sign
                total += one[:, permutation] * sign - aligned[a]
                aligned[a] = one[:, permutation] * sign
        if not changed:
            break
    return permutations, signs


def _aligned(
    effects: npt.NDArray[np.float64],
    permutations: npt.NDArray[np.intp],
    signs: npt.NDArray[np.intp],
) -> npt.NDArray[np.float64]:
    return np.take_along_axis(effects, permutations[:, None, :], 2) * signs[:, None, :]


def _match(
    effects: npt.NDArray[np.float64], target: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], float]:
    """Dimension of ``effects`` for each of ``target``, its sign, and the inner product of all."""
    inner = target.T @ effects  # K x K
    rows, columns = linear_sum_assignment(np.abs(inner), maximize=True)
    of_pairs = inner[rows, columns]
    return columns, np.where(of_pairs < 0, -1, 1), float(np.abs(of_pairs).sum())


def _agreement(effects: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    n_models = len(effects)
    # models without any effect have inner products of zero, which any norm leaves at zero
    norms = np.sqrt((effects**2).sum((1, 2)))
    scaled = effects / np.where(norms > 0, norms, 1)[:, None, None]
    agreement = np.eye(n_models)
    for a in range(n_models):
        for b in range(a):
            agreement[a, b] = agreement[b, a] = _match(scaled[a], scaled[b])[2]
    return agreement
