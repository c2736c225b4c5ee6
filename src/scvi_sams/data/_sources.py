"""Where an AnnData keeps its perturbations: a column of labels or a matrix of dosages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from scvi_sams._constants import ADATA_KEYS
from scvi_sams.data._labels import Encoding, encode_labels, encode_matrix
from scvi_sams.data._names import listed, nearest, positions

if TYPE_CHECKING:
    from anndata import AnnData


class PerturbationSource(Protocol):
    """Reads the perturbations of an AnnData."""

    @property
    def control(self) -> tuple[str, ...]:
        """Names that mean *not perturbed*."""

    def read(self, adata: AnnData, *, require_control: bool) -> Encoding:
        """Encode the perturbations of ``adata``, which stays as it is."""

    def describe(self) -> str:
        """Name the place that is read, as a user would write it."""


@dataclass(frozen=True)
class LabelSource:
    """A column of obs with one label per cell."""

    key: str
    control: tuple[str, ...]
    delimiter: str | None
    dosage_key: str | None

    def read(self, adata: AnnData, *, require_control: bool) -> Encoding:
        """Encode the labels (see :func:`~scvi_sams.data._labels.encode_labels`)."""
        return encode_labels(
            obs_column(adata, self.key, "perturbation_key"),
            control=self.control,
            delimiter=self.delimiter,
            dosages=(
                None
                if self.dosage_key is None
                else obs_column(adata, self.dosage_key, "dosage_key")
            ),
            require_control=require_control,
        )

    def describe(self) -> str:
        """Name the column."""
        return f"adata.obs[{self.key!r}]"


@dataclass(frozen=True)
class ObsmSource:
    """A matrix in obsm whose columns are named by itself or by ``uns[f"{key}_names"]``."""

    key: str
    control: tuple[str, ...]

    def read(self, adata: AnnData, *, require_control: bool) -> Encoding:
        """Encode the matrix (see :func:`~scvi_sams.data._labels.encode_matrix`)."""
        if self.key not in adata.obsm:
            raise KeyError(
                f"adata.obsm has no {self.key!r}{nearest(self.key, adata.obsm.keys())}. "
                f"It has {listed(adata.obsm.keys(), 10) or 'none'} (`perturbation_obsm_key`)."
            )
        matrix = adata.obsm[self.key]
        return encode_matrix(
            matrix,
            self._column_names(adata, matrix),
            control=self.control,
            where=self.describe(),
            # a matrix that was encoded before has lost its control columns
            require_control=require_control and self.key != ADATA_KEYS.PERTURBATIONS,
        )

    def _column_names(self, adata: AnnData, matrix: object) -> Sequence[object]:
        if isinstance(matrix, pd.DataFrame):
            return list(matrix.columns)
        names_key = f"{self.key}_names"
        if names_key not in adata.uns:
            raise KeyError(
                f"The columns of {self.describe()} have no names. Put them in "
                f"adata.uns[{names_key!r}], or make the matrix a DataFrame."
            )
        return list(adata.uns[names_key])

    def describe(self) -> str:
        """Name the matrix."""
        return f"adata.obsm[{self.key!r}]"


@dataclass(frozen=True)
class LayerSource:
    """The matrix of a guide modality (a layer of it, or X), whose variables are the guides."""

    layer: str | None
    control: tuple[str, ...]

    def read(self, adata: AnnData, *, require_control: bool) -> Encoding:
        """Encode the matrix (see :func:`~scvi_sams.data._labels.encode_matrix`)."""
        if self.layer is not None and self.layer not in adata.layers:
            raise KeyError(
                f"The guide modality has no layer {self.layer!r}; it has "
                f"{listed(adata.layers.keys(), 10) or 'none'}. Without `guide_layer`, X is read."
            )
        return encode_matrix(
            adata.X if self.layer is None else adata.layers[self.layer],
            list(adata.var_names),
            control=self.control,
            where=self.describe(),
            require_control=require_control,
        )

    def describe(self) -> str:
        """Name the matrix."""
        return "X" if self.layer is None else f"layers[{self.layer!r}]"


def obs_column(adata: AnnData, key: str, argument: str) -> pd.Series:
    """Column ``key`` of obs, or a KeyError that names ``argument`` and the nearest columns."""
    if key not in adata.obs:
        raise KeyError(
            f"adata.obs has no column {key!r}{nearest(key, map(str, adata.obs.columns))}. "
            f"`{argument}` must be one of {listed(adata.obs.columns, 10)}."
        )
    return adata.obs[key]


def onto(encoding: Encoding, known: npt.NDArray[np.object_]) -> Encoding:
    """Rearrange an encoding to the perturbations that a model knows, by name.

    Parameters
    ----------
    encoding
        Perturbations of some cells.
    known
        Perturbations of the model; ones that no cell received get empty columns.

    Returns
    -------
    The same cells over the columns ``known``.

    Raises
    ------
    ValueError
        If a cell received a perturbation that is not known.
    """
    received = np.flatnonzero(np.diff(encoding.dosages.tocsc().indptr))
    target = positions([str(encoding.names[column]) for column in received], known)
    move = sparse.csr_matrix(
        (np.ones(len(received), dtype=np.float32), (received, target)),
        shape=(len(encoding.names), len(known)),
    )
    dosages = sparse.csr_matrix(encoding.dosages @ move)
    dosages.sort_indices()
    return Encoding(dosages, known)
