"""Predictions that were made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from scvi_sams.data._names import as_tuple, listed
from scvi_sams.data._sources import obs_column
from scvi_sams.evaluation._condition_table import ConditionTable, perturbations_of
from scvi_sams.evaluation._means import COUNTS

if TYPE_CHECKING:
    from anndata import AnnData


class GivenPredictions:
    """Predicted cells from elsewhere, as a :class:`~scvi_sams.benchmark.Predictor`.

    Of CPA, GEARS, State, scGen or any other model: what it predicted is all that is read.

    Parameters
    ----------
    cells
        Predicted cells × genes, with labels and covariates in the columns of obs that the
        observed cells have them in; one mean profile per condition is fine.
    units
        What X is: ``"counts"`` or ``"log1p counts per 10,000"``; by default what
        ``uns["prediction"]["units"]`` says.
    """

    def __init__(self, cells: AnnData, *, units: str | None = None) -> None:
        self._cells, self._units = cells, units

    def fit(
        self,
        adata: AnnData,
        *,
        perturbation_key: str,
        control: str | Sequence[str],
        delimiter: str | None = "+",
        covariate_keys: str | Sequence[str] | None = None,
        layer: str | None = None,
        split_key: str | None = None,
        seed: int = 0,
    ) -> Self:
        """Read how conditions are written, and which genes; nothing is learned.

        Of counts, genes that ``adata`` does not have are left out. Logarithms stay as they are:
        they are of counts per 10,000 of the genes that were predicted.

        Parameters
        ----------
        adata, perturbation_key, control, delimiter, covariate_keys
            As in :meth:`~scvi_sams.benchmark.Predictor.fit`.
        layer, split_key, seed
            Not read.

        Returns
        -------
        The predictor itself.

        Raises
        ------
        KeyError, ValueError
            If the predictions lack a column, or a label is malformed.
        """
        self._columns: dict[str, Any] = {
            "perturbation_key": perturbation_key,
            "control": control,
            "delimiter": delimiter,
            "covariate_keys": covariate_keys,
        }
        genes, known = adata.var_names, self._cells.var_names
        units = self._units or self._cells.uns.get("prediction", {}).get("units")
        if units == COUNTS and len(known) > len(genes) and genes.isin(known).all():
            self._cells = self._cells[:, genes].copy()
        self._table = ConditionTable.of(self._cells, **self._columns, require_control=False)
        return self

    def predict(
        self,
        perturbations: str | Sequence[str],
        *,
        n_cells: int = 500,
        covariates: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> AnnData:
        """The given cells of some conditions and covariate values.

        All of them are taken, and control cells only if there are some.

        Parameters
        ----------
        perturbations, covariates
            As in :meth:`~scvi_sams.benchmark.Predictor.predict`.
        n_cells, seed
            Not read.

        Returns
        -------
        AnnData of cells × genes, as of :meth:`~scvi_sams.benchmark.Predictor.predict`.

        Raises
        ------
        ValueError
            If there are none of a condition.
        """
        controls = as_tuple(self._columns["control"])
        wanted = {
            perturbations_of(label, controls, self._columns["delimiter"]): label
            for label in as_tuple(perturbations)
        }
        missing = [
            label for parts, label in wanted.items() if parts and parts not in self._table.parts
        ]
        if missing:
            raise ValueError(f"There are no predicted cells of {listed(missing)}.")
        chosen = self._table.cells(np.array([parts in wanted for parts in self._table.parts]))
        for key, values in (covariates or {}).items():
            column = obs_column(self._cells, key, "covariates").astype(str)
            chosen &= column.isin([str(value) for value in as_tuple(values)]).to_numpy()
        if not chosen.any():
            raise ValueError(f"There are no predicted cells in {dict(covariates or {})}.")
        cells = self._cells[chosen].copy()
        if self._units is not None:
            cells.uns["prediction"] = {"units": self._units}
        return cells
