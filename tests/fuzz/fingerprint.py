"""What an object holds, bit for bit, so that changes show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

Prints = dict[str, Any]


def fingerprint(value: Any, path: str = "") -> Prints:
    """Everything that a value holds, by where it stands in it."""
    if isinstance(value, ad.AnnData | MuData):
        return _of_container(value, path)
    if isinstance(value, pd.DataFrame):
        # columns may share a name
        columns = {f"{path}.{name}": _of_column(value.iloc[:, i]) for i, name in enumerate(value)}
        order = [repr(name) for name in value.columns]
        return {f"{path}/index": _of_index(value.index), f"{path}/columns": order} | columns
    if isinstance(value, Mapping):
        found: Prints = {f"{path}/keys": sorted(map(str, value))}
        for key, inner in value.items():
            found |= fingerprint(inner, f"{path}.{key}")
        return found
    return {path: _of_value(value)}


def changes(before: Prints, after: Prints, additions: tuple[str, ...] = ()) -> list[str]:
    """Places that differ, but for documented additions (beginnings of their paths).

    Lists of keys and columns may grow by additions, and by nothing else.
    """
    found = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old == new or path.startswith(additions):
            continue
        if path.endswith(("/keys", "/columns")) and old is not None and new is not None:
            where = path.rsplit("/", 1)[0]
            names = [name for name in (*old, *new) if (name in old) != (name in new)]
            if all(f"{where}.{name.strip(chr(39))}".startswith(additions) for name in names):
                continue
        found.append(path)
    return found


def _of_container(data: ad.AnnData | MuData, path: str) -> Prints:
    found: Prints = {f"{path}/view": data.is_view}
    parts: dict[str, Any] = {"obs": data.obs, "var": data.var}
    parts |= {"obsm": dict(data.obsm), "varm": dict(data.varm), "uns": dict(data.uns)}
    if isinstance(data, MuData):
        for name, modality in data.mod.items():
            found |= fingerprint(modality, f"{path}mod.{name}.")
    else:
        on_disk = data.isbacked
        parts |= {"X": data.X[:] if on_disk else data.X, "layers": dict(data.layers)}
        parts |= {"obsp": dict(data.obsp), "varp": dict(data.varp)}
        if data.raw is not None:
            parts |= {"raw.X": data.raw.X, "raw.var": data.raw.var}
    for name, part in parts.items():
        found |= fingerprint(part, f"{path}{name}")
    return found


def _of_column(column: pd.Series) -> Any:
    values = column.array
    if isinstance(values, pd.Categorical):
        categories = [repr(category) for category in values.categories]
        return ("category", values.codes.tobytes(), categories, values.ordered)
    return (str(column.dtype), [repr(value) for value in column])


def _of_index(index: pd.Index) -> Any:
    return (str(index.dtype), [repr(name) for name in index], repr(index.name))


def _of_value(value: Any) -> Any:
    if sparse.issparse(value):
        compressed = value if value.format in ("csr", "csc") else value.tocsr()
        arrays = (compressed.data, compressed.indices, compressed.indptr)
        return (type(value).__name__, value.shape, [_of_value(array) for array in arrays])
    if isinstance(value, np.ndarray):
        array = np.asarray(value)
        bits = [repr(v) for v in array.ravel()] if array.dtype == object else array.tobytes()
        return (str(array.dtype), array.shape, bits)
    return repr(value)
