"""Whether predictions differ between conditions, or collapse to the same for all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scvi_sams.evaluation._profiles import Floats, matrix, paired


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
    found, true = (_total_variance(array) for array in paired(predicted, observed))
    return found / true if true > 0 else float("nan")


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
    has_direction = np.abs(values).max(axis=1) > 0
    if metric == "pearson":
        if values.shape[1] < 2:
            raise ValueError(
                "`profiles` have 1 gene; give at least 2, since nothing varies over 1."
            )
        # the mean of equal numbers may differ from them by a rounding error
        has_direction = np.ptp(values, axis=1) > 0
        values = values - values.mean(axis=1, keepdims=True)
    n, n_without = len(values), int((~has_direction).sum())
    if n < 2:
        return float("nan")
    units = values[has_direction]
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    total = float((units.sum(axis=0) ** 2).sum()) - len(units) + n_without * (n_without - 1)
    return min(total / (n * (n - 1)), 1.0)  # rounding may take equal profiles past 1


def _total_variance(profiles: Floats) -> float:
    if len(profiles) < 2:
        return float("nan")
    # from the first, so that equal profiles have no variance whatever rounding does to their mean
    return float((profiles - profiles[0].astype(float)).var(axis=0).sum())
