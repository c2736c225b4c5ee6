"""The AnnData fields of a perturbation screen: its perturbations, and its counts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import rich.pretty  # scvi-tools uses it to view a setup without importing it
import rich.table
from mudata import MuData
from scipy import sparse
from scvi import settings
from scvi.data.fields import BaseAnnDataField, LayerField, MuDataWrapper

from scvi_sams._constants import ADATA_KEYS
from scvi_sams._scvi import _get_adata_minify_type
from scvi_sams.data._disk import check_layout
from scvi_sams.data._labels import Encoding, pack
from scvi_sams.data._names import like_controls, listed
from scvi_sams.data._sources import onto

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_sams.data._sources import PerturbationSource

_ROWS_AT_ONCE = 20_000
_ROWS_SHOWN = 100
_RAW_COUNTS = "The model needs raw counts; pass the layer that holds them: `layer=`."


class PerturbationField(BaseAnnDataField):
    """Which cell received which perturbations, mapped by name.

    Registering writes the dosage matrix for people (``obsm["perturbations"]``, with its column
    names in ``uns["perturbations_names"]``) and the short lists that the model loads. Transfer to
    another AnnData reads that AnnData's own labels or matrix anew and maps names, never
    positions.

    Parameters
    ----------
    registry_key
        Key under which the model finds the lists.
    source
        Where the perturbations are read.
    one_per_cell
        Whether cells of several perturbations are refused.
    """

    NAMES_KEY = "names"
    CONTROL_KEY = "control"

    def __init__(
        self, registry_key: str, source: PerturbationSource, *, one_per_cell: bool = False
    ) -> None:
        super().__init__()
        self._registry_key = registry_key
        self._source = source
        self._one_per_cell = one_per_cell

    @property
    def registry_key(self) -> str:
        """Key of the lists in the data registry."""
        return self._registry_key

    @property
    def attr_name(self) -> str:
        """The lists stand in obsm."""
        return "obsm"

    @property
    def attr_key(self) -> str:
        """Key of the lists in obsm."""
        return ADATA_KEYS.PACKED_PERTURBATIONS

    @property
    def is_empty(self) -> bool:
        """A screen always has perturbations."""
        return False

    def validate_field(self, adata: AnnData) -> None:
        """Everything is checked while the perturbations are encoded."""

    def register_field(self, adata: AnnData) -> dict[str, Any]:
        """Encode the perturbations and write them; returns their names and the controls."""
        encoding = self._source.read(adata, require_control=True)
        if len(encoding.names) < 2:
            raise ValueError(
                f"{self._source.describe()} holds fewer than two perturbations: "
                f"{listed(encoding.names) or 'none'} besides the controls. "
                "A model of shared and distinct effects needs at least two; check the "
                "column and `control=`."
            )
        self._write(adata, encoding)
        forgotten = like_controls(encoding.names)
        if forgotten and (np.diff(encoding.dosages.indptr) > 0).all():
            is_one = len(forgotten) == 1
            like = (
                "reads like a control: it is a perturbation"
                if is_one
                else ("read like controls: they are perturbations")
            )
            say = listed(forgotten) if is_one else f"[{listed(forgotten)}]"
            warnings.warn(
                f"{self._source.describe()} has no control cells, and {listed(forgotten)} {like} "
                "like all others now. If these cells were not perturbed, say so: "
                f"`control={say}`.",
                UserWarning,
                stacklevel=settings.warnings_stacklevel,
            )
        return {self.NAMES_KEY: encoding.names, self.CONTROL_KEY: list(self._source.control)}

    def transfer_field(
        self, state_registry: dict[str, Any], adata_target: AnnData, **kwargs: Any
    ) -> dict[str, Any]:
        """Encode another AnnData over the perturbations of ``state_registry``."""
        super().transfer_field(state_registry, adata_target, **kwargs)
        encoding = self._source.read(adata_target, require_control=False)
        known = np.asarray(state_registry[self.NAMES_KEY], dtype=object)
        self._write(adata_target, onto(encoding, known))
        return dict(state_registry)

    def _write(self, adata: AnnData, encoding: Encoding) -> None:
        if self._one_per_cell:
            several = np.flatnonzero(np.diff(encoding.dosages.indptr) > 1)
            if len(several):
                raise ValueError(
                    f"{self._source.describe()} gives {len(several)} cell(s) several "
                    f"perturbations, first {listed(adata.obs_names[several], 3)}, and this model "
                    "takes one per cell. Pass `perturbation_key=` with `delimiter=None` to take "
                    "combinations as perturbations of their own, or drop these cells."
                )
        adata.obsm[ADATA_KEYS.PERTURBATIONS] = encoding.dosages
        adata.uns[ADATA_KEYS.PERTURBATION_NAMES] = encoding.names
        adata.obsm[ADATA_KEYS.PACKED_PERTURBATIONS] = pack(encoding.dosages)

    def get_summary_stats(self, state_registry: dict[str, Any]) -> dict[str, int]:
        """Report the number of perturbations."""
        return {f"n_{self.registry_key}": len(state_registry[self.NAMES_KEY])}

    def view_state_registry(self, state_registry: dict[str, Any]) -> rich.table.Table:
        """Tabulate the perturbations."""
        table = rich.table.Table(title=f"{self.registry_key} State Registry")
        for title, style in [
            ("Source Location", "dodger_blue1"),
            ("Perturbation", "green"),
            ("scvi-tools Encoding", "dark_violet"),
        ]:
            table.add_column(title, justify="center", style=style, overflow="fold")
        names = state_registry[self.NAMES_KEY]
        for code, name in enumerate(names[:_ROWS_SHOWN]):
            table.add_row(self._source.describe() if code == 0 else "", str(name), str(code))
        if len(names) > _ROWS_SHOWN:
            table.add_row("", f"and {len(names) - _ROWS_SHOWN} more", "")
        return table


class CountsField(LayerField):
    """Raw counts, checked in full; or real values, for models that take them.

    What the data holds is registered under ``HOLDS_KEY``: ``"counts"``, ``"fractions"`` (not all
    integers) or ``"negative"`` (real values, some of them negative).

    Parameters
    ----------
    registry_key
        Key under which the model finds the counts.
    layer
        Layer of the counts, or None for X.
    may_be_empty
        Whether cells without a count are fine (they are once size factors are given).
    """

    HOLDS_KEY = "holds"

    def __init__(self, registry_key: str, layer: str | None, *, may_be_empty: bool) -> None:
        # scvi-tools' own check looks at a few values and does not take sparse arrays
        super().__init__(registry_key, layer, is_count_data=False)
        self._may_be_empty = may_be_empty
        self._holds = "counts"

    def validate_field(self, adata: AnnData) -> None:
        """Raise for missing or negative counts and for empty cells; warn for fractions."""
        if self.attr_key is not None and self.attr_key not in adata.layers:
            raise KeyError(
                f"adata.layers has no {self.attr_key!r}; it has "
                f"{listed(adata.layers.keys(), 10) or 'none'}. Without `layer`, X is read."
            )
        super().validate_field(adata)
        where = "adata.X" if self.attr_key is None else f"adata.layers[{self.attr_key!r}]"
        if _get_adata_minify_type(adata) is not None:
            return  # counts were taken out on purpose
        x = self.get_field_data(adata)
        check_layout(x, where)
        fractional = negative = False
        empty: list[str] = []
        for start in range(0, adata.n_obs, _ROWS_AT_ONCE):
            rows = x[start : start + _ROWS_AT_ONCE]
            values = rows.data if sparse.issparse(rows) else np.asarray(rows)
            if not np.isfinite(values).all():
                raise ValueError(f"{where} holds missing or infinite values. {_RAW_COUNTS}")
            negative = negative or bool((values < 0).any())
            fractional = fractional or bool((values != np.round(values)).any())
            no_count = np.flatnonzero(np.asarray(rows.sum(axis=1, dtype=np.float64)).ravel() == 0)
            empty.extend(adata.obs_names[start + no_count])
        if negative and not fractional:
            raise ValueError(f"{where} holds negative counts. {_RAW_COUNTS}")
        if empty and not negative and not self._may_be_empty:
            raise ValueError(
                f"{where} has cells without any count, first {listed(empty, 3)}. Drop them: "
                "`sc.pp.filter_cells(adata, min_counts=1)`, or pass `size_factor_key=`."
            )
        self._holds = "negative" if negative else "fractions" if fractional else "counts"
        if self._holds == "fractions":
            warnings.warn(
                f"{where} holds values that are no integers. The model is one of raw counts, "
                "unless `gene_likelihood='normal'`. Are raw counts elsewhere, such as in a layer "
                "(`layer='counts'`)?",
                UserWarning,
                stacklevel=settings.warnings_stacklevel,
            )

    def register_field(self, adata: AnnData) -> dict[str, Any]:
        """Register the data and what they hold."""
        return {**super().register_field(adata), self.HOLDS_KEY: self._holds}

    def transfer_field(
        self, state_registry: dict[str, Any], adata_target: AnnData, **kwargs: Any
    ) -> dict[str, Any]:
        """Register the counts of another AnnData, which must have the model's genes in order."""
        known = np.asarray(state_registry[self.COLUMN_NAMES_KEY]).astype(str)
        found = adata_target.var_names.to_numpy().astype(str)
        if not np.array_equal(known, found):
            missing = sorted(set(known) - set(found))
            if missing:
                raise ValueError(
                    f"The data lacks {len(missing)} of the model's {len(known)} genes, such as "
                    f"{listed(missing, 3)}. Name its genes as the training data does."
                )
            raise ValueError(
                "The genes of the data are not those of the model in its order, which begins "
                f"{listed(known, 3)}. Reorder them: `adata[:, model.gene_names].copy()`, with a "
                "model loaded without data (`load(path, adata=False)`) if there is none yet."
            )
        registered = super().transfer_field(state_registry, adata_target, **kwargs)
        minified = _get_adata_minify_type(adata_target) is not None
        holds = state_registry[self.HOLDS_KEY] if minified else self._holds
        return {**registered, self.HOLDS_KEY: holds}


def _nothing(field: BaseAnnDataField, mdata: MuData) -> None:
    """Before registering; scvi-tools' own default cannot be pickled."""


def in_mudata(field: type[BaseAnnDataField], module: str) -> Any:
    """scvi-tools' class of a field in a MuData, which pickle finds by its name in ``module``."""
    wrapped = MuDataWrapper(field, _nothing)
    wrapped.__module__ = module
    return wrapped


MuDataPerturbationField = in_mudata(PerturbationField, __name__)
MuDataCountsField = in_mudata(CountsField, __name__)


@contextmanager
def unchanged_on_error(adata: AnnData | MuData) -> Iterator[None]:
    """Put obs, obsm and uns back as they were if the block raises."""
    parts = [adata, *adata.mod.values()] if isinstance(adata, MuData) else [adata]
    saved = [(part, part.obs.copy(deep=False), dict(part.obsm), dict(part.uns)) for part in parts]
    try:
        yield
    except BaseException:
        for part, obs, obsm, uns in saved:
            for column in [column for column in part.obs if column not in obs]:
                del part.obs[column]
            for column in [column for column in obs if not obs[column].equals(part.obs[column])]:
                part.obs[column] = obs[column]
            for mapping, before in [(part.obsm, obsm), (part.uns, uns)]:
                for key in [key for key in mapping if key not in before]:
                    del mapping[key]
                for key, value in before.items():
                    if mapping[key] is not value:
                        mapping[key] = value
        raise
