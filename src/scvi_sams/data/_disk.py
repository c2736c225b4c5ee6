"""Reading matrices that stay on a disk."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import h5py
import numpy as np
from anndata.abc import CSCDataset, CSRDataset
from scipy import sparse

from scvi_sams.data._blocks import Request, Rows, in_order

Batch = tuple[Rows, Any]  # rows, and what stands in them: CSR or dense


def is_on_disk(x: Any) -> bool:
    """Whether a matrix is one of an HDF5 file or of a zarr store."""
    return isinstance(x, h5py.Dataset | CSRDataset | CSCDataset) or _is_zarr_array(x)


def check_layout(x: Any, where: str) -> None:
    """Raise if rows cannot be read without reading everything.

    Raises
    ------
    ValueError
        If the matrix is stored by columns.
    """
    if isinstance(x, CSCDataset):
        raise ValueError(
            f"{where} is stored by columns (CSC), so that every cell is spread over the whole "
            "file. Write it by rows: read it, `adata.X = adata.X.tocsr()`, and write it anew."
        )


def read(x: Any, requests: Iterator[Request]) -> Iterator[Batch]:
    """Mini-batches of rows of a matrix on a disk.

    Zarr stores are read through annbatch, if it is there, which fetches the blocks of a request
    all at once.

    Parameters
    ----------
    x
        The matrix.
    requests
        Blocks to read, and how to divide their rows.
    """
    if _is_zarr(x) and find_spec("annbatch"):
        from scvi_sams.data._annbatch import read_by_annbatch

        yield from read_by_annbatch(x, requests)
        return
    for request in requests:
        rows = request.rows
        parts = [x[block] for block in request.blocks]
        if sparse.issparse(parts[0]):
            found = sparse.vstack(parts, format="csr")
        else:
            found = np.concatenate([np.asarray(part) for part in parts])
        for batch in request.batches:
            yield rows[batch], found[batch]


def rows_of(x: Any, rows: Rows, n_at_once: int) -> Iterator[Any]:
    """Rows of any matrix, some at a time, in the order given."""
    if is_on_disk(x):
        yield from (values for _, values in read(x, in_order(rows, n_at_once)))
    else:
        for start in range(0, len(rows), n_at_once):
            yield x[rows[start : start + n_at_once]]


def _is_zarr(x: Any) -> bool:
    return _is_zarr_array(x) or (isinstance(x, CSRDataset) and x.backend == "zarr")


def _is_zarr_array(x: Any) -> bool:
    return type(x).__module__.split(".")[0] == "zarr"
