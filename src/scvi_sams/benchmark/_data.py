"""From a screen to what models learn from and are tested on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scanpy as sc
from anndata import AnnData
from scipy import sparse

from scvi_sams import splits
from scvi_sams.evaluation._condition_table import ConditionTable
from scvi_sams.evaluation._means import log_normalized

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scvi_sams.benchmark._config import Benchmark

SPLIT_KEY = "split"


def prepared(
    adata: AnnData,
    method: str,
    arguments: dict[str, Any],
    seed: int,
    *,
    layer: str | None = None,
    min_counts: int = 0,
    n_top_genes: int | None = None,
) -> AnnData:
    """Split a screen, and choose genes by its training cells alone.

    Parameters
    ----------
    adata
        Raw counts, cells × genes; not changed.
    method, arguments
        Name of a function of ``sams.splits``, and its arguments.
    seed
        Of the split.
    layer
        Layer of the counts; ``X`` by default.
    min_counts
        Cells of fewer counts, of all genes, are left out; so are cells without any count of the
        chosen genes.
    n_top_genes
        Number of highly variable genes; by default all that vary in training cells.

    Returns
    -------
    A copy with counts in X and ``obs["split"]``.
    """
    cells = _with_counts(adata, layer, min_counts)
    if layer is not None:
        adata = adata.copy()
        adata.X = adata.layers[layer]
    adata = adata[cells].copy()
    getattr(splits, method)(adata, seed=seed, key_added=SPLIT_KEY, **arguments)
    training = adata[(adata.obs[SPLIT_KEY] == "train").to_numpy()]
    adata = adata[:, _varying(training, n_top_genes)]
    return adata[_with_counts(adata)].copy()


def check_splits(benchmark: Benchmark, tasks: Iterable[tuple[str, str, int]]) -> None:
    """Split the labels of every dataset, before hours are spent on others.

    Parameters
    ----------
    benchmark
        The benchmark.
    tasks
        Dataset, split and seed.

    Raises
    ------
    ValueError
        If a dataset cannot be read or split, or lacks a column; all of them are listed.
    """
    found = {}
    by_dataset: dict[str, list[tuple[str, int]]] = {}
    for name, split_name, seed in tasks:
        by_dataset.setdefault(name, []).append((split_name, seed))
    for name, its_tasks in by_dataset.items():
        dataset = benchmark.datasets[name]
        try:
            adata = dataset.read(benchmark.data_folder)
            cells = _with_counts(adata, dataset.layer, dataset.min_counts)
        except (KeyError, OSError, ValueError) as error:
            found[name] = _said(error)
            continue
        labels = AnnData(obs=adata.obs[cells])
        del adata  # labels are all that splits need
        for split_name, seed in its_tasks:
            split = benchmark.splits[split_name]
            try:
                getattr(splits, split.method)(
                    labels.copy(), seed=seed, key_added=SPLIT_KEY, **split.arguments(dataset)
                )
            except (KeyError, ValueError) as error:
                found.setdefault(f"{name}, {split_name}", _said(error))
    if found:
        lines = [f"  {where}: {message}" for where, message in found.items()]
        raise ValueError("\n".join(["These splits cannot be made:", *lines]))


def _said(error: Exception) -> str:
    return str(error.args[0]) if error.args else repr(error)


def subsets(adata: AnnData, **columns: Any) -> dict[str, npt.NDArray[np.bool_]]:
    """Test cells of conditions that were trained on, and of those that were not, with controls.

    ``{"seen": cells, "unseen": cells}``, or ``{"all": cells}`` if there is one kind only. A
    condition is what cells received in their covariate values.
    """
    table = ConditionTable.of(adata, **columns)
    is_test = (adata.obs[SPLIT_KEY] == "test").to_numpy()
    learned = np.zeros(len(table.parts), dtype=bool)
    learned[table.of_cell[~is_test]] = True
    is_control = table.cells(table.is_control)
    seen = is_test & table.cells(learned & ~table.is_control)
    unseen = is_test & table.cells(~learned & ~table.is_control)
    if not (seen.any() and unseen.any()):
        return {"all": is_test}
    return {"seen": seen | (is_test & is_control), "unseen": unseen | (is_test & is_control)}


def _varying(training: AnnData, n_top_genes: int | None) -> npt.NDArray[np.bool_]:
    """Which genes vary, or vary most, in training cells."""
    x = sparse.csc_matrix(training.X)
    varies = (x.max(axis=0) - x.min(axis=0)).toarray().ravel() > 0
    if n_top_genes is None or n_top_genes >= varies.sum():
        return varies
    logs = training[:, varies].copy()
    logs.X = log_normalized(logs.X)
    found = sc.pp.highly_variable_genes(logs, n_top_genes=n_top_genes, inplace=False)
    varies[varies] = found["highly_variable"].to_numpy()
    return varies


def _with_counts(
    adata: AnnData, layer: str | None = None, min_counts: int = 0
) -> npt.NDArray[np.bool_]:
    """Which cells have so many counts, and one at least."""
    counts = adata.X if layer is None else adata.layers[layer]
    return np.asarray(counts.sum(axis=1)).ravel() >= max(min_counts, 1)
