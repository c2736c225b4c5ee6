"""Recovery of latent states, up to what cannot be identified."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

Array = npt.NDArray[np.float64]
Method = Literal["pearson", "spearman"]


def mean_correlation_coefficient(
    estimated: npt.ArrayLike, true: npt.ArrayLike, *, method: Method = "pearson"
) -> float:
    r"""Mean absolute correlation of matched latent dimensions (MCC).

    .. math::
        \mathrm{MCC} = \frac{1}{K} \max_{\pi} \sum_{(j, k) \in \pi}
            \left| \mathrm{corr}(\hat z_{\cdot j}, z_{\cdot k}) \right|

    with the estimated states ẑ, the K dimensions of the true states z, and π a matching of
    estimated with true dimensions, each used at most once (Hungarian algorithm, Kuhn 1955). It
    is 1 where every true dimension was found up to order, sign, scale and shift. A dimension
    without variance correlates 0 with any other, and so does a true dimension without partner.

    Parameters
    ----------
    estimated, true
        Latent states of the same cells, cells × dimensions; their numbers of dimensions may
        differ.
    method
        ``"pearson"``, or ``"spearman"`` (correlation of ranks) to allow for any monotone
        transformation of a dimension.

    Returns
    -------
    The MCC, in [0, 1].

    Raises
    ------
    ValueError
        If the states are not two finite matrices of the same two or more cells, or the method is
        unknown.

    References
    ----------
    Hyvärinen & Morioka, NeurIPS 2016 (arXiv 1605.06336).
    """
    if method not in get_args(Method):
        raise ValueError(f"No method is called {method!r}; choose one of {get_args(Method)}.")
    found, planted = _checked(estimated, true)
    if method == "spearman":
        found, planted = rankdata(found, axis=0), rankdata(planted, axis=0)
    correlation = np.abs(_standardised(found).T @ _standardised(planted))
    matched = linear_sum_assignment(correlation, maximize=True)
    # rounding may take a perfect correlation past 1
    return float(min(correlation[matched].sum() / planted.shape[1], 1.0))


def latent_r2(estimated: npt.ArrayLike, true: npt.ArrayLike) -> float:
    r"""Share of the variance of true latent dimensions that estimated ones explain linearly.

    .. math::
        R^2 = \frac{1}{K} \sum_k \left( 1 - \frac{\min_{w, b} \sum_i (z_{ik} - b - w^\top
            \hat z_i)^2}{\sum_i (z_{ik} - \bar z_k)^2} \right)

    with the true states z of cells i, their means z̄ and K dimensions, and the estimated states
    ẑ: a regression with intercept of each true dimension on all estimated ones. Each true
    dimension that varies counts alike, whatever its variance; those that do not vary are left
    out. The fit is in sample, hence never negative, and only means something where cells far
    outnumber dimensions. It is 1 where the true states are an affine function of the estimated
    ones, whether or not dimensions are disentangled (compare
    :func:`mean_correlation_coefficient`).

    Parameters
    ----------
    estimated, true
        Latent states of the same cells, cells × dimensions; their numbers of dimensions may
        differ.

    Returns
    -------
    The mean of R² over the true dimensions, in [0, 1]; NaN if none varies.

    Raises
    ------
    ValueError
        If the states are not two finite matrices of the same two or more cells.
    """
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import r2_score

    found, planted = _checked(estimated, true)
    planted = planted[:, np.ptp(planted, axis=0) > 0]
    if planted.shape[1] == 0:
        return float("nan")
    fitted = LinearRegression().fit(found, planted).predict(found)
    return float(r2_score(planted, fitted, multioutput="uniform_average"))


def _checked(estimated: npt.ArrayLike, true: npt.ArrayLike) -> tuple[Array, Array]:
    states = np.asarray(estimated, dtype=float), np.asarray(true, dtype=float)
    for name, array in zip(("estimated", "true"), states, strict=True):
        if array.ndim != 2 or array.shape[1] == 0:
            raise ValueError(
                f"`{name}` has shape {array.shape}; give a matrix of cells × latent dimensions."
            )
        if not np.isfinite(array).all():
            raise ValueError(f"`{name}` holds NaN or infinite values; drop those cells from both.")
    n_estimated, n_true = map(len, states)
    if n_estimated != n_true:
        raise ValueError(
            f"The latent states are of {n_estimated} and of {n_true} cells; "
            "give the same ones in the same order."
        )
    if n_true < 2:
        raise ValueError(f"Latent states of {n_true} cells do not vary; give at least 2 cells.")
    return states


def _standardised(states: Array) -> Array:
    """Columns of mean 0 and length 1; all 0 where a column is constant."""
    centred = states - states.mean(axis=0)
    # the mean of equal numbers may differ from them by a rounding error, so 0 is not tested for
    varies = np.ptp(states, axis=0) > 0
    length = np.where(varies, np.linalg.norm(centred, axis=0), 1)
    return np.where(varies, centred / length, 0)
