"""Encoding the labels of an AnnData on its own, outside a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scvi_sams._constants import ADATA_KEYS
from scvi_sams.data._names import as_tuple
from scvi_sams.data._sources import LabelSource

if TYPE_CHECKING:
    from anndata import AnnData


def encode_perturbations(
    adata: AnnData,
    key: str,
    *,
    control: str | Sequence[str] | None,
    delimiter: str | None = "+",
    dosage_key: str | None = None,
) -> None:
    """Write perturbation labels as a matrix of dosages.

    Adds to ``adata``

    - ``obsm["perturbations"]``: sparse dosages, cells × perturbations
    - ``uns["perturbations_names"]``: the names of its columns, sorted

    which ``setup_anndata(adata, perturbation_obsm_key="perturbations")`` reads.

    Parameters
    ----------
    adata
        Cells × genes.
    key
        Column of obs with one label per cell; ``"A+B"`` is a combination.
    control
        Label of control cells, or several; ``None`` if there are none.
    delimiter
        What separates the parts of a combination; ``None`` if labels are never split.
    dosage_key
        Column of obs with doses: a number per cell, or ``"1.0+0.5"`` beside ``"A+B"``.

    Raises
    ------
    KeyError
        If a column does not exist.
    ValueError
        If a label or dose is missing or malformed, or no cell carries a control.
    """
    encoding = LabelSource(key, as_tuple(control), delimiter, dosage_key).read(
        adata, require_control=True
    )
    adata.obsm[ADATA_KEYS.PERTURBATIONS] = encoding.dosages
    adata.uns[ADATA_KEYS.PERTURBATION_NAMES] = encoding.names
