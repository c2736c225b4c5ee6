"""Predictions and observations of the same things, under their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from scvi_sams.pl._results import dense

if TYPE_CHECKING:
    from anndata import AnnData

    Table: TypeAlias = npt.ArrayLike | pd.DataFrame | AnnData


def aligned(predicted: Table, observed: Table) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows and columns that both have, in the order of ``observed``.

    Tables without names are taken to be in the order of the other.

    Raises
    ------
    ValueError
        If shapes differ and one has no names, names occur twice, none is in both, or there is
        nothing at all.
    """
    first, second = _table(predicted), _table(observed)
    if not (_is_named(predicted) and _is_named(observed)):
        if first.shape != second.shape:
            raise ValueError(
                f"Predicted effects have shape {first.shape}, observed ones {second.shape}."
            )
        names = first if _is_named(predicted) else second
        first, second = (
            pd.DataFrame(table.to_numpy(), index=names.index, columns=names.columns)
            for table in (first, second)
        )
    for table, which in ((first, "Predicted"), (second, "Observed")):
        if not (table.index.is_unique and table.columns.is_unique):
            raise ValueError(f"{which} effects have names that occur twice.")
    rows = second.index[second.index.isin(first.index)]
    columns = second.columns[second.columns.isin(first.columns)]
    for common, what in ((rows, "perturbation"), (columns, "gene")):
        if not len(common):
            raise ValueError(f"Predicted and observed effects have no {what} in common.")
    return first.loc[rows, columns], second.loc[rows, columns]


def _is_named(table: Table) -> bool:
    return isinstance(table, pd.DataFrame) or hasattr(table, "obs_names")


def _table(values: Any) -> pd.DataFrame:
    if isinstance(values, pd.DataFrame):
        return values.astype(float)
    if _is_named(values):
        return pd.DataFrame(dense(values.X), index=values.obs_names, columns=values.var_names)
    return pd.DataFrame(np.atleast_2d(dense(values)))
