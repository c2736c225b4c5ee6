"""Mean expression of conditions, on one stated scale, without a dense copy of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

if TYPE_CHECKING:
    from anndata import AnnData

Array = npt.NDArray[np.float64]

TARGET_SUM = 1e4
LOG1P_CP10K = "log1p counts per 10,000"
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


def mean_profiles(
    adata: AnnData,
    group: npt.NDArray[np.intp],
    n_groups: int,
    *,
    units: str,
    layer: str | None = None,
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Mean of log1p counts per 10,000 of the cells of each group.

    Parameters
    ----------
    adata
        Cells × genes.
    group
        Group of each cell, of shape ``(n_cells,)``; -1 leaves a cell out.
    n_groups
        Number of groups.
    units
        What the values are: ``"counts"``, or log1p counts per 10,000 already.
    layer
        Layer of the values; ``X`` by default.

    Returns
    -------
    Means, groups × genes, NaN for a group without cells, and the number of cells of each group.
    """
    values = adata.X if layer is None else adata.layers[layer]
    n_cells = np.bincount(group[group >= 0], minlength=n_groups)
    total = np.zeros((n_groups, adata.n_vars))
    for start in range(0, adata.n_obs, _CELLS_AT_ONCE):
        rows = np.arange(start, min(start + _CELLS_AT_ONCE, adata.n_obs))
        rows = rows[group[rows] >= 0]
        block = values[rows]
        y = log_normalized(block) if units == "counts" else block
        member = sparse.csr_matrix(
            (np.ones(len(rows)), (group[rows], np.arange(len(rows)))), (n_groups, len(rows))
        )
        total += np.asarray((member @ y).todense() if sparse.issparse(y) else member @ y)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / n_cells[:, None], n_cells
