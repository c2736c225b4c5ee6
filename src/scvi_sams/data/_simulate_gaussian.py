"""A simulated screen with Gaussian noise whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import anndata as ad
import numpy as np

from scvi_sams.data._planted import (
    CELLS_FOR_TRUE_ATE,
    check_cells,
    check_effect_size,
    check_whole_numbers,
    draw_cells,
    orthogonal_network,
    signed_effects,
    to_anndata,
    treatment_effects,
)


@dataclass(frozen=True)
class _Protocol:
    """Sizes of a screen."""

    n_perturbations: int
    n_genes: int
    n_latent: int
    n_layers: int
    n_hidden: int
    inclusion: float
    n_cells_per_perturbation: Sequence[int]


PROTOCOLS = {
    "N": _Protocol(100, 50, 8, 1, 50, 0.2, (20, 100, 100)),
    "S": _Protocol(50, 50, 8, 1, 50, 0.2, (500, 100, 100)),
    "D": _Protocol(100, 100, 15, 4, 50, 2 / 15, (500, 100, 100)),
}


def simulate_gaussian(
    protocol: Literal["N", "S", "D"] = "D",
    *,
    n_perturbations: int | None = None,
    n_genes: int | None = None,
    n_latent: int | None = None,
    n_layers: int | None = None,
    n_hidden: int | None = None,
    inclusion: float | None = None,
    n_cells_per_perturbation: Sequence[int] | None = None,
    effect_size: float = 5.0,
    noise_fraction: float = 0.2,
    seed: int = 0,
) -> ad.AnnData:
    r"""Simulate a screen with sparse additive shifts and Gaussian noise.

    .. math::
        m_{tk} \sim \mathrm{Bernoulli}(\alpha), \quad
        e_{tk} = \pm \left| N(s, (s/10)^2) \right|, \quad
        z_i = z^b_i + m_{t_i} \odot e_{t_i}, \quad
        x_{ig} = f_g(z_i) + N\!\left(0, \frac{\phi}{1 - \phi}\right)

    with the basal state :math:`z^b_i \sim N(0, I)` of cell i, the mask m and the effect e of
    perturbation t on latent dimension k, signs drawn at random, and the one perturbation
    :math:`t_i` of each cell; there are no controls. f is a bias-free network with orthogonal
    weights, LeakyReLU(0.2) after each hidden layer and a linear output, which is then scaled so
    that each gene has a standard deviation of 1 over the training cells. The noise's variance is
    thus that of the scaled output times φ/(1 − φ): noise holds the share φ of a gene's variance.

    Parameters
    ----------
    protocol
        Sizes to start from, which the next seven arguments replace where they are given.

        ======== === ==== === === ============= ===== ==================
        protocol K   T    G   L   hidden units  α     cells per
                                                      perturbation
        ======== === ==== === === ============= ===== ==================
        N        8   100  50  1   50            0.2   20, 100, 100
        S        8   50   50  1   50            0.2   500, 100, 100
        D        15  100  100 4   50            2/15  500, 100, 100
        ======== === ==== === === ============= ===== ==================
    n_perturbations
        Number of perturbations T.
    n_genes, n_latent
        Number of genes G and of latent dimensions K.
    n_layers, n_hidden
        Number of hidden layers L of the network, and of the units of each.
    inclusion
        Probability α that a perturbation shifts a dimension; some may shift none.
    n_cells_per_perturbation
        Cells of each perturbation in training, validation and test.
    effect_size
        Mean size s of a shift, in standard deviations of the basal state.
    noise_fraction
        Share φ of each gene's variance over the training cells that is noise, in [0, 1).
    seed
        Of the random numbers; the global state is not touched. The noise alone depends on
        ``noise_fraction``: screens that differ in nothing else have the same cells.

    Returns
    -------
    AnnData of shape cells × genes with dense expression (float32, in standard deviations of the
    noise-free output) in ``X``; ``obs["perturbation"]`` (``"pert_00"``, with as many digits as
    are needed) and ``obs["split"]`` (``"train"``, ``"val"``, ``"test"``). The truth stands in
    ``uns["truth"]`` (``masks`` and ``effects``, perturbations × latent dimensions;
    ``average_treatment_effects``, perturbations × genes, of the noise-free output against basal
    cells, over the same 2,000 basal states in both arms; ``perturbation_names``) and in
    ``obsm["z_basal_true"]``, ``obsm["z_true"]``.

    Raises
    ------
    ValueError
        If the protocol is unknown or a number is out of range.

    References
    ----------
    Bereket & Karaletsos, NeurIPS 2023 (arXiv 2311.02794).
    """
    given: dict[str, Any] = {
        "n_perturbations": n_perturbations,
        "n_genes": n_genes,
        "n_latent": n_latent,
        "n_layers": n_layers,
        "n_hidden": n_hidden,
        "inclusion": inclusion,
        "n_cells_per_perturbation": n_cells_per_perturbation,
    }
    size = _sizes(protocol, given)
    check_effect_size(effect_size)
    if not 0 <= noise_fraction < 1:
        raise ValueError(
            f"`noise_fraction` is {noise_fraction}; give a number of at least 0 and below 1."
        )
    rng = np.random.default_rng(seed)
    shape = (size.n_perturbations, size.n_latent)
    masks = (rng.random(shape) < size.inclusion).astype(float)
    effects = signed_effects(shape, effect_size, rng)
    shifts = masks * effects  # T x K
    cells = draw_cells(shifts, size.n_cells_per_perturbation, rng)
    widths = [size.n_latent, *[size.n_hidden] * size.n_layers, size.n_genes]
    network = orthogonal_network(widths, rng).scaled(cells.z_train, sd=1.0)
    ate = treatment_effects(
        lambda z: network(z).mean(axis=0),
        shifts,
        rng.normal(size=(CELLS_FOR_TRUE_ATE, size.n_latent)),
    )
    x = network(cells.z)
    x += rng.normal(size=x.shape) * np.sqrt(noise_fraction / (1 - noise_fraction))
    return to_anndata(
        x.astype(np.float32),
        cells.obs(),
        z_basal=cells.z_basal,
        z=cells.z,
        masks=masks,
        effects=effects,
        average_treatment_effects=ate,
    )


def _sizes(protocol: str, given: dict[str, Any]) -> _Protocol:
    if protocol not in PROTOCOLS:
        raise ValueError(f"No protocol is called {protocol!r}; choose one of {list(PROTOCOLS)}.")
    size = replace(
        PROTOCOLS[protocol], **{name: value for name, value in given.items() if value is not None}
    )
    whole = asdict(size)
    del whole["inclusion"], whole["n_cells_per_perturbation"]
    check_whole_numbers(**whole)
    check_cells(size.n_cells_per_perturbation, size.n_perturbations)
    if not 0 <= size.inclusion <= 1:
        raise ValueError(f"`inclusion` is {size.inclusion}; give a probability between 0 and 1.")
    return size
