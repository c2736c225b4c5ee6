"""What the simulated screens share: networks, effects, cells and the layout of their truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import anndata as ad
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

Array = npt.NDArray[np.float64]

CELLS_FOR_TRUE_ATE = 2_000
LEAK = 0.2
SPLITS = ("train", "val", "test")  # what `train(split_key=...)` reads


class Network(NamedTuple):
    r"""Bias-free network, linear in the end.

    .. math::
        f(z) = h_L W_{L+1}, \quad h_l = \max(h_{l-1} W_l, 0.2 \, h_{l-1} W_l), \quad h_0 = z

    with weights :math:`W_1, \ldots, W_{L+1}`, the last of them the output's.
    """

    weights: tuple[Array, ...]

    def __call__(self, z: Array) -> Array:
        """Outputs of latent states ``z`` (cells x K); cells x G."""
        *hidden, output = self.weights
        for weight in hidden:
            z = z @ weight
            z = np.where(z > 0, z, LEAK * z)
        return z @ output

    def scaled(self, z: Array, *, sd: float) -> Network:
        """The network each output of which has standard deviation ``sd`` over the cells ``z``."""
        *hidden, output = self.weights
        return Network((*hidden, sd * output / self(z).std(axis=0)))


def orthogonal_network(widths: Sequence[int], rng: np.random.Generator) -> Network:
    """Network of orthogonal weights; ``widths`` runs from the latent dimensions to the genes."""
    return Network(tuple(_orthogonal(n_in, n_out, rng) for n_in, n_out in pairwise(widths)))


def _orthogonal(n_in: int, n_out: int, rng: np.random.Generator) -> Array:
    q, _ = np.linalg.qr(rng.normal(size=(max(n_in, n_out), min(n_in, n_out))))
    return q if n_in >= n_out else q.T


def signed_effects(shape: tuple[int, ...], size: float, rng: np.random.Generator) -> Array:
    """Effects of size |N(size, (size/10)²)| with random signs."""
    sign = rng.choice([-1.0, 1.0], size=shape)
    return sign * np.abs(rng.normal(size, size / 10, size=shape))


def perturbation_names(n_perturbations: int) -> npt.NDArray[np.object_]:
    """``"pert_00"`` and so on, with as many digits as are needed."""
    width = len(str(n_perturbations - 1))
    return np.array([f"pert_{t:0{width}d}" for t in range(n_perturbations)], dtype=object)


class SplitCells(NamedTuple):
    """Cells of one perturbation each, grouped by split and perturbation."""

    perturbation: npt.NDArray[np.intp]  # position of each cell's perturbation
    split: npt.NDArray[np.intp]  # position of each cell's split in SPLITS
    z_basal: Array  # cells x K
    z: Array  # cells x K

    @property
    def z_train(self) -> Array:
        """Perturbed states of the training cells."""
        return self.z[self.split == 0]

    def obs(self) -> dict[str, pd.Categorical]:
        """The labels and the split, as columns of ``obs``."""
        names = perturbation_names(self.perturbation.max() + 1)
        return {
            "perturbation": pd.Categorical.from_codes(self.perturbation, names),
            "split": pd.Categorical.from_codes(self.split, list(SPLITS)),
        }


def draw_cells(
    shifts: Array, n_cells_per_perturbation: Sequence[int], rng: np.random.Generator
) -> SplitCells:
    """Cells with z = z_basal + shift of their perturbation, z_basal ~ N(0, I).

    Parameters
    ----------
    shifts
        m ⊙ e, perturbations × latent dimensions.
    n_cells_per_perturbation
        Cells of each perturbation in training, validation and test.
    """
    n_perturbations, n_latent = shifts.shape
    perturbation = np.concatenate(
        [np.repeat(np.arange(n_perturbations), n) for n in n_cells_per_perturbation]
    )
    split = np.repeat(np.arange(len(SPLITS)), np.multiply(n_cells_per_perturbation, len(shifts)))
    z_basal = rng.normal(size=(len(perturbation), n_latent))
    return SplitCells(perturbation, split, z_basal, z_basal + shifts[perturbation])


def treatment_effects(response: Callable[[Array], Array], shifts: Array, z: Array) -> Array:
    """Average effects on ``response`` of each row of ``shifts``, against no shift.

    Parameters
    ----------
    response
        Mean response (G) of a set of latent states (cells × K).
    shifts
        Perturbations × K.
    z
        Basal states, the same in every arm so that their noise cancels.

    Returns
    -------
    Perturbations × G.
    """
    reference = response(z)
    return np.stack([response(z + shift) - reference for shift in shifts])


def log_share(counts: Array) -> Array:
    """log2(1 + 10⁴ x / Σx) of counts x, cells × G; an empty cell has zeros."""
    return np.log2(1 + 1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def to_anndata(
    x: npt.NDArray[np.float32] | sparse.csr_matrix,
    obs: Mapping[str, Any],
    *,
    z_basal: Array,
    z: Array,
    masks: Array,
    effects: Array,
    average_treatment_effects: Array,
) -> ad.AnnData:
    """Expression, labels and truth, in the layout of all simulated screens."""
    return ad.AnnData(
        X=x,
        obs=pd.DataFrame(dict(obs), index=[f"cell_{i}" for i in range(x.shape[0])]),
        var=pd.DataFrame(index=[f"gene_{g}" for g in range(x.shape[1])]),
        obsm={"z_basal_true": z_basal, "z_true": z},
        uns={
            "truth": {
                "masks": masks.astype(np.int8),
                "effects": effects,
                "perturbation_names": perturbation_names(len(masks)),
                "average_treatment_effects": average_treatment_effects,
            }
        },
    )


def check_whole_numbers(**numbers: int) -> None:
    """Refuse what is no whole number of at least 1.

    Raises
    ------
    ValueError
        Naming the argument.
    """
    for name, number in numbers.items():
        if not (number >= 1 and number == int(number)):
            raise ValueError(f"`{name}` is {number}; give a whole number of at least 1.")


def check_effect_size(effect_size: float) -> None:
    """Refuse an effect size that is negative or not finite.

    Raises
    ------
    ValueError
        If it is.
    """
    if not 0 <= effect_size < np.inf:
        raise ValueError(
            f"`effect_size` is {effect_size}; give a finite number of at least 0, since its sign "
            "is drawn."
        )


def check_cells(n_cells_per_perturbation: Sequence[int], n_perturbations: int) -> None:
    """Refuse what are no numbers of cells in training, validation and test.

    Raises
    ------
    ValueError
        If they are not three whole numbers of at least 0, or leave fewer than 2 training cells,
        over which no standard deviation can be taken.
    """
    numbers = np.asarray(n_cells_per_perturbation)
    if numbers.shape != (len(SPLITS),) or (numbers < 0).any() or (numbers % 1 != 0).any():
        raise ValueError(
            f"`n_cells_per_perturbation` is {n_cells_per_perturbation}; give three whole numbers "
            "of at least 0: cells in training, validation and test."
        )
    if numbers[0] * n_perturbations < 2:
        raise ValueError(
            f"`n_cells_per_perturbation` is {n_cells_per_perturbation}, which leaves fewer than 2 "
            "training cells to scale the genes over; raise its first number."
        )
