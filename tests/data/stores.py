"""Screens on a disk."""

import warnings
from pathlib import Path

import anndata as ad


def write(adata: ad.AnnData, path: Path) -> None:
    """Write an h5ad file or a zarr store."""
    if path.suffix == ".h5ad":
        adata.write_h5ad(path)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Writing zarr v2 data")
        adata.write_zarr(path)
