"""From guide RNA counts to perturbation labels."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_sams.data._names import as_tuple, listed, nearest

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger("scvi.sams")


def assign_guides(
    adata: AnnData,
    *,
    obsm_key: str | None = None,
    layer: str | None = None,
    targets: Mapping[str, str] | str | None = None,
    control: str | Sequence[str] | None = None,
    min_count: int = 5,
    min_share: float = 0.25,
    max_guides: int = 1,
    delimiter: str = "+",
    key_added: str = "perturbation",
) -> pd.Series:
    """Call the guide RNAs of each cell by their counts and their share of the cell's guide counts.

    A guide RNA is called where it has at least ``min_count`` counts and at least ``min_share`` of
    the guide counts of the cell. Adds to ``adata``

    - ``obs[key_added]``: the called guides, or their targets, joined by ``delimiter`` in sorted
      order; missing where a cell is left out
    - ``obs[f"{key_added}_call"]``: ``"assigned"``, or why the cell was left out

    and, where ``adata`` is a guide modality (no ``obsm_key``), ``layers["assigned"]``: 1 where an
    assigned cell carries the guide, which ``setup_mudata(guide_layer="assigned")`` reads once the
    cells that were left out are dropped (they hold a NaN, lest they pass for controls).

    Parameters
    ----------
    adata
        Cells × guides, or cells × genes with guide counts in obsm.
    obsm_key
        Key of the guide counts in obsm, a DataFrame, or a matrix whose columns are named in
        ``uns[f"{obsm_key}_names"]`` (or ``uns["grna_names"]`` for ``"grna_counts"``). By default
        ``adata`` itself is cells × guides.
    layer
        Layer of the guide counts if ``adata`` is cells × guides; X by default.
    targets
        Target of each guide: a mapping, or a column of ``adata.var`` if ``adata`` is cells ×
        guides. By default each guide is a perturbation of its own.
    control
        Guides (or targets) that perturb nothing. A cell with a targeting guide beside them gets
        the target alone.
    min_count
        Fewest counts of a called guide.
    min_share
        Smallest share of a called guide, in [0, 1].
    max_guides
        Most perturbations of an assigned cell: 1 for a screen of single perturbations.
    delimiter
        What joins the parts of a combination.
    key_added
        Column of obs to write.

    Returns
    -------
    Number of cells by outcome: ``"assigned"``, ``"no guide counts"``, ``"below threshold"``,
    ``"too many guides"``.

    Raises
    ------
    KeyError
        If counts or targets are not where they should be.
    ValueError
        If a threshold is out of range, counts are negative, a guide has no target, or no guide
        (or target) is named like a control.
    """
    if min_count < 1 or not 0 <= min_share <= 1 or max_guides < 1:
        raise ValueError(
            "`min_count` and `max_guides` must be at least 1 and `min_share` in [0, 1]; they are "
            f"{min_count}, {max_guides} and {min_share}."
        )
    counts, guides = _guide_counts(adata, obsm_key, layer)
    if counts.nnz and counts.data.min() < 0:
        raise ValueError("Guide counts are negative somewhere; pass raw counts.")
    target = _target_of_each(guides, targets, adata)
    absent = [name for name in as_tuple(control) if name not in target]
    if absent:
        raise ValueError(
            f"The control {absent[0]!r} is no {'guide' if targets is None else 'target'}"
            f"{nearest(absent[0], sorted(set(target)))}. Correct `control=`, or leave it out."
        )
    total = np.asarray(counts.sum(axis=1)).ravel()
    entries = counts.tocoo()
    called = (entries.data >= min_count) & (entries.data >= min_share * total[entries.row])
    names = pd.DataFrame(
        {"cell": entries.row[called], "name": target[entries.col[called]]}
    ).drop_duplicates()
    is_control = names["name"].isin(as_tuple(control))
    targeting = names[~is_control]
    n_targeting = np.bincount(targeting["cell"], minlength=adata.n_obs)
    # a control says something only in a cell without a targeting guide, and there once
    controls = names[is_control & (n_targeting[names["cell"]] == 0)].drop_duplicates("cell")
    kept = pd.concat([targeting, controls]).sort_values(["cell", "name"])

    outcome = np.full(adata.n_obs, "below threshold", dtype=object)
    outcome[total == 0] = "no guide counts"
    outcome[np.unique(kept["cell"])] = "assigned"
    outcome[n_targeting > max_guides] = "too many guides"
    labels = kept.groupby("cell")["name"].agg(delimiter.join).reindex(range(adata.n_obs))
    labels[outcome != "assigned"] = np.nan

    adata.obs[key_added] = pd.Categorical(labels.to_numpy(dtype=object))
    adata.obs[f"{key_added}_call"] = pd.Categorical(outcome)
    if obsm_key is None:
        carried = sparse.csr_matrix(
            (
                np.ones(called.sum(), dtype=np.float32),
                (entries.row[called], entries.col[called]),
            ),
            shape=counts.shape,
        )
        assigned = sparse.lil_matrix(carried.multiply((outcome == "assigned")[:, None]))
        assigned[outcome != "assigned", 0] = np.nan  # an empty row would pass for a control
        adata.layers["assigned"] = assigned.tocsr()
    return _report(outcome)


def _report(outcome: np.ndarray) -> pd.Series:
    order = ["assigned", "no guide counts", "below threshold", "too many guides"]
    summary = pd.Series(outcome).value_counts().reindex(order, fill_value=0).rename("cells")
    left_out = ", ".join(f"{summary[reason]:,} {reason}" for reason in order[1:])
    logger.info(
        f"Assigned {summary['assigned']:,} of {len(outcome):,} cells; left out: {left_out}."
    )
    return summary


def _guide_counts(
    adata: AnnData, obsm_key: str | None, layer: str | None
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Counts, cells × guides, and the names of the guides."""
    if obsm_key is None:
        if layer is not None and layer not in adata.layers:
            raise KeyError(
                f"adata.layers has no {layer!r}; it has {listed(adata.layers.keys(), 10)}."
            )
        matrix = adata.X if layer is None else adata.layers[layer]
        return sparse.csr_matrix(matrix), adata.var_names.to_numpy(dtype=object)
    if obsm_key not in adata.obsm:
        raise KeyError(f"adata.obsm has no {obsm_key!r}; it has {listed(adata.obsm.keys(), 10)}.")
    matrix = adata.obsm[obsm_key]
    if isinstance(matrix, pd.DataFrame):
        return sparse.csr_matrix(matrix.to_numpy()), matrix.columns.to_numpy(dtype=object)
    for names_key in (f"{obsm_key}_names", obsm_key.replace("counts", "names")):
        if names_key in adata.uns:
            return sparse.csr_matrix(matrix), np.asarray(adata.uns[names_key], dtype=object)
    raise KeyError(
        f"The columns of adata.obsm[{obsm_key!r}] have no names. "
        f"Put them in adata.uns[{obsm_key + '_names'!r}]."
    )


def _target_of_each(
    guides: np.ndarray, targets: Mapping[str, str] | str | None, adata: AnnData
) -> np.ndarray:
    if targets is None:
        return guides.astype(str).astype(object)
    if isinstance(targets, str):
        if targets not in adata.var:
            raise KeyError(
                f"adata.var has no column {targets!r}; it has {listed(adata.var.columns, 10)}."
            )
        targets = dict(zip(adata.var_names, adata.var[targets].astype(str), strict=True))
    without = [guide for guide in guides if guide not in targets]
    if without:
        raise ValueError(
            f"`targets` has no entry for the guide(s) {listed(without)}. Name a target for each."
        )
    return np.array([str(targets[guide]) for guide in guides], dtype=object)
