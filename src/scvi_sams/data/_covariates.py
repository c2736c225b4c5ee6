"""Fields of covariates that are checked in every data they are registered with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scvi.data.fields import (
    CategoricalJointObsField,
    CategoricalObsField,
    NumericalJointObsField,
    NumericalObsField,
)

from scvi_sams.data._field import in_mudata
from scvi_sams.data._names import listed, nearest
from scvi_sams.data._sources import obs_column

if TYPE_CHECKING:
    from anndata import AnnData


def complete_column(adata: AnnData, key: str, argument: str) -> pd.Series:
    """Column of obs without a missing value; KeyError or ValueError name ``argument``."""
    column = obs_column(adata, key, argument)
    if column.isna().any():
        raise ValueError(
            f"adata.obs[{key!r}] (`{argument}`) has {int(column.isna().sum())} missing value(s). "
            "Fill them in or drop these cells."
        )
    return column


def finite_column(adata: AnnData, key: str, argument: str) -> np.ndarray:
    """Column of obs as finite numbers; KeyError or ValueError name ``argument``."""
    column = complete_column(adata, key, argument)
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        culprit = column[~np.isfinite(values)].iloc[0]
        raise ValueError(
            f"adata.obs[{key!r}] (`{argument}`) must hold finite numbers; it holds {culprit!r}."
        )
    return values


def check_known(adata: AnnData, key: str, argument: str, known: Iterable[object]) -> None:
    """Raise unless a model knows all values of a column of obs; errors name ``argument``.

    Raises
    ------
    KeyError
        If there is no such column.
    ValueError
        If values are missing or unknown.
    """
    names = list(known)
    # scvi-tools' own check passes over 0 and False
    unknown = [
        value for value in complete_column(adata, key, argument).unique() if value not in names
    ]
    alike = {str(name): type(name).__name__ for name in names}
    if unknown and str(unknown[0]) in alike:
        raise ValueError(
            f"adata.obs[{key!r}] (`{argument}`) holds {str(unknown[0])!r} as "
            f"{type(unknown[0]).__name__}, and the model was trained with it as "
            f"{alike[str(unknown[0])]}. Convert the column (`.astype(...)`)."
        )
    if unknown:
        raise ValueError(
            f"adata.obs[{key!r}] (`{argument}`) holds {listed(unknown, 3)}, which the model was "
            f"not trained with{nearest(str(unknown[0]), map(str, names))}. It knows "
            f"{listed(names, 10)}; drop the other cells."
        )


class BatchField(CategoricalObsField):
    """The batch of each cell."""

    def validate_field(self, adata: AnnData) -> None:
        """Raise if the column is missing or incomplete."""
        if not self.is_default:
            complete_column(adata, self._original_attr_key, "batch_key")
        super().validate_field(adata)

    def transfer_field(
        self,
        state_registry: dict[str, Any],
        adata_target: AnnData,
        extend_categories: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Register the batches of another AnnData, all of which the model must know."""
        if not (self.is_default or extend_categories):
            known = state_registry[self.CATEGORICAL_MAPPING_KEY]
            check_known(adata_target, self._original_attr_key, "batch_key", known)
        return super().transfer_field(state_registry, adata_target, extend_categories, **kwargs)


class SizeFactorField(NumericalObsField):
    """Positive size factors."""

    def validate_field(self, adata: AnnData) -> None:
        """Raise if the column is missing, incomplete, not numeric or not positive."""
        values = finite_column(adata, self.attr_key, "size_factor_key")
        if not (values > 0).all():
            raise ValueError(
                f"adata.obs[{self.attr_key!r}] (`size_factor_key`) must be positive; "
                f"its smallest value is {values.min():g}."
            )
        super().validate_field(adata)


class CategoricalCovariatesField(CategoricalJointObsField):
    """Further categorical covariates."""

    def validate_field(self, adata: AnnData) -> None:
        """Raise if a column is missing or incomplete."""
        for key in self.attr_keys:
            complete_column(adata, key, "categorical_covariate_keys")
        super().validate_field(adata)

    def transfer_field(
        self,
        state_registry: dict[str, Any],
        adata_target: AnnData,
        extend_categories: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Register the covariates of another AnnData, whose values the model must know."""
        for key in [] if extend_categories else self.attr_keys:
            known = state_registry[self.MAPPINGS_KEY][key]
            check_known(adata_target, key, "categorical_covariate_keys", known)
        return super().transfer_field(
            state_registry, adata_target, extend_categories=extend_categories, **kwargs
        )


class ContinuousCovariatesField(NumericalJointObsField):
    """Continuous covariates."""

    def validate_field(self, adata: AnnData) -> None:
        """Raise if a column is missing, incomplete or not numeric."""
        for key in self.attr_keys:
            finite_column(adata, key, "continuous_covariate_keys")
        super().validate_field(adata)


MuDataBatchField = in_mudata(BatchField, __name__)
MuDataSizeFactorField = in_mudata(SizeFactorField, __name__)
MuDataCategoricalCovariatesField = in_mudata(CategoricalCovariatesField, __name__)
MuDataContinuousCovariatesField = in_mudata(ContinuousCovariatesField, __name__)


def as_list(keys: str | Sequence[str] | None) -> list[str]:
    """One key, several or none, as a list."""
    return [keys] if isinstance(keys, str) else list(keys or ())
