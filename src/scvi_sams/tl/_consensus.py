"""What several models of one screen agree on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import anndata as ad
import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from scvi_sams.data._names import listed
from scvi_sams.tl._alignment import align


class _HasEffects(Protocol):
    def get_perturbation_effects(self) -> AnnData: ...


def consensus(
    models: Sequence[_HasEffects | AnnData],
    *,
    reference: int | None = None,
    threshold: float = 0.5,
) -> AnnData:
    r"""Combine the perturbation effects of models that differ by their seed.

    .. math::
        \bar X_{tk} = \frac1n \sum_{a=1}^n x^a_{tk}, \qquad
        \bar q_{tk} = \frac1n \sum_{a=1}^n q^a_{tk}, \qquad
        \text{stability}_{tk} = \frac1n \sum_{a=1}^n [c^a_{tk} = \bar c_{tk}]

    where, for perturbation t in model a of n,
    :math:`x^a_{tk} = s_{ak} E[m^a e^a]_{t \pi_a(k)}` is the expected shift and
    :math:`q^a_{tk} = q(m^a_{t \pi_a(k)} = 1)` the inclusion probability of the dimension that is
    matched to k, and :math:`c^a_{tk} = [q^a_{tk} > \text{threshold}] \, \text{sign}(x^a_{tk})`
    is the model's call: up, down or nothing. :math:`\bar c_{tk}` is the same call from
    :math:`\bar q_{tk}` and :math:`\bar X_{tk}`.

    Latent dimensions have neither order nor sign. The permutations :math:`\pi_a` and the signs
    :math:`s_{ak} = \pm 1` are those under which the models' expected shifts differ least, in
    squares, from their mean (see Notes).

    Parameters
    ----------
    models
        At least two trained models of the same perturbations with the same number of latent
        dimensions, such as :func:`~scvi_sams.fit_ensemble` trains, or what their
        :meth:`~scvi_sams.SAMSVAE.get_perturbation_effects` returned. Perturbations are matched
        by name. A model without masks includes every effect.
    reference
        Position of the model whose order and signs of dimensions the result takes. By default
        the one that agrees best with the others.
    threshold
        Inclusion probability above which an effect is called.

    Returns
    -------
    AnnData of shape perturbations × latent dimensions, the perturbations in the order of the
    first model.

    - ``X``: :math:`\bar X`, the mean expected shift at dose 1
    - ``layers["inclusion_probability"]``: :math:`\bar q`
    - ``layers["stability"]``: share of the models whose call is the consensus call; 1 if all
      agree on whether there is an effect, and on its sign
    - ``layers["effect_sd"]``: standard deviation of :math:`x^a_{tk}` between models (n - 1)
    - ``obs["n_called"]``: dimensions that the consensus calls
    - ``obs["stability"]``: mean stability over the dimensions that any model calls; 1 if none
      calls any. Dimensions that nobody calls are left out since they agree trivially.
    - ``obs["n_cells"]``: number of training cells; the smallest if models differ. Left out if
      not all of ``models`` say it.
    - ``var["matched_cosine"]``: cosine of the matched columns :math:`x^a_k` and :math:`x^b_k`,
      mean over all pairs of models: how reproducible the dimension is, at most 1. Without an
      effect on a dimension its cosine is 0.
    - ``uns["consensus"]``: ``n_models``, ``threshold``, ``reference`` (a position),
      ``permutations`` and ``signs`` (models × dimensions), and ``agreement`` (models × models,
      the cosine of all their effects after the best matching of the two)

    All of it survives ``write_h5ad``. Latent states of model a follow as
    ``z[:, permutations[a]] * signs[a]``.

    Raises
    ------
    TypeError
        If ``models`` is not a sequence of models or their effects.
    ValueError
        If there are fewer than two, their perturbations or numbers of dimensions differ, names
        repeat, effects are not finite, or ``reference`` or ``threshold`` is impossible.
    RuntimeError
        If a model is not trained.

    Notes
    -----
    In turn, each model is matched to the sum of the others by the Hungarian algorithm (Kuhn
    1955) on the absolute inner products of columns, until nothing changes: generalised
    Procrustes analysis (Gower 1975) over signed permutations. It starts from each model, and the
    best end is kept, so the result depends on the reference by the order and signs of its
    dimensions only. Inner products rather than cosines, so that dimensions without effects do
    not take partners from others.

    Dimensions are matched whether or not they correspond, so ``matched_cosine`` is above 0 by
    chance, the more so the fewer perturbations there are: for Gaussian noise in five models,
    0.3 with 20 perturbations and 10 dimensions, 0.17 with 100 and 50, 0.05 with 1,000 and 50.

    Examples
    --------
    >>> models = sams.fit_ensemble(adata, n_seeds=5, n_latent=20)
    >>> agreed = sams.tl.consensus(models)
    >>> least_sure_first = agreed.obs["stability"].sort_values()
    >>> ax = sams.pl.inclusion_probability(agreed)
    """
    effects = _all_effects(models)
    n_models, names = len(effects), effects[0].obs_names
    if reference is not None and not 0 <= reference < n_models:
        raise ValueError(
            f"`reference` is a position in `models`, from 0 to {n_models - 1}; it is {reference}."
        )
    if not 0 <= threshold < 1:
        raise ValueError(f"`threshold` is a probability below 1; it is {threshold}.")

    shifts, inclusion = (np.stack(values) for values in zip(*map(_values, effects), strict=True))
    rows = np.stack([one.obs_names.get_indexer(names) for one in effects])[:, :, None]
    shifts, inclusion = (np.take_along_axis(x, rows, 1) for x in (shifts, inclusion))  # n x T x K
    alignment = align(shifts, reference)
    shifts = alignment.apply(shifts, signed=True)
    inclusion = alignment.apply(inclusion, signed=False)

    mean_shift, mean_inclusion = shifts.mean(0), inclusion.mean(0)
    calls = np.where(inclusion > threshold, np.sign(shifts), 0)
    consensus_calls = np.where(mean_inclusion > threshold, np.sign(mean_shift), 0)
    stability = (calls == consensus_calls).mean(0)
    obs = pd.DataFrame(
        {
            "n_called": (consensus_calls != 0).sum(1),
            "stability": _over_called(stability, calls),
        },
        index=names.copy(),
    )
    if all("n_cells" in one.obs for one in effects):
        obs["n_cells"] = np.min([one.obs["n_cells"].loc[names] for one in effects], axis=0)
    return ad.AnnData(
        X=mean_shift,
        obs=obs,
        var=pd.DataFrame(
            {"matched_cosine": _mean_cosine(shifts)},
            index=effects[alignment.reference].var_names.copy(),
        ),
        layers={
            "inclusion_probability": mean_inclusion,
            "stability": stability,
            "effect_sd": shifts.std(0, ddof=1),
        },
        uns={
            "consensus": {
                "n_models": n_models,
                "threshold": threshold,
                "reference": alignment.reference,
                "permutations": alignment.permutations,
                "signs": alignment.signs,
                "agreement": alignment.agreement,
            }
        },
    )


def _over_called(
    stability: npt.NDArray[np.float64], calls: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Mean stability of each perturbation over the dimensions that any model calls."""
    called = (calls != 0).any(0)
    n_called = called.sum(1)
    total = (stability * called).sum(1)
    return np.where(n_called > 0, total / np.maximum(n_called, 1), 1.0)


def _mean_cosine(shifts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cosine of the same column in two models, mean over the pairs of models; of shape K."""
    norms = np.linalg.norm(shifts, axis=1, keepdims=True)  # n x 1 x K
    units = shifts / np.where(norms > 0, norms, 1)
    # the square of a sum holds each pair twice, and each model with itself
    of_pairs = (units.sum(0) ** 2).sum(0) - (units**2).sum((0, 1))
    return of_pairs / (len(shifts) * (len(shifts) - 1))


def _values(effects: AnnData) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Expected shifts and inclusion probabilities, perturbations × latent dimensions."""
    shifts = np.asarray(effects.X, dtype=float)
    inclusion = effects.layers.get("inclusion_probability")
    return shifts, np.ones_like(shifts) if inclusion is None else np.asarray(inclusion, float)


def _all_effects(models: Sequence[_HasEffects | AnnData]) -> list[AnnData]:
    """Effects of each model, once all fit together."""
    wanted = "`models` is a sequence of trained models, or of what their "
    wanted += "`get_perturbation_effects()` returned"
    if isinstance(models, AnnData) or not isinstance(models, Sequence):
        raise TypeError(f"{wanted}; it is of type {type(models).__name__}.")
    for position, item in enumerate(models):
        if not isinstance(item, AnnData) and not hasattr(item, "get_perturbation_effects"):
            raise TypeError(f"{wanted}; models[{position}] is of type {type(item).__name__}.")
        if not getattr(item, "is_trained", True):
            raise RuntimeError(f"models[{position}] is not trained; call its `train()` first.")
    if len(models) < 2:
        raise ValueError(
            f"A consensus takes at least 2 models; `models` has {len(models)}. "
            "`scvi_sams.fit_ensemble` trains several that differ by their seed."
        )
    effects = [
        item if isinstance(item, AnnData) else item.get_perturbation_effects() for item in models
    ]
    for position, one in enumerate(effects):
        _check_fits(effects[0], one, position)
    return effects


def _check_fits(first: AnnData, one: AnnData, position: int) -> None:
    repeated = one.obs_names[one.obs_names.duplicated()].unique()
    if len(repeated):
        raise ValueError(
            f"models[{position}] has several perturbations named {listed(repeated)}. "
            "Names say which perturbation is which; make them unique."
        )
    pairs = [(0, first.obs_names, one), (position, one.obs_names, first)]
    alone = [
        f"only models[{where}] has {listed(names.difference(other.obs_names))}"
        for where, names, other in pairs
        if len(names.difference(other.obs_names))
    ]
    if alone:
        raise ValueError(
            f"models[0] and models[{position}] are of different perturbations: "
            f"{'; '.join(alone)}. A consensus takes models of one screen."
        )
    if one.n_vars != first.n_vars:
        raise ValueError(
            f"models[0] has {first.n_vars} latent dimensions, models[{position}] {one.n_vars}. "
            "Train all with the same `n_latent`."
        )
    if not all(np.isfinite(values).all() for values in _values(one)):
        raise ValueError(
            f"The effects of models[{position}] are not all finite; leave it out or train it anew."
        )
