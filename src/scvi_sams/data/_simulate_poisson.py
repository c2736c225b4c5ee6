"""A simulated screen of Poisson counts whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import numpy as np
from scipy import sparse
from scipy.special import softmax

from scvi_sams.data._planted import (
    CELLS_FOR_TRUE_ATE,
    Array,
    check_cells,
    check_effect_size,
    check_whole_numbers,
    draw_cells,
    log_share,
    orthogonal_network,
    signed_effects,
    to_anndata,
    treatment_effects,
)

_MOST_TARGETS = 3


def simulate_poisson(
    n_perturbations: int = 100,
    *,
    n_cells_per_perturbation: Sequence[int] = (500, 100, 100),
    n_genes: int = 100,
    n_latent: int = 15,
    n_hidden: int = 40,
    n_layers: int = 3,
    effect_size: float = 5.0,
    library_size: float = 1_000.0,
    seed: int = 0,
) -> ad.AnnData:
    r"""Simulate a screen of Poisson counts in which each perturbation has 1 to 3 targets.

    .. math::
        e_{tk} = \pm \left| N(s, (s/10)^2) \right|, \quad
        z_i = z^b_i + m_{t_i} \odot e_{t_i}, \quad
        x_{ig} \sim \mathrm{Poisson}\left(\ell \, \mathrm{softmax}(f(z_i))_g\right)

    with the basal state :math:`z^b_i \sim N(0, I)` of cell i, the mask m and the effect e of
    perturbation t on latent dimension k, signs drawn at random, the one perturbation :math:`t_i`
    of each cell (there are no controls) and the expected count ℓ of a cell. The number of targets
    of a perturbation (the ones in its mask) is uniform on 1, 2, 3, and so is the choice of as
    many dimensions. f is a bias-free network with orthogonal weights, LeakyReLU(0.2) after each
    hidden layer and a linear output, scaled so that each gene's logit has a standard deviation
    of 1 over the training cells.

    Parameters
    ----------
    n_perturbations
        Number of perturbations T.
    n_cells_per_perturbation
        Cells of each perturbation in training, validation and test.
    n_genes, n_latent
        Number of genes G and of latent dimensions K. With fewer than 3 dimensions there are at
        most as many targets.
    n_hidden, n_layers
        Units of each hidden layer of the network, and number of these layers.
    effect_size
        Mean size s of a shift, in standard deviations of the basal state.
    library_size
        Expected count ℓ of a cell, in counts.
    seed
        Of the random numbers; the global state is not touched.

    Returns
    -------
    AnnData of shape cells × genes with counts (sparse, float32) in ``X``;
    ``obs["perturbation"]`` (``"pert_00"``, with as many digits as are needed) and
    ``obs["split"]`` (``"train"``, ``"val"``, ``"test"``). Cells without a count, which only a
    small library brings about, are left out. The truth stands in ``uns["truth"]`` (``masks`` and
    ``effects``, perturbations × latent dimensions; ``average_treatment_effects``, perturbations
    × genes, against basal cells, of log2(1 + 10⁴ x / Σx), over the same 2,000 basal states in
    both arms; ``perturbation_names``) and in ``obsm["z_basal_true"]``, ``obsm["z_true"]``.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    Lopez et al., CLeaR 2023 (arXiv 2211.03553), SVAE+.
    """
    check_whole_numbers(
        n_perturbations=n_perturbations, n_latent=n_latent, n_hidden=n_hidden, n_layers=n_layers
    )
    check_cells(n_cells_per_perturbation, n_perturbations)
    check_effect_size(effect_size)
    if not (n_genes >= 2 and n_genes == int(n_genes)):
        raise ValueError(
            f"`n_genes` is {n_genes}; give a whole number of at least 2, since the shares of one "
            "gene alone are always 1."
        )
    if not 0 < library_size < np.inf:
        raise ValueError(
            f"`library_size` is {library_size}; give a positive number of counts per cell."
        )
    rng = np.random.default_rng(seed)
    masks = _few_targets(n_perturbations, n_latent, rng)
    effects = signed_effects(masks.shape, effect_size, rng)
    shifts = masks * effects  # T x K
    cells = draw_cells(shifts, n_cells_per_perturbation, rng)
    widths = [n_latent, *[n_hidden] * n_layers, n_genes]
    network = orthogonal_network(widths, rng).scaled(cells.z_train, sd=1.0)

    def counts(z: Array) -> Array:
        return rng.poisson(library_size * softmax(network(z), axis=1)).astype(float)

    x = sparse.csr_matrix(counts(cells.z), dtype=np.float32)
    adata = to_anndata(
        x,
        cells.obs(),
        z_basal=cells.z_basal,
        z=cells.z,
        masks=masks,
        effects=effects,
        average_treatment_effects=treatment_effects(
            lambda z: log_share(counts(z)).mean(axis=0),
            shifts,
            rng.normal(size=(CELLS_FOR_TRUE_ATE, n_latent)),
        ),
    )
    return adata[x.getnnz(axis=1) > 0].copy()


def _few_targets(n_perturbations: int, n_latent: int, rng: np.random.Generator) -> Array:
    """Masks with 1 to 3 ones each, number and places uniform; T x K."""
    number = rng.integers(1, min(_MOST_TARGETS, n_latent) + 1, size=(n_perturbations, 1))
    rank = rng.permuted(np.tile(np.arange(n_latent), (n_perturbations, 1)), axis=1)
    return (rank < number).astype(float)
