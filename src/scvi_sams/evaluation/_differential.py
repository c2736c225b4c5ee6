"""Agreement of differential expression in predicted and observed cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.stats import rankdata

from scvi_sams.data._names import as_tuple, listed, nearest
from scvi_sams.evaluation._condition_table import column
from scvi_sams.evaluation._profiles import Array, Floats

if TYPE_CHECKING:
    from anndata import AnnData

Flags = npt.NDArray[np.bool_]
Cells: TypeAlias = Any  # a matrix of cells × genes, dense or CSR

_FALSE_DISCOVERY_RATE = 0.05
_HIGHEST_LOG = 100  # no logarithm of counts is as large


def de_agreement(
    predicted: AnnData,
    observed: AnnData,
    *,
    perturbation_key: str,
    control: str | Sequence[str],
    n_genes: int = 50,
) -> pd.DataFrame:
    r"""Agreement of the genes that change in predicted and in observed cells.

    .. math::
        \mathrm{recall} = \frac{|\hat T \cap T|}{|T|}, \quad
        \mathrm{precision} = \frac{|\hat T \cap S|}{|\hat T|}, \quad
        \mathrm{direction} = \frac{|\{g \in T : \hat\delta_g \delta_g > 0\}|}{|T|}, \quad
        \mathrm{spearman} = \mathrm{corr}_{g \in S}(\mathrm{rank}\,\hat\delta_g,
            \mathrm{rank}\,\delta_g)

    with the genes S that change significantly in observed cells (Benjamini-Hochberg, 5 %), the at
    most ``n_genes`` of S of largest \|z\|, T, at most ``n_genes`` genes of largest \|z\| > 0 in
    predicted cells, T̂, and the differences δ and δ̂ of mean log-normalised expression from control.
    z is that of Wilcoxon's rank sum test against control, corrected for ties; of genes of one z
    those of larger differences come first. Predicted cells must carry the noise of observations,
    and be about as many as observed ones, for tests of the two to be alike: where all cells are
    moved by the same amount, however small, genes that few cells express seem to change the most.

    Parameters
    ----------
    predicted, observed
        Cells × genes with log-normalised expression in X. The control cells of each are its
        reference; where ``predicted`` has none, those of ``observed`` are.
    perturbation_key
        Column of obs of both, with one label per cell; each label is taken as it stands.
    control
        Label of control cells, or several.
    n_genes
        Size of the lists of top genes; all genes where there are fewer.

    Returns
    -------
    One row per perturbation of ``predicted``, in sorted order, with ``recall``, ``precision``,
    ``direction`` and ``spearman``: NaN, but for precision, where no gene changes significantly,
    and ``spearman`` where fewer than two do. A prediction of no change at all, or of the same for
    all genes of S, is not left out but scores 0 in what it says nothing of.

    Raises
    ------
    KeyError
        If a column is missing.
    ValueError
        If genes differ, X holds counts or non-finite values, ``observed`` lacks control cells or a
        perturbation of ``predicted``, or a group has fewer than two cells.

    References
    ----------
    Wolf et al., Genome Biol 2018, for the test in scanpy.
    """
    if n_genes < 1:
        raise ValueError(f"`n_genes` is {n_genes}; it must be 1 or more.")
    controls = as_tuple(control)
    observed_cells = _Screen.of(observed, "observed", perturbation_key)
    predicted_cells = _Screen.of(_same_genes(predicted, observed), "predicted", perturbation_key)
    reference = observed_cells.cells(controls, "control")
    is_control = np.isin(predicted_cells.labels, controls)
    own = predicted_cells.cells(controls, "control") if is_control.any() else reference
    names = sorted(set(predicted_cells.labels[~is_control]))
    if not names:
        raise ValueError("`predicted` has no cells but controls; give those of a perturbation.")
    known = set(observed_cells.labels)
    for name in names:
        if name not in known:
            raise ValueError(f"`observed` has no cell of {name!r}{nearest(name, known)}.")
    rows = [
        agreement(
            tested(predicted_cells.cells((name,), repr(name)), own),
            tested(observed_cells.cells((name,), repr(name)), reference),
            n_genes,
        )
        for name in names
    ]
    return pd.DataFrame(rows, index=pd.Index(names, name=perturbation_key))


@dataclass(frozen=True)
class _Screen:
    """Expression and labels of cells, checked."""

    x: Cells
    labels: npt.NDArray[np.object_]
    name: str

    @classmethod
    def of(cls, adata: AnnData, name: str, perturbation_key: str) -> _Screen:
        x: Cells = adata.X
        if x is None:
            raise ValueError(f"`{name}` has no X; put log-normalised expression there.")
        x = sparse.csr_matrix(x) if sparse.issparse(x) else np.asarray(x)
        values = x.data if sparse.issparse(x) else x
        if not np.isfinite(values).all():
            raise ValueError(f"X of `{name}` holds NaN or infinite values; drop these cells.")
        highest = values.max(initial=0)
        if highest > _HIGHEST_LOG or (highest > 0 and (values == np.round(values)).all()):
            raise ValueError(
                f"X of `{name}` holds whole numbers or goes up to {highest:g}, as counts do and "
                "their logs do not; log-normalise them first, as with `sc.pp.normalize_total` and "
                "`sc.pp.log1p`."
            )
        return cls(x, column(adata, perturbation_key).to_numpy(dtype=object), name)

    def cells(self, labels: tuple[str, ...], what: str) -> Cells:
        """Expression of the cells of some labels, at least two."""
        rows = np.flatnonzero(np.isin(self.labels, labels))
        if len(rows) < 2:
            raise ValueError(
                f"`{self.name}` has {len(rows)} cell(s) of {what}; a test needs at least 2."
            )
        return self.x[rows]


@dataclass(frozen=True)
class Tested:
    """Of each gene: the test's z, whether it is significant, and the difference of means."""

    z: Array
    is_significant: Flags
    difference: Array

    def top(self, n: int, among: Flags) -> npt.NDArray[np.intp]:
        order = np.lexsort((-np.abs(self.difference), -np.abs(self.z)))
        return order[among[order]][:n]


def tested(group: Cells, reference: Cells) -> Tested:
    """Wilcoxon's rank sum test of each gene in one group of cells against another."""
    import anndata as ad
    import scanpy as sc

    both = _stacked(group, reference)
    difference = (_means(group) - _means(reference)).astype(float)
    # The correction for ties divides by 0 where all cells are alike, and nothing is to be tested.
    varies = _highest(both) > _lowest(both)
    z, p = np.zeros(len(varies)), np.ones(len(varies))
    if varies.any():
        # scanpy takes sparse matrices and no sparse arrays
        x = sparse.csr_matrix(both[:, varies]) if sparse.issparse(both) else both[:, varies]
        lowest = float(_lowest(x).min())
        if lowest < 0:  # logs of fold changes of these are not defined, ranks do not mind a shift
            x = _dense(x) - lowest
        labels = np.repeat(["group", "reference"], [group.shape[0], reference.shape[0]])
        pair = ad.AnnData(
            x,
            obs=pd.DataFrame(
                {"set": pd.Categorical(labels)}, index=np.arange(len(labels)).astype(str)
            ),
            var=pd.DataFrame(index=np.flatnonzero(varies).astype(str)),
        )
        with _threads_as_found():
            sc.tl.rank_genes_groups(
                pair,
                "set",
                groups=["group"],
                reference="reference",
                method="wilcoxon",
                tie_correct=True,
            )
        results = pair.uns["rank_genes_groups"]
        genes = results["names"]["group"].astype(int)
        z[genes], p[genes] = results["scores"]["group"], results["pvals"]["group"]
    return Tested(z, _adjusted(p) <= _FALSE_DISCOVERY_RATE, difference)


def untested(group: Cells, reference: Cells) -> Tested:
    """Genes by their differences alone, where cells do not have the noise that a test needs."""
    difference = (_means(group) - _means(reference)).astype(float)
    return Tested(difference, np.zeros(len(difference), dtype=bool), difference)


def agreement(predicted: Tested, observed: Tested, n_genes: int) -> dict[str, float]:
    significant = observed.is_significant
    found, true = predicted.top(n_genes, predicted.z != 0), observed.top(n_genes, significant)
    signs = predicted.difference[true] * observed.difference[true]
    return {
        "recall": _share(np.isin(true, found)),
        "precision": _share(significant[found]) if len(found) else 0.0,
        "direction": _share(signs > 0),
        "spearman": _spearman(predicted.difference[significant], observed.difference[significant]),
    }


def _share(flags: Flags) -> float:
    return float(flags.mean()) if len(flags) else float("nan")


def _spearman(predicted: Array, observed: Array) -> float:
    """Correlation of ranks; 0 where the prediction has no order, NaN where the truth has none."""
    if len(observed) < 2 or not np.ptp(observed) > 0:
        return float("nan")
    if not np.ptp(predicted) > 0:
        return 0.0
    return float(np.corrcoef(rankdata(predicted), rankdata(observed))[0, 1])


def _adjusted(p: Array) -> Array:
    from scipy.stats import false_discovery_control

    return false_discovery_control(p, method="bh")


def _same_genes(predicted: AnnData, observed: AnnData) -> AnnData:
    """Predicted cells with genes in the order of the observed ones."""
    for name, adata in (("predicted", predicted), ("observed", observed)):
        if not adata.var_names.is_unique:
            twice = adata.var_names[adata.var_names.duplicated()]
            raise ValueError(f"`{name}` has genes of one name, {listed(twice)}; make them unique.")
    odd = observed.var_names.symmetric_difference(predicted.var_names)
    if len(odd):
        raise ValueError(
            f"{len(odd)} gene(s) are in one of `predicted` and `observed` only: {listed(odd)}. "
            "Take the genes that both have."
        )
    if predicted.var_names.equals(observed.var_names):
        return predicted
    return predicted[:, observed.var_names]


@contextmanager
def _threads_as_found() -> Iterator[None]:
    """Undo what the start of numba's threads does to the number of torch's."""
    import torch

    n_threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _dense(x: Cells) -> Floats:
    return x.toarray() if sparse.issparse(x) else x


def _stacked(first: Cells, second: Cells) -> Cells:
    if sparse.issparse(first) and sparse.issparse(second):
        return sparse.vstack([first, second], format="csr")
    return np.vstack([_dense(first), _dense(second)])


def _means(x: Cells) -> Array:
    return np.asarray(x.mean(axis=0, dtype=float)).ravel()


def _highest(x: Cells) -> Floats:
    return _dense(x.max(axis=0)).ravel()


def _lowest(x: Cells) -> Floats:
    return _dense(x.min(axis=0)).ravel()
