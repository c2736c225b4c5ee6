"""Values of covariates, as people write them and as the model reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scvi import REGISTRY_KEYS as SCVI_KEYS

from scvi_sams._scvi import _SETUP_ARGS_KEY
from scvi_sams.data._names import listed, nearest
from scvi_sams.model._base import PerturbationModel
from scvi_sams.module._numbers import is_number

# columns of obs that results have anyway
_TAKEN = {"perturbation", "dose", "trained", "n_cells", "dose_support", "cell", "n_cells_observed"}


def column_name(covariate: str) -> str:
    """Column of obs for a covariate: its name, after ``covariate_`` if results use that."""
    return f"covariate_{covariate}" if covariate in _TAKEN else covariate


class CovariateValuesMixin(PerturbationModel):
    """Covariates that are set for simulated cells."""

    def _covariate_settings(
        self, covariates: Mapping[str, Any] | None
    ) -> list[tuple[dict[str, Any], dict[tuple[str, int], float]]]:
        """Every combination of values of covariates, and what it sets in which columns."""
        if not isinstance(covariates, Mapping | None):
            raise TypeError(
                "`covariates` maps names to values, such as {'cell_type': 'K562'}; it is "
                f"{covariates!r}."
            )
        choices = []
        for key, values in (covariates or {}).items():
            is_one = isinstance(values, str) or not isinstance(values, Iterable)
            many = [values] if is_one else list(values)
            if not many:
                raise ValueError(f"`covariates` gives no value of {key!r}.")
            choices.append([(key, value, *self._covariate_code(key, value)) for value in many])
        return [
            (
                {column_name(key): value for key, value, *_ in choice},
                {(where, column): number for *_, where, column, number in choice},
            )
            for choice in product(*choices)
        ]

    def _covariates_of(self, tensors: dict[str, torch.Tensor]) -> dict[str, npt.NDArray[Any]]:
        """Values of the covariates of cells (``tensors``), by their columns in obs."""
        columns: dict[str, npt.NDArray[Any]] = {}
        for key, (where, column, values) in self._known_covariates.items():
            numbers = tensors[where][:, column].cpu().numpy()
            columns[column_name(key)] = (
                numbers if values is None else np.asarray(values)[numbers.astype(int)]
            )
        return columns

    @property
    def _known_covariates(self) -> dict[str, tuple[str, int, list[Any] | None]]:
        """Registry key, column and categories (None of a number) of each covariate."""
        batch = self.get_state_registry(SCVI_KEYS.BATCH_KEY)
        known: dict[str, tuple[str, int, list[Any] | None]] = {}
        if batch["original_key"] in self.registry[_SETUP_ARGS_KEY].values():
            known[batch["original_key"]] = (
                SCVI_KEYS.BATCH_KEY,
                0,
                list(batch["categorical_mapping"]),
            )
        categorical = self.get_state_registry(SCVI_KEYS.CAT_COVS_KEY)
        for column, key in enumerate(categorical.get("field_keys", ())):
            known[key] = (SCVI_KEYS.CAT_COVS_KEY, column, list(categorical["mappings"][key]))
        continuous = self.get_state_registry(SCVI_KEYS.CONT_COVS_KEY)
        for column, key in enumerate(continuous.get("columns", ())):
            known[str(key)] = (SCVI_KEYS.CONT_COVS_KEY, column, None)
        return known

    def _covariate_code(self, key: str, value: object) -> tuple[str, int, float]:
        """Registry key, column and number of a covariate's value."""
        known = self._known_covariates
        if key not in known:
            raise ValueError(
                f"The model has no covariate {key!r}{nearest(key, known)}; it has "
                f"{listed(known) or 'none'}."
            )
        where, column, values = known[key]
        if values is None:
            if not is_number(value):
                raise ValueError(f"The covariate {key!r} takes finite numbers, not {value!r}.")
            return where, column, float(value)  # type: ignore[arg-type]
        names = [str(one) for one in values]
        if str(value) not in names:
            raise ValueError(
                f"The covariate {key!r} has no value {value!r}{nearest(str(value), names)}; it "
                f"has {listed(names)}."
            )
        return where, column, float(names.index(str(value)))
