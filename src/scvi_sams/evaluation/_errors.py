"""How far predicted profiles are from observed ones, over genes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scvi_sams.evaluation._profiles import Array, beside, paired, reference_profile, resolution


def rmse(predicted: npt.ArrayLike, observed: npt.ArrayLike) -> Array:
    r"""Root mean squared error of each condition.

    .. math::
        \mathrm{RMSE}_p = \sqrt{\tfrac{1}{G} \sum_g (\hat x_{pg} - \bar x_{pg})^2}

    with the predicted mean x̂ and the observed mean x̄ of gene g among G, in condition p.

    Parameters
    ----------
    predicted, observed
        Conditions × genes, both on one scale, such as log1p of counts scaled to 10,000.

    Returns
    -------
    Array of shape ``(n_conditions,)``, in units of that scale.

    Raises
    ------
    ValueError
        If the two are not finite matrices of one shape.
    """
    found, true = (array.astype(float) for array in paired(predicted, observed))
    return np.sqrt(((found - true) ** 2).mean(axis=1))


def mae(predicted: npt.ArrayLike, observed: npt.ArrayLike) -> Array:
    r"""Mean absolute error of each condition.

    .. math::
        \mathrm{MAE}_p = \tfrac{1}{G} \sum_g |\hat x_{pg} - \bar x_{pg}|

    with symbols, units and errors as in :func:`rmse`.

    Parameters
    ----------
    predicted, observed
        As in :func:`rmse`.

    Returns
    -------
    Array of shape ``(n_conditions,)``.
    """
    found, true = (array.astype(float) for array in paired(predicted, observed))
    return np.abs(found - true).mean(axis=1)


def r2(predicted: npt.ArrayLike, observed: npt.ArrayLike) -> Array:
    r"""Coefficient of determination of each condition, over genes.

    .. math::
        R^2_p = 1 - \frac{\sum_g (\hat x_{pg} - \bar x_{pg})^2}
            {\sum_g (\bar x_{pg} - \tfrac{1}{G} \sum_h \bar x_{ph})^2}

    with symbols as in :func:`rmse`. It is not a squared correlation: predictions off by a shift or
    a factor lose, and it is negative where the mean over genes would do better. Means of genes
    differ so much that it is near 1 for any sensible prediction, the control's mean included.

    Parameters
    ----------
    predicted, observed
        Conditions × genes, both on one scale.

    Returns
    -------
    Array of shape ``(n_conditions,)``; NaN where the observed profile is constant.

    Raises
    ------
    ValueError
        If the two are not finite matrices of one shape with two genes or more.
    """
    pair = paired(predicted, observed, least_genes=2)
    found, true = (array.astype(float) for array in pair)
    error = ((found - true) ** 2).sum(axis=1)
    spread = ((true - true.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    # the mean of equal numbers may differ from them by a rounding error
    varies = (np.ptp(true, axis=1) > 0) & (spread > 0)
    return 1 - np.divide(error, spread, out=np.full(len(true), np.nan), where=varies)


def weighted_mse(
    predicted: npt.ArrayLike, observed: npt.ArrayLike, *, weights: npt.ArrayLike
) -> Array:
    r"""Mean squared error of each condition, with weights of its own.

    .. math::
        \mathrm{WMSE}_p = \sum_g w_{pg} (\hat x_{pg} - \bar x_{pg})^2, \quad \sum_g w_{pg} = 1

    with weights w and the other symbols as in :func:`rmse`. Weights from each perturbation's own
    differential expression let the genes count that it moves, so that predicting the mean of all
    perturbations no longer scores well.

    Parameters
    ----------
    predicted, observed
        Conditions × genes, both on one scale.
    weights
        Conditions × genes, not negative; normalised to sum 1 in each condition.

    Returns
    -------
    Array of shape ``(n_conditions,)``, in squared units of that scale; NaN where all weights of a
    condition are 0.

    Raises
    ------
    ValueError
        If the three are not finite matrices of one shape, or a weight is negative.

    References
    ----------
    Mejia et al. 2025, on metrics of perturbation predictions that collapse cannot win.
    """
    found, true = (array.astype(float) for array in paired(predicted, observed))
    return (_shares(weights, true) * (found - true) ** 2).sum(axis=1)


def weighted_r2_delta(
    predicted: npt.ArrayLike,
    observed: npt.ArrayLike,
    *,
    reference: npt.ArrayLike,
    weights: npt.ArrayLike,
) -> Array:
    r"""Coefficient of determination of each condition's change, with weights of its own.

    .. math::
        R^2_p = 1 - \frac{\sum_g w_{pg} (\hat\delta_{pg} - \delta_{pg})^2}
            {\sum_g w_{pg} (\delta_{pg} - \sum_h w_{ph} \delta_{ph})^2}, \quad
        \delta_{pg} = \bar x_{pg} - r_{pg}, \; \hat\delta_{pg} = \hat x_{pg} - r_{pg}

    with the reference r and the other symbols as in :func:`weighted_mse`.

    Parameters
    ----------
    predicted, observed
        Conditions × genes, both on one scale.
    reference
        What changes are from, on that scale: of genes, or conditions × genes. Usually the mean of
        the control cells, or the mean over the perturbations of the training set.
    weights
        Conditions × genes, not negative; normalised to sum 1 in each condition.

    Returns
    -------
    Array of shape ``(n_conditions,)``; NaN where all weights of a condition are 0, or the observed
    change is the same in all genes that carry weight.

    Raises
    ------
    ValueError
        If the arrays are not finite, their shapes do not fit, there are fewer than two genes, or a
        weight is negative.

    References
    ----------
    Mejia et al. 2025, on metrics of perturbation predictions that collapse cannot win.
    """
    found, true = paired(predicted, observed, least_genes=2)
    start = reference_profile(reference, "reference", true)
    delta = true - start.astype(float)
    share = _shares(weights, true)
    error = (share * (found.astype(float) - true) ** 2).sum(axis=1)
    centre = (share * delta).sum(axis=1, keepdims=True)
    spread = (share * (delta - centre) ** 2).sum(axis=1)
    counts = share > 0
    # where the same number is added to all genes, rounding leaves a spread that means nothing
    highest = np.where(counts, delta, -np.inf).max(axis=1)
    lowest = np.where(counts, delta, np.inf).min(axis=1)
    varies = (highest - lowest > resolution(true, start)[:, 0]) & (spread > 0)
    ratio = np.divide(error, spread, out=np.full(len(true), np.nan), where=varies)
    return 1 - ratio


def _shares(weights: npt.ArrayLike, observed: npt.NDArray[np.floating]) -> Array:
    """Weights normalised to sum 1 per condition; NaN where they are all 0."""
    values = beside(weights, "weights", observed).astype(float)
    is_bad = (values < 0).any(axis=1)
    if is_bad.any():
        raise ValueError(
            f"`weights` are negative in {is_bad.sum()} condition(s), first "
            f"{np.flatnonzero(is_bad)[0]}. Give scores without sign, such as their squares."
        )
    total = values.sum(axis=1, keepdims=True)
    return np.divide(values, total, out=np.full(values.shape, np.nan), where=total > 0)
