"""What every baseline has in common: fitting to means, and predicting cells around one."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import anndata as ad
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from scvi_sams.data._names import as_tuple, listed, nearest
from scvi_sams.data._sources import obs_column
from scvi_sams.evaluation._condition_table import ConditionTable, Parts, perturbations_of
from scvi_sams.evaluation._means import (
    COUNTS,
    LOG1P_CP10K,
    check_counts,
    log_normalized,
    mean_profiles,
)

if TYPE_CHECKING:
    from anndata import AnnData

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FittedCells:
    """The cells that a baseline learns from.

    Attributes
    ----------
    counts
        Raw counts, cells × genes.
    table
        Their conditions, in the order of the means.
    is_validation
        Which cells are ``"val"`` in the split, of shape ``(n_cells,)``; none without a split.
    """

    counts: Any
    table: ConditionTable
    is_validation: npt.NDArray[np.bool_]


class Baseline(ABC):
    """A simple prediction of perturbed cells, to be beaten.

    Everything happens on the scale log(1 + counts per 10,000). A baseline predicts a mean per
    condition and context (combination of covariate values) and nothing of how cells spread around
    it: predicted cells are control cells of the context, moved to that mean.
    """

    _is_of_means: ClassVar[bool] = False  # whether it is arithmetic of means, on any scale

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
        """Learn from raw counts.

        Parameters
        ----------
        adata
            Cells × genes; not changed.
        perturbation_key
            Column of obs with one label per cell.
        control
            Label of control cells, or several.
        delimiter
            What separates the parts of a combination; ``None`` if labels are never split.
        covariate_keys
            Columns of obs whose values make the contexts.
        layer
            Layer of the counts; ``X`` by default.
        split_key
            Column of obs; cells that are ``"train"`` or ``"val"`` in it are learned from, by
            default all.
        seed
            Of what is random.

        Returns
        -------
        The baseline itself.

        Raises
        ------
        KeyError
            If a column is missing.
        ValueError
            If values are no counts, a label is malformed, or a context has no control cells.
        """
        is_validation = np.zeros(adata.n_obs, dtype=bool)
        if split_key is not None:
            split = obs_column(adata, split_key, "split_key")
            is_fitted = split.isin(["train", "val"]).to_numpy()
            adata, is_validation = adata[is_fitted], split.isin(["val"]).to_numpy()[is_fitted]
        self._control, self._delimiter = as_tuple(control), delimiter
        self._covariate_keys = as_tuple(covariate_keys)
        self._label_key = perturbation_key
        self.gene_names = np.asarray(adata.var_names.astype(str))
        table = ConditionTable.of(
            adata,
            perturbation_key=perturbation_key,
            control=control,
            delimiter=delimiter,
            covariate_keys=covariate_keys,
        )
        counts = adata.X if layer is None else adata.layers[layer]
        where = "X" if layer is None else f"layer {layer!r}"
        check_counts(counts, where, "Give raw counts, by `layer=` if they are in a layer.")
        profiles = mean_profiles(counts, table.of_cell, len(table.parts), units=COUNTS)
        self.means: dict[tuple[Parts, Parts], Array] = dict(
            zip(table.keys, profiles.log, strict=True)
        )
        self.n_cells = dict(zip(table.keys, profiles.n_cells.tolist(), strict=True))
        self.perturbation_names = np.array(sorted({p for parts in table.parts for p in parts}))
        self.contexts = sorted(set(table.covariates))
        bare = [context for context in self.contexts if ((), context) not in self.means]
        if bare:
            raise ValueError(
                f"There are no control cells in {listed(', '.join(x) for x in bare)}; every "
                "context needs some, as the reference of effects there."
                if self._covariate_keys
                else "No cell is a control; name their label: `control=`."
            )
        self._controls = {
            context: log_normalized(counts[table.of_cell == table.keys.index(((), context))])
            for context in self.contexts
        }
        cells = FittedCells(counts, table, is_validation)
        self._fit(cells, np.random.default_rng(seed))
        self._of_linear: Baseline | None = None
        if self._is_of_means:
            self._of_linear = copy.copy(self)
            logs = np.log1p(profiles.linear, out=profiles.linear)
            self._of_linear.means = dict(zip(table.keys, logs, strict=True))
            self._of_linear._fit(cells, np.random.default_rng(seed))
        return self

    def predict(
        self,
        perturbations: str | Sequence[str],
        *,
        n_cells: int = 500,
        covariates: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> AnnData:
        """Predict cells of conditions, in each of some contexts.

        Parameters
        ----------
        perturbations
            Conditions, written like the labels of the fit; seen or not.
        n_cells
            Most cells of each condition and context; there are never more than control cells.
        covariates
            Values of the covariates, one or several of each; all that were seen by default.
        seed
            Of the choice of control cells.

        Returns
        -------
        AnnData of cells × genes: log1p counts per 10,000, said in ``uns["prediction"]["units"]``;
        obs holds the label and the covariates. The mean of the cells of a condition is exactly
        the prediction.

        Raises
        ------
        RuntimeError
            If the baseline is not fitted.
        ValueError
            If a perturbation or covariate value is unknown, or ``n_cells`` is less than 1.
        """
        if not hasattr(self, "means"):
            raise RuntimeError(f"This {type(self).__name__} is not fitted; call `fit` first.")
        if n_cells < 1:
            raise ValueError(f"`n_cells` must be at least 1; it is {n_cells}.")
        labels = as_tuple(perturbations)
        if not labels:
            raise ValueError("`perturbations` is empty; name at least one condition.")
        parts = [self._parts(label) for label in labels]
        x, obs = [], []
        for context in self._asked(covariates or {}):
            for label, members in zip(labels, parts, strict=True):
                x.append(self.cells(members, context, n_cells=n_cells, seed=seed))
                values = dict(zip(self._covariate_keys, context, strict=True))
                obs.append(pd.DataFrame([{self._label_key: label} | values] * len(x[-1])))
        table = pd.concat(obs, ignore_index=True)
        table.index = table.index.astype(str)
        return ad.AnnData(
            np.concatenate(x),
            obs=table,
            var=pd.DataFrame(index=self.gene_names),
            uns={"prediction": {"units": LOG1P_CP10K, "by": type(self).__name__}},
        )

    def cells(
        self, parts: Parts, context: Parts, *, n_cells: int = 500, seed: int = 0
    ) -> npt.NDArray[np.float32]:
        """Control cells of a context around the mean that is predicted there, cells × genes.

        Parameters
        ----------
        parts
            Perturbations of the condition.
        context
            Values of the covariates.
        n_cells
            Most cells.
        seed
            Of their choice.

        Returns
        -------
        Array of shape cells × genes, log1p counts per 10,000.
        """
        controls = self._controls[context]
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.permutation(controls.shape[0])[:n_cells])
        some = controls[chosen]
        some = np.asarray(some.todense() if sparse.issparse(some) else some)
        return (some - some.mean(axis=0) + self.mean(parts, context)).astype(np.float32)

    def mean(self, parts: Parts, context: Parts) -> Array:
        """Predicted mean of a condition in a context.

        Parameters
        ----------
        parts, context
            As in :meth:`cells`.

        Returns
        -------
        Array of shape ``(n_genes,)``, log1p counts per 10,000.
        """
        return self._mean(parts, context)

    def linear_mean(self, parts: Parts, context: Parts) -> Array | None:
        r"""Predicted mean counts per 10,000.

        It is :math:`e^m - 1` with m the baseline's arithmetic of :math:`\log(1 + \bar u)` in place
        of mean logs, of the mean counts per 10,000 :math:`\bar u` of conditions: with log fold
        changes in place of changes of mean logs, from which those of genes that few cells express
        do not follow.

        Parameters
        ----------
        parts, context
            As in :meth:`cells`.

        Returns
        -------
        Array of shape ``(n_genes,)``; None of a network, which learned mean logs alone.
        """
        if self._of_linear is None:
            return None
        return np.maximum(np.expm1(self._of_linear.mean(parts, context)), 0)

    def _fit(self, cells: FittedCells, rng: np.random.Generator) -> None:
        """Learn more than the means; nothing by default."""
        return

    @abstractmethod
    def _mean(self, parts: Parts, context: Parts) -> Array:
        """Predicted mean of a condition in a context, of shape ``(n_genes,)``."""

    def _indicators(self, parts: Parts, context: Parts) -> Array:
        """Indicators of perturbations and then contexts; the latter zero if there is only one."""
        received = [name in parts for name in self.perturbation_names]
        where = [len(self.contexts) > 1 and context == other for other in self.contexts]
        return np.array(received + where, dtype=float)

    def _parts(self, label: str) -> Parts:
        parts = perturbations_of(label, self._control, self._delimiter)
        unknown = [part for part in parts if part not in self.perturbation_names]
        if unknown:
            raise ValueError(
                f"{listed(unknown)} was not in the data of the fit"
                f"{nearest(unknown[0], self.perturbation_names)}."
            )
        return parts

    def _asked(self, covariates: Mapping[str, Any]) -> list[Parts]:
        """Contexts with the asked values."""
        for key, values in covariates.items():
            if key not in self._covariate_keys:
                raise ValueError(
                    f"{key!r} is no covariate of the fit{nearest(key, self._covariate_keys)}."
                )
            known = sorted({c[self._covariate_keys.index(key)] for c in self.contexts})
            for value in as_tuple(values):
                if value not in known:
                    raise ValueError(f"{key!r} has no value {value!r}{nearest(value, known)}.")
        return [
            context
            for context in self.contexts
            if all(
                context[self._covariate_keys.index(key)] in as_tuple(values)
                for key, values in covariates.items()
            )
        ]
