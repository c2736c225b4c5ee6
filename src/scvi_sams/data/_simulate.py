"""A simulated screen of counts whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import anndata as ad
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.special import softmax

from scvi_sams.data._planted import (
    CELLS_FOR_TRUE_ATE,
    Array,
    Network,
    log_share,
    orthogonal_network,
    perturbation_names,
    signed_effects,
    to_anndata,
    treatment_effects,
)


class _Screen(NamedTuple):
    """The fixed quantities of a simulated screen."""

    base: Array  # G
    network: Network  # K to G
    batch_shift: Array  # batches x G
    theta: Array  # G
    library_size: float
    library_sd: float

    def counts(self, z: Array, batch: npt.NDArray[np.intp], rng: np.random.Generator) -> Array:
        """Counts of cells with latent states ``z`` (cells x K); cells x G."""
        share = softmax(self.base + self.network(z) + self.batch_shift[batch], axis=1)
        library = self.library_size * np.exp(rng.normal(0, self.library_sd, size=(len(z), 1)))
        mean = library * share
        return rng.negative_binomial(self.theta, self.theta / (self.theta + mean)).astype(float)


def simulate(
    n_perturbations: int = 50,
    *,
    n_cells_per_perturbation: int = 100,
    n_control: int = 500,
    n_genes: int = 200,
    n_latent: int = 8,
    inclusion: float = 0.2,
    null_fraction: float = 0.3,
    effect_size: float = 3.0,
    n_combinations: int = 0,
    doses: Sequence[float] | None = None,
    n_batches: int = 2,
    library_size: float = 5_000.0,
    seed: int = 0,
) -> ad.AnnData:
    r"""Simulate a screen by the generative process of the model.

    .. math::
        m_{tk} \sim \mathrm{Bernoulli}(\alpha), \quad e_{tk} = \pm N(s, (s/10)^2), \quad
        z_i = z^b_i + \sum_t d_{it} (m_t \odot e_t), \quad
        x_i \sim \mathrm{NB}(\ell_i \, \mathrm{softmax}(b + f(z_i) + c_i), \theta)

    with :math:`z^b_i \sim N(0, I)`, a random network f (orthogonal weights, LeakyReLU), base
    expression b, batch shifts c, log-normal library sizes ℓ and inverse dispersions θ.

    Parameters
    ----------
    n_perturbations
        Number of perturbations T.
    n_cells_per_perturbation
        Cells of each perturbation, and of each combination.
    n_control
        Control cells.
    n_genes, n_latent
        Number of genes G and of latent dimensions K.
    inclusion
        Probability α that a perturbation with an effect shifts a dimension; each shifts at least
        one.
    null_fraction
        Share of perturbations that shift nothing.
    effect_size
        Mean size s of a shift, in standard deviations of the basal state.
    n_combinations
        Number of combinations of two perturbations, drawn from those with an effect where they
        suffice.
    doses
        Doses that cells draw from; without them every dose is 1.
    n_batches
        Number of batches.
    library_size
        Median library size, in counts.
    seed
        Of the random numbers; the global state is not touched.

    Returns
    -------
    AnnData of shape cells × genes with counts in ``X``; ``obs["perturbation"]`` (``"control"``,
    ``"pert_01"``, ``"pert_01+pert_02"``, with as many digits as are needed), ``obs["batch"]``
    and, with ``doses``, ``obs["dosage"]``. The truth stands in ``uns["truth"]`` (``masks`` and
    ``effects``, perturbations × latent dimensions; ``average_treatment_effects``, perturbations
    × genes, at dose 1 against control, of log2(1 + 10⁴ x / Σx); ``perturbation_names``) and in
    ``obsm["z_basal_true"]``, ``obsm["z_true"]``.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    if n_perturbations < 2 or n_cells_per_perturbation < 1 or n_genes < 2 or n_latent < 1:
        raise ValueError(
            "A screen needs at least 2 perturbations, 1 cell of each, 2 genes and 1 latent "
            f"dimension; asked for {n_perturbations}, {n_cells_per_perturbation}, {n_genes} and "
            f"{n_latent}."
        )
    if not 0 < inclusion <= 1 or not 0 <= null_fraction <= 1:
        raise ValueError(
            "`inclusion` must lie in (0, 1] and `null_fraction` in [0, 1]; they are "
            f"{inclusion} and {null_fraction}."
        )
    if n_batches < 1 or min(n_control, n_combinations) < 0:
        raise ValueError(
            "`n_batches` must be at least 1, `n_control` and `n_combinations` at least 0; they "
            f"are {n_batches}, {n_control} and {n_combinations}."
        )
    if n_combinations > n_perturbations * (n_perturbations - 1) // 2:
        raise ValueError(f"{n_perturbations} perturbations have no {n_combinations} combinations.")
    rng = np.random.default_rng(seed)
    masks, effects = _masks_and_effects(
        n_perturbations, n_latent, inclusion, null_fraction, effect_size, rng
    )
    shifts = masks * effects  # T x K
    screen = _random_screen(shifts, n_genes, n_batches, library_size, rng)

    conditions: list[tuple[int, ...]] = [(t,) for t in range(n_perturbations)]
    conditions += _choose_pairs(masks, n_combinations, rng)
    names = perturbation_names(n_perturbations)
    cells: list[tuple[int, ...]] = [()] * n_control
    cells += [condition for condition in conditions for _ in range(n_cells_per_perturbation)]
    dose = [
        rng.choice(np.asarray(doses, dtype=float), size=len(cell))
        if doses is not None
        else np.ones(len(cell))
        for cell in cells
    ]
    offsets = np.stack(
        [
            (amount[:, None] * shifts[list(cell)]).sum(axis=0) if cell else np.zeros(n_latent)
            for cell, amount in zip(cells, dose, strict=True)
        ]
    )  # cells x K
    z_basal = rng.normal(size=offsets.shape)
    batch = rng.integers(n_batches, size=len(cells))
    counts = screen.counts(z_basal + offsets, batch, rng)

    obs: dict[str, Any] = {
        "perturbation": pd.Categorical(["+".join(names[list(c)]) or "control" for c in cells]),
        "batch": pd.Categorical([f"batch_{b}" for b in batch]),
    }
    if doses is not None:
        obs["dosage"] = ["+".join(f"{amount:g}" for amount in d) or "0" for d in dose]
    kept = counts.sum(axis=1) > 0
    adata = to_anndata(
        sparse.csr_matrix(counts, dtype=np.float32),
        obs,
        z_basal=z_basal,
        z=z_basal + offsets,
        masks=masks,
        effects=effects,
        average_treatment_effects=_true_ate(screen, shifts, n_batches, rng),
    )
    return adata[kept].copy()


def _masks_and_effects(
    n_perturbations: int,
    n_latent: int,
    inclusion: float,
    null_fraction: float,
    effect_size: float,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    masks = (rng.random((n_perturbations, n_latent)) < inclusion).astype(float)
    empty = np.flatnonzero(masks.sum(axis=1) == 0)
    masks[empty, rng.integers(n_latent, size=len(empty))] = 1
    masks[rng.permutation(n_perturbations)[: round(null_fraction * n_perturbations)]] = 0
    return masks, signed_effects(masks.shape, effect_size, rng)


def _random_screen(
    shifts: Array, n_genes: int, n_batches: int, library_size: float, rng: np.random.Generator
) -> _Screen:
    n_latent = shifts.shape[1]
    network = orthogonal_network([n_latent, 50, n_genes], rng)
    screen = _Screen(
        base=rng.normal(size=n_genes),
        network=network,
        batch_shift=rng.normal(0, 0.2, size=(n_batches, n_genes)),
        theta=rng.gamma(5.0, 1.0, size=n_genes) + 0.5,
        library_size=library_size,
        library_sd=0.3,
    )
    reference = rng.normal(size=(1_000, n_latent)) + shifts[rng.integers(len(shifts), size=1_000)]
    # each gene varies with a standard deviation of 0.5 in log expression
    return screen._replace(network=network.scaled(reference, sd=0.5))


def _choose_pairs(
    masks: Array, n_combinations: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    effective = set(np.flatnonzero(masks.sum(axis=1)))
    pairs = list(combinations(range(len(masks)), 2))
    order = [pairs[i] for i in rng.permutation(len(pairs))]
    order.sort(key=lambda pair: -len(effective & set(pair)))
    return order[:n_combinations]


def _true_ate(screen: _Screen, shifts: Array, n_batches: int, rng: np.random.Generator) -> Array:
    """ATE of each perturbation at dose 1, all random numbers the same in both arms; T x G."""
    z = rng.normal(size=(CELLS_FOR_TRUE_ATE, shifts.shape[1]))
    batch = rng.integers(n_batches, size=len(z))
    seed = rng.integers(2**32)

    def response(z: Array) -> Array:
        counts = screen.counts(z, batch, np.random.default_rng(seed))
        return log_share(counts).mean(axis=0)

    return treatment_effects(response, shifts, z)
