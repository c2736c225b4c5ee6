"""Where perturbations lie on a map of two dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    Matrix = npt.NDArray[np.float64]


def pca(values: Matrix) -> tuple[Matrix, list[str]]:
    """Scores of the rows on the first two principal components, and what these are called."""
    u, s, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    n = min(2, len(s))
    scores, share = np.zeros((len(values), 2)), np.zeros(2)
    scores[:, :n] = (u * s)[:, :n]
    share[:n] = s[:n] ** 2 / ((s**2).sum() or 1.0)
    return scores, [f"PC{i + 1} ({part:.0%} of the variance)" for i, part in enumerate(share)]


def umap(values: Matrix, metric: str, seed: int) -> tuple[Matrix, list[str]]:
    """UMAP of the rows, and what its two axes are called."""
    import anndata as ad
    import scanpy as sc

    data = ad.AnnData(values)
    n_neighbors = min(15, len(values) - 1)
    sc.pp.neighbors(data, n_neighbors, use_rep="X", metric=metric, random_state=seed)
    sc.tl.umap(data, random_state=seed)
    return np.asarray(data.obsm["X_umap"], dtype=float), ["UMAP1", "UMAP2"]
