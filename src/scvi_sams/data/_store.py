"""Opening a screen without reading its counts."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import h5py
import zarr

from scvi_sams.data._disk import check_layout


def open_store(path: str | Path) -> ad.AnnData:
    """Open a screen whose X stays on the disk, for training and prediction beyond memory.

    Everything but X is read (of zarr stores, without ``raw``). Set it up and train on it as on any
    other AnnData: mini-batches are read from the file as they are needed. Of zarr stores they are
    read through annbatch if that is installed (``pip install "scvi-sams[annbatch]"``, Python 3.12
    or newer), which is faster.

    Training draws blocks of 64 neighbouring cells, 256 blocks at a time. Where neighbours are
    alike, as in a file sorted by perturbation, shuffle its cells once before.

    What methods write goes to obs, obsm and uns in memory. Write these to a file of their own
    (``adata.obs.to_parquet(...)``), or the AnnData to *another* path: counts of a zarr store that
    is written over itself are lost. Choose cells by ``indices=`` or ``split_key=`` rather than by
    ``adata[mask]``, whose counts are read into memory, if they can be.

    Parameters
    ----------
    path
        A zarr store, or an ``.h5ad`` file.

    Returns
    -------
    AnnData with an X on the disk; of an ``.h5ad`` file, a backed AnnData.

    Raises
    ------
    FileNotFoundError
        If there is nothing at ``path``.
    ValueError
        If it is no AnnData, or X is stored by columns.

    Examples
    --------
    >>> adata = sams.datasets.open_store("screen.zarr")
    >>> sams.SAMSVAE.setup_anndata(adata, perturbation_key="perturbation", control="control")
    >>> sams.SAMSVAE(adata).train()
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no file or store at {str(path)!r}.")
    adata = _open_h5ad(path) if path.is_file() else _open_zarr(path)
    check_layout(adata.X, f"X of {str(path)!r}")
    return adata


def _open_h5ad(path: Path) -> ad.AnnData:
    message = f"{str(path)!r} is no file of an AnnData. `adata.write_h5ad(path)` writes one."
    if not h5py.is_hdf5(path):
        raise ValueError(message)
    try:
        return ad.read_h5ad(path, backed="r")
    except KeyError as error:
        raise ValueError(message) from error


def _open_zarr(path: Path) -> ad.AnnData:
    message = (
        f"{str(path)!r} is no store of one AnnData: it has no X or no obs. "
        "`adata.write_zarr(path)` writes one."
    )
    try:
        group = zarr.open_group(path, mode="r")
    except FileNotFoundError:
        raise ValueError(message) from None
    if "X" not in group or "obs" not in group:
        raise ValueError(message)
    x = group["X"]
    parts = {key: ad.io.read_elem(group[key]) for key in group if key not in ("X", "raw")}
    return ad.AnnData(x if isinstance(x, zarr.Array) else ad.io.sparse_dataset(x), **parts)
