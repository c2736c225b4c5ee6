"""How much each gene counts in a condition, by what it does there."""

from __future__ import annotations

import numpy as np

from scvi_sams.evaluation._means import Profiles
from scvi_sams.evaluation._profiles import Array


def effect_weights(observed: Profiles, control: Profiles) -> Array:
    r"""Squared t-statistics of observed conditions against observed control.

    .. math::
        w_{pg} \propto t_{pg}^2, \quad
        t_{pg} = \frac{\bar x_{pg} - \bar x_{0g}}{\sqrt{(v_{pg} + v_{0g}) / n_p}}, \quad
        \sum_g w_{pg} = 1

    with the means x̄ and variances v of log1p counts per 10,000 of gene g, over the :math:`n_p`
    cells of condition p and over control cells (0). It is Welch's statistic with the control mean
    held to be as uncertain as one of :math:`n_p` cells (in scanpy ``"t-test_overestim_var"``):
    control cells are many, and with their true number a gene that none of a few perturbed cells
    happens to express would outweigh all others.

    Parameters
    ----------
    observed
        Conditions × genes, with variances.
    control
        One row, with variances.

    Returns
    -------
    Array of conditions × genes. Genes that vary on neither side have weight 0, and so have all
    genes of a condition of one cell.

    References
    ----------
    Mejia et al. 2025, for weights by differential expression.
    """
    if observed.variance is None or control.variance is None:
        raise ValueError("Weights take variances between cells (`with_variance=True`).")
    delta = observed.log.astype(float) - control.log
    variance = observed.variance.astype(float) + control.variance
    squares = np.divide(delta**2, variance, out=np.zeros_like(delta), where=variance > 0)
    total = squares.sum(axis=1, keepdims=True)
    return np.divide(squares, total, out=np.zeros_like(delta), where=total > 0)
