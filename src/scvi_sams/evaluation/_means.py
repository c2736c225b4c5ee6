"""Means of cells of conditions, on stated scales, without a dense copy of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

Array = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]

TARGET_SUM = 1e4
_AT_ONCE = 2**20  # values that are looked at together
COUNTS, LOG1P_CP10K = "counts", "log1p counts per 10,000"
_CELLS_AT_ONCE, _GROUPS_AT_ONCE = 1024, 256
_ROUNDING = 1e-12  # of a sum of squares, nothing less is a variance


def log_normalized(counts: Any) -> Any:
    r"""Natural logarithm of 1 plus counts per 10,000, cells × genes; sparse stays sparse.

    .. math::
        y_{ig} = \log\!\left(1 + 10^4 \, x_{ig} / \sum_g x_{ig}\right)

    Cells without counts are all zero.
    """
    if sparse.issparse(counts):
        totals = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
        scale = np.divide(TARGET_SUM, totals, out=np.zeros_like(totals), where=totals > 0)
        return (sparse.diags(scale) @ counts).log1p().tocsr()
    counts = np.asarray(counts, dtype=np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    return np.log1p(
        np.divide(TARGET_SUM * counts, totals, out=np.zeros_like(counts), where=totals > 0)
    )


def check_counts(counts: Any, where: str, remedy: str) -> None:
    """Check that values are counts.

    Raises
    ------
    ValueError
        If some are negative, infinite or no whole numbers.
    """
    values = counts.data if sparse.issparse(counts) else np.asarray(counts)
    values = np.asarray(values).ravel()
    for start in range(0, len(values), _AT_ONCE):
        some = values[start : start + _AT_ONCE]
        is_none = ~((some >= 0) & np.isfinite(some) & (some == np.round(some)))
        if is_none.any():
            wrong = some[is_none][0]
            raise ValueError(f"{where} does not hold counts: {wrong:g} is none. {remedy}")


@dataclass(frozen=True)
class Profiles:
    """Means of the cells of groups, groups × genes; NaN for a group without cells.

    Attributes
    ----------
    log
        Of log1p counts per 10,000.
    linear
        Of counts per 10,000.
    n_cells
        Number of cells of each group.
    variance
        Of log1p counts per 10,000, between the cells of a group (unbiased; NaN of fewer than two),
        where it was asked for.
    """

    log: Floats
    linear: Floats
    n_cells: npt.NDArray[np.int64]
    variance: Floats | None = None

    def __getitem__(self, rows: Any) -> Profiles:
        variance = None if self.variance is None else self.variance[rows]
        return Profiles(self.log[rows], self.linear[rows], self.n_cells[rows], variance)


def mean_profiles(
    values: Any,
    group: npt.NDArray[np.intp],
    n_groups: int,
    *,
    units: str,
    with_variance: bool = False,
    dtype: type[np.floating[Any]] = np.float64,
) -> Profiles:
    """Means of the cells of each group, group after group.

    Parameters
    ----------
    values
        Cells × genes, dense or sparse.
    group
        Group of each cell, of shape ``(n_cells,)``; -1 leaves a cell out.
    n_groups
        Number of groups.
    units
        What the values are: ``"counts"``, or log1p counts per 10,000 already.
    with_variance
        Whether to find the variance between cells too.
    dtype
        Of the result; sums are in double precision.
    """
    order = np.argsort(group, kind="stable")
    ends = np.searchsorted(group[order], np.arange(n_groups + 1))
    n_cells = np.diff(ends)
    shape = n_groups, values.shape[1]
    log, linear = np.empty(shape, dtype), np.empty(shape, dtype)
    variance = np.empty(shape, dtype) if with_variance else None
    for first in range(0, n_groups, _GROUPS_AT_ONCE):
        block = slice(first, min(first + _GROUPS_AT_ONCE, n_groups))
        cells = order[ends[block.start] : ends[block.stop]]
        n = n_cells[block, None]
        sums = _sums(values, cells, group[cells] - first, len(n), units, with_variance)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = sums[0] / n
            log[block], linear[block] = mean, sums[1] / n
            if variance is not None:
                squares = sums[2] - n * mean**2
                squares[squares < _ROUNDING * sums[2]] = 0
                variance[block] = np.where(n > 1, squares, np.nan) / (n - 1)
    return Profiles(log, linear, n_cells, variance)


def _sums(
    values: Any,
    cells: npt.NDArray[np.intp],
    group: npt.NDArray[np.intp],
    n_groups: int,
    units: str,
    with_squares: bool,
) -> list[Array]:
    """Sums over cells of logs, of what they are logs of, and of their squares if asked."""
    sums = [np.zeros((n_groups, values.shape[1])) for _ in range(2 + with_squares)]
    for start in range(0, len(cells), _CELLS_AT_ONCE):
        some = slice(start, start + _CELLS_AT_ONCE)
        block = values[cells[some]]
        y = log_normalized(block) if units == COUNTS else block.astype(np.float64)
        kinds = [y, np.expm1(y)]
        if with_squares:
            kinds.append(y.multiply(y) if sparse.issparse(y) else y**2)
        n = y.shape[0]
        member = sparse.csr_matrix((np.ones(n), (group[some], np.arange(n))), (n_groups, n))
        for total, of_cells in zip(sums, kinds, strict=True):
            added = member @ of_cells
            total += added.toarray() if sparse.issparse(added) else added
    return sums
