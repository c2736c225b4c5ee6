"""Whether predictions differ between conditions, or collapse to the same for all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from scvi_sams.evaluation._profiles import Array, Floats, matrix, paired

_GENES_AT_ONCE = 256


def variance_ratio(predicted: npt.ArrayLike, observed: npt.ArrayLike) -> float:
    r"""Variance between conditions, predicted over observed.

    .. math::
        \rho = \frac{\sum_g \mathrm{var}_p(\hat x_{pg})}{\sum_g \mathrm{var}_p(\bar x_{pg})}

    with the predicted mean x̂ and the observed mean x̄ of gene g in condition p. Far below 1 the
    model predicts much the same for all conditions, and exactly 0 if it is the same. Observed
    means carry the sampling error of their cells, so that a ratio somewhat below 1 is to be
    expected of a good model.

    Parameters
    ----------
    predicted, observed
        Conditions × genes, both on one scale.

    Returns
    -------
    The ratio, 0 or more; NaN if observed conditions do not differ, or are fewer than two.

    Raises
    ------
    ValueError
        If the two are not finite matrices of one shape.
    """
    found, true = paired(predicted, observed)
    return float(variance_ratios(found, true, np.ones((1, len(true))))[0])


def mean_similarity(profiles: npt.ArrayLike, *, metric: str = "cosine") -> float:
    r"""Mean similarity of all pairs of conditions.

    .. math::
        \frac{1}{n (n - 1)} \sum_{p \neq q} s(x_p, x_q) =
            \frac{\| \sum_p u_p \|^2 - n}{n (n - 1)}

    with profiles x of n conditions, and the similarity s, the inner product of profiles u of
    length 1, so that no matrix of pairs is needed. Predictions that are more alike than
    observations have begun to collapse. Profiles without direction are alike among themselves and
    similar to no other.

    Parameters
    ----------
    profiles
        Conditions × genes, best as changes, such as differences from the mean of control cells.
    metric
        ``"cosine"``, or ``"pearson"`` to subtract the mean of each profile first.

    Returns
    -------
    The mean, in [-1, 1]; NaN for fewer than two conditions.

    Raises
    ------
    ValueError
        If the profiles are no finite matrix, the metric is unknown, or there are fewer than two
        genes to correlate.
    """
    values = matrix(profiles, "profiles").astype(float)
    if metric not in ("cosine", "pearson"):
        raise ValueError(f"No metric is called {metric!r}; choose 'cosine' or 'pearson'.")
    if metric == "pearson" and values.shape[1] < 2:
        raise ValueError("`profiles` have 1 gene; give at least 2, since nothing varies over 1.")
    return float(similarities(values, np.ones((1, len(values))), metric=metric)[0])


def variance_ratios(predicted: Floats, observed: Floats, weights: Array) -> Array:
    """:func:`variance_ratio` of resampled conditions.

    Parameters
    ----------
    predicted, observed
        Conditions × genes.
    weights
        How often each condition counts, resamples × conditions.

    Returns
    -------
    Array of shape ``(n_resamples,)``.
    """
    found, true = _total_variances(predicted, weights), _total_variances(observed, weights)
    return np.divide(found, true, out=np.full(len(true), np.nan), where=true > 0)


def similarities(profiles: Floats, weights: Array, *, metric: str = "cosine") -> Array:
    r""":func:`mean_similarity` of resampled conditions, with weights as in the former.

    .. math::
        \frac{\sum_{p \neq q} w_p w_q \, s(x_p, x_q)}{\sum_{p \neq q} w_p w_q} =
            \frac{\| \sum_p w_p u_p \|^2 - \sum_p w_p^2}{(\sum_p w_p)^2 - \sum_p w_p^2}

    with weights w and the other symbols as there: a condition that was drawn twice makes no pair
    with itself, which would be alike by the draw.
    """
    if len(profiles) < 2:
        return np.full(len(weights), np.nan)
    centre = np.zeros((len(profiles), 1))
    has_direction = np.abs(profiles).max(axis=1) > 0
    if metric == "pearson":
        centre = profiles.mean(axis=1, dtype=float, keepdims=True)
        # the mean of equal numbers may differ from them by a rounding error
        has_direction = np.ptp(profiles, axis=1) > 0
    blocks = list(_blocks(profiles.shape[1]))
    squares = sum(((profiles[:, genes] - centre) ** 2).sum(axis=1) for genes in blocks)
    scale = np.zeros((len(profiles), 1))
    scale[has_direction, 0] = 1 / np.sqrt(np.asarray(squares)[has_direction])
    n, n_with = weights.sum(axis=1), weights @ has_direction
    squares_of_weights = (weights**2).sum(axis=1)
    # pairs of those without direction, which are alike, and what the others are with themselves
    total = (n - n_with) ** 2 - squares_of_weights
    for genes in blocks:
        total += ((weights @ ((profiles[:, genes] - centre) * scale)) ** 2).sum(axis=1)
    pairs = n**2 - squares_of_weights
    mean = np.divide(total, pairs, out=np.full(len(n), np.nan), where=pairs > 0)
    return np.minimum(mean, 1.0)  # rounding may take equal profiles past 1


def _total_variances(profiles: Floats, weights: Array) -> Array:
    """Sums over genes of the variance between conditions."""
    n = weights.sum(axis=1)
    if len(profiles) < 2:
        return np.full(len(n), np.nan)
    total = np.zeros(len(n))
    for genes in _blocks(profiles.shape[1]):
        # from the first, so that equal profiles have no variance whatever rounding does to means
        x = profiles[:, genes] - profiles[0, genes].astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = weights @ x / n[:, None]
            total += weights @ (x**2).sum(axis=1) / n - (means**2).sum(axis=1)
    return np.where(n > 1, np.maximum(total, 0), np.nan)


def _blocks(n_genes: int) -> Iterator[slice]:
    for start in range(0, n_genes, _GENES_AT_ONCE):
        yield slice(start, start + _GENES_AT_ONCE)
