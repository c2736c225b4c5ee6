"""Predictions and observations of the same things, under their names."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from scvi_sams._tables import dense, wrong_type

Table: TypeAlias = npt.ArrayLike | pd.DataFrame | AnnData


def aligned(predicted: Table, observed: Table) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows and columns that both have, in the order of ``observed``.

    Tables without names are taken to be in the order of the other.

    Raises
    ------
    TypeError
        If one is none of AnnData, DataFrame and array.
    ValueError
        If shapes differ and one has no names, names occur twice, none is in both, or there is
        nothing at all.
    """
    first, second = _table(predicted, "predicted"), _table(observed, "observed")
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
    return isinstance(table, pd.DataFrame | AnnData)


def _table(values: Any, argument: str) -> pd.DataFrame:
    if isinstance(values, pd.DataFrame):
        return values.astype(float)
    if isinstance(values, AnnData):
        return pd.DataFrame(dense(values.X), index=values.obs_names, columns=values.var_names)
    try:
        return pd.DataFrame(np.atleast_2d(dense(values)))
    except TypeError as error:
        raise wrong_type(
            values, argument, "effects as AnnData, DataFrame or array of numbers"
        ) from error
