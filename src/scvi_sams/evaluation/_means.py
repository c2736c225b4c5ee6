"""Means of cells of conditions, on stated scales, without a dense copy of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

Array = npt.NDArray[np.float64]

TARGET_SUM = 1e4
COUNTS, LOG1P_CP10K = "counts", "log1p counts per 10,000"
_CELLS_AT_ONCE = 4096


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


def check_counts(counts: Any, where: str) -> None:
    """Check that values are counts, by the first of them.

    Raises
    ------
    ValueError
        If some are negative or no whole numbers.
    """
    values = counts.data if sparse.issparse(counts) else np.asarray(counts)
    some = np.asarray(values).ravel()[:100_000]
    if (some < 0).any() or (some != np.round(some)).any():
        raise ValueError(
            f"{where} does not hold counts: {some[(some < 0) | (some != np.round(some))][0]:g} is "
            "none. Give raw counts (`layer=`), or say what the values are."
        )


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
    """

    log: Array
    linear: Array
    n_cells: npt.NDArray[np.int64]

    def __getitem__(self, rows: Any) -> Profiles:
        return Profiles(self.log[rows], self.linear[rows], self.n_cells[rows])


def mean_profiles(
    values: Any, group: npt.NDArray[np.intp], n_groups: int, *, units: str
) -> Profiles:
    """Means of the cells of each group.

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
    """
    n_cells = np.bincount(group[group >= 0], minlength=n_groups)
    sums = [np.zeros((n_groups, values.shape[1])) for _ in range(2)]
    for start in range(0, values.shape[0], _CELLS_AT_ONCE):
        rows = np.arange(start, min(start + _CELLS_AT_ONCE, values.shape[0]))
        rows = rows[group[rows] >= 0]
        block = values[rows]
        y = log_normalized(block) if units == COUNTS else block
        member = sparse.csr_matrix(
            (np.ones(len(rows)), (group[rows], np.arange(len(rows)))), (n_groups, len(rows))
        )
        for total, of_cells in zip(sums, (y, np.expm1(y)), strict=True):
            added = member @ of_cells
            total += added.toarray() if sparse.issparse(added) else added
    with np.errstate(invalid="ignore", divide="ignore"):
        log, linear = (total / n_cells[:, None] for total in sums)
    return Profiles(log, linear, n_cells)
