"""From a screen to what models learn from and are tested on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scanpy as sc
from scipy import sparse

from scvi_sams import splits
from scvi_sams.evaluation._means import log_normalized

if TYPE_CHECKING:
    from anndata import AnnData

SPLIT_KEY = "split"


def prepared(
    adata: AnnData,
    split: dict[str, Any],
    seed: int,
    *,
    min_counts: int = 0,
    n_top_genes: int | None = None,
) -> AnnData:
    """Split a screen, and choose genes by its training cells alone.

    Parameters
    ----------
    adata
        Raw counts, cells × genes; not changed.
    split
        ``method``, the name of a function of ``sams.splits``, and its arguments.
    seed
        Of the split.
    min_counts
        Cells of fewer counts are left out, of all genes as of those chosen.
    n_top_genes
        Number of highly variable genes; by default all that vary in training cells.

    Returns
    -------
    A copy with ``obs["split"]``.
    """
    settings = dict(split)
    adata = adata[_totals(adata) >= min_counts].copy()
    getattr(splits, settings.pop("method"))(adata, seed=seed, key_added=SPLIT_KEY, **settings)
    training = adata[(adata.obs[SPLIT_KEY] == "train").to_numpy()]
    adata = adata[:, _varying(training, n_top_genes)]
    return adata[_totals(adata) >= max(min_counts, 1)].copy()


def _varying(training: AnnData, n_top_genes: int | None) -> np.ndarray:
    """Which genes vary, or vary most, in training cells."""
    x = sparse.csc_matrix(training.X)
    varies = np.asarray((x.max(axis=0) - x.min(axis=0)).todense()).ravel() > 0
    if n_top_genes is None or n_top_genes >= varies.sum():
        return varies
    logs = training[:, varies].copy()
    logs.X = log_normalized(logs.X)
    found = sc.pp.highly_variable_genes(logs, n_top_genes=n_top_genes, inplace=False)
    varies[varies] = found["highly_variable"].to_numpy()
    return varies


def _totals(adata: AnnData) -> np.ndarray:
    return np.asarray(adata.X.sum(axis=1)).ravel()
