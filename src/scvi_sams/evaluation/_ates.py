"""Agreement of average treatment effects, and whether their intervals hold what they should."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from scvi_sams.evaluation._profiles import Array, Floats, beside, paired

_ROUNDING = 1e-12  # of a sum of squares


def ate_pearson(
    predicted: npt.ArrayLike, observed: npt.ArrayLike, *, n_top: int | None = None
) -> float:
    r"""Pearson correlation of average treatment effects over all conditions × genes.

    .. math::
        r = \mathrm{corr}_{(p, g) \in S}(\hat\delta_{pg}, \delta_{pg})

    with predicted and observed effects δ̂ and δ of condition p on gene g, and S all pairs of these,
    or those of the ``n_top`` genes of largest \|δ\| in each condition.

    Parameters
    ----------
    predicted, observed
        Effects, conditions × genes, both on one scale: in the reference, differences from control
        of means of log2(1 + 10⁴ x / Σx), for counts x of a cell.
    n_top
        How many genes of each condition to keep, by what was observed; all by default. Of genes
        with equal effects the first are kept.

    Returns
    -------
    The correlation; NaN if predicted or observed effects are all the same.

    Raises
    ------
    ValueError
        If the two are not finite matrices of one shape, there are fewer than two effects, or
        ``n_top`` is not between 1 and the number of genes.

    References
    ----------
    Bereket & Karaletsos, NeurIPS 2023 (arXiv 2311.02794).
    """
    return float(pearson_of(_pooled(predicted, observed, n_top)))


def ate_r2(
    predicted: npt.ArrayLike, observed: npt.ArrayLike, *, n_top: int | None = None
) -> float:
    r"""Coefficient of determination of average treatment effects over all conditions × genes.

    .. math::
        R^2 = 1 - \frac{\sum_{(p, g) \in S} (\hat\delta_{pg} - \delta_{pg})^2}
            {\sum_{(p, g) \in S} (\delta_{pg} - \bar\delta)^2}

    with the mean δ̄ of observed effects over S, and other symbols and errors as in
    :func:`ate_pearson`. It is not the square of the correlation, and negative where the mean
    effect would do better.

    Parameters
    ----------
    predicted, observed, n_top
        As in :func:`ate_pearson`.

    Returns
    -------
    R², 1 at most; NaN if observed effects are all the same.
    """
    return float(r2_of(_pooled(predicted, observed, n_top)))


def interval_coverage(
    lower: npt.ArrayLike,
    upper: npt.ArrayLike,
    observed: npt.ArrayLike,
    *,
    sampling_sd: npt.ArrayLike | None = None,
    credible_mass: float = 0.95,
) -> float:
    r"""Share of observed effects within their credible intervals.

    .. math::
        \frac{1}{N} \sum_{p, g} \left[ |\delta_{pg} - m_{pg}| \le
            \sqrt{h_{pg}^2 + (z \, s_{pg})^2} \right]

    with observed effects δ, N of them, the middle m and half width h of each interval, the
    sampling error s of the observed effect, and the quantile z of the normal distribution that
    leaves the credible mass between -z and z. An interval is about the true effect while the
    observed one is a mean over some cells: half widths are read as z standard deviations and
    variances added. For a model whose intervals are right the coverage is the credible mass.

    Parameters
    ----------
    lower, upper
        Ends of the intervals, conditions × genes.
    observed
        Effects, conditions × genes, on the same scale.
    sampling_sd
        Standard error of each observed effect, conditions × genes, that of the control mean
        included: :math:`\sqrt{v_p / n_p + v_0 / n_0}` with variances v over n cells. None by
        default.
    credible_mass
        Probability within the intervals.

    Returns
    -------
    The share, in [0, 1]; NaN if there is no condition.

    Raises
    ------
    ValueError
        If arrays are not finite matrices of one shape, an interval ends below its start, a
        standard error is negative, or the credible mass is not between 0 and 1.
    """
    if not 0 < credible_mass < 1:
        raise ValueError(f"`credible_mass` is {credible_mass:g}; it must be between 0 and 1.")
    start, true = paired(lower, observed, names=("lower", "observed"))
    end = beside(upper, "upper", true)
    if (start > end).any():
        first = np.argwhere(start > end)[0]
        raise ValueError(
            f"{(start > end).sum()} interval(s) end below their start, first that of condition "
            f"{first[0]} and gene {first[1]}. Exchange `lower` and `upper`?"
        )
    is_within = (start <= true) & (true <= end)
    if sampling_sd is not None:
        error = beside(sampling_sd, "sampling_sd", true).astype(float)
        if (error < 0).any():
            raise ValueError(f"`sampling_sd` is negative in {(error < 0).sum()} place(s).")
        middle, half = (start.astype(float) + end) / 2, (end.astype(float) - start) / 2
        # what lies within without sampling error does with it, whatever rounding does to an end
        is_within |= np.abs(true - middle) <= np.hypot(
            half, norm.ppf((1 + credible_mass) / 2) * error
        )
    return float(is_within.mean()) if is_within.size else float("nan")


def moments(predicted: Floats, observed: Floats) -> Array:
    """What correlation and R² are made of, summed over the genes of each condition.

    Returns
    -------
    Array of shape ``(n_conditions, 6)``: number of genes, and sums of predicted effects, observed
    effects, their squares, and the squares of the differences. Those of conditions together are
    sums of rows.
    """
    found, true = predicted.astype(float), observed.astype(float)
    kinds = (np.ones_like(true), found, true, found**2, true**2, (found - true) ** 2)
    return np.stack([kind.sum(axis=1) for kind in kinds], axis=1)


def pearson_of(sums: Array) -> Array:
    """Correlation from sums of :func:`moments`, along the last axis; NaN if nothing varies."""
    n, x, y, xx, yy, error = np.moveaxis(sums, -1, 0)
    within_x, within_y = _about_mean(n, x, xx), _about_mean(n, y, yy)
    with np.errstate(invalid="ignore"):  # of no effects at all
        between = (xx + yy - error) / 2 - x * y / n
    return np.clip(between / np.sqrt(within_x * within_y), -1, 1)


def r2_of(sums: Array) -> Array:
    """R² from sums of :func:`moments`, along the last axis; NaN if nothing varies."""
    n, _, y, _, yy, error = np.moveaxis(sums, -1, 0)
    return 1 - error / _about_mean(n, y, yy)


def top_genes(predicted: Floats, observed: Floats, n_top: int) -> tuple[Floats, Floats]:
    """Effects on the genes of each condition with the largest observed effects."""
    top = np.argsort(-np.abs(observed), axis=1, kind="stable")[:, :n_top]
    return np.take_along_axis(predicted, top, axis=1), np.take_along_axis(observed, top, axis=1)


def _about_mean(n: Array, total: Array, squares: Array) -> Array:
    """Sum of squares about the mean; NaN where it is not more than rounding leaves."""
    with np.errstate(invalid="ignore"):
        rest = squares - total**2 / n
    return np.where(rest > _ROUNDING * squares, rest, np.nan)


def _pooled(predicted: npt.ArrayLike, observed: npt.ArrayLike, n_top: int | None) -> Array:
    """Sums of moments over all conditions."""
    found, true = (array.astype(float) for array in paired(predicted, observed))
    n_genes = true.shape[1]
    if n_top is not None:
        if not 1 <= n_top <= n_genes:
            raise ValueError(f"`n_top` is {n_top}; it must be from 1 to {n_genes}, the genes.")
        found, true = top_genes(found, true, n_top)
    if true.size < 2:
        raise ValueError(f"There are {true.size} effects to correlate; give at least 2.")
    centre = true.mean()  # a common shift changes neither score, and spares digits
    return moments(found - centre, true - centre).sum(axis=0)
