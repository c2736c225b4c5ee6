"""Cells of conditions, from wherever they come, and their mean profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from scvi_sams.evaluation._condition_table import ConditionTable, Parts
from scvi_sams.evaluation._means import COUNTS, Profiles, log_normalized, mean_profiles

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_sams.evaluation._baseline import Baseline

Key: TypeAlias = tuple[Parts, Parts]  # perturbations and covariate values
LogCells: TypeAlias = Any  # log1p counts per 10,000, cells × genes, dense or CSR


class Source(Protocol):
    """Where cells of conditions come from: observations, a model or a baseline."""

    has_noise: ClassVar[bool]  # whether cells of a condition vary as observed ones do

    def profiles(self, keys: Sequence[Key], *, with_variance: bool = False) -> Profiles:
        """Means of conditions in single precision; NaN and no cell where there are none."""

    def cells(self, key: Key, most: int, seed: int) -> LogCells | None:
        """At most so many cells of a condition, drawn without replacement; None without any."""


@dataclass(frozen=True)
class GivenCells:
    """Cells of an AnnData.

    Attributes
    ----------
    values
        Cells × genes, dense or CSR.
    units
        What the values are.
    rows
        Cells of each condition.
    """

    values: Any
    units: str
    rows: Mapping[Key, npt.NDArray[np.intp]]
    has_noise: ClassVar[bool] = True

    @classmethod
    def of(cls, adata: AnnData, table: ConditionTable, units: str) -> GivenCells:
        """Cells of all conditions; the matrix is not copied, but to make it CSR."""
        values = adata.X
        if sparse.issparse(values) and values.format != "csr":
            values = values.tocsr()
        order = np.argsort(table.of_cell, kind="stable")
        ends = np.cumsum(np.bincount(table.of_cell, minlength=len(table.parts)))
        return cls(values, units, dict(zip(table.keys, np.split(order, ends[:-1]), strict=True)))

    def among(self, is_chosen: npt.NDArray[np.bool_]) -> GivenCells:
        """Some of the cells, by a flag for each."""
        rows = {key: rows[is_chosen[rows]] for key, rows in self.rows.items()}
        return GivenCells(self.values, self.units, rows)

    def n_cells(self, key: Key) -> int:
        """Number of cells of a condition."""
        return len(self.rows.get(key, ()))

    def profiles(self, keys: Sequence[Key], *, with_variance: bool = False) -> Profiles:
        """Means of conditions."""
        group = np.full(self.values.shape[0], -1)
        for number, key in enumerate(keys):
            group[self.rows.get(key, [])] = number
        return mean_profiles(
            self.values,
            group,
            len(keys),
            units=self.units,
            with_variance=with_variance,
            dtype=np.float32,
        )

    def cells(self, key: Key, most: int, seed: int) -> LogCells | None:
        """Some cells of a condition."""
        return self._some(self.rows[key], most, seed) if self.n_cells(key) else None

    def any_cells(self, most: int, seed: int) -> LogCells:
        """Some cells, of whatever condition."""
        return self._some(np.sort(np.concatenate(list(self.rows.values()))), most, seed)

    def _some(self, rows: npt.NDArray[np.intp], most: int, seed: int) -> LogCells:
        if len(rows) > most:
            rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
        values = self.values[rows]
        return log_normalized(values) if self.units == COUNTS else values


@dataclass(frozen=True)
class BaselineCells:
    """Cells that a baseline predicts: those of control, moved to the mean of a condition."""

    baseline: Baseline
    seed: int
    has_noise: ClassVar[bool] = False

    def profiles(self, keys: Sequence[Key], *, with_variance: bool = False) -> Profiles:
        r"""Means of conditions, without their cells.

        Where a baseline predicts no mean counts, they are those of its cells: one moved by δ from
        y to y + δ has :math:`e^{y + \delta} - 1` counts per 10,000, on average over cells
        :math:`e^\delta \, \overline{e^y} - 1`.
        """
        controls: dict[Parts, tuple[Any, Any]] = {}
        shape = len(keys), len(self.baseline.gene_names)
        log, linear = np.empty(shape, np.float32), np.empty(shape, np.float32)
        for row, (parts, context) in enumerate(keys):
            log[row] = mean = self.baseline.mean(parts, context)
            counts = self.baseline.linear_mean(parts, context)
            if counts is not None:
                linear[row] = counts
                continue
            if context not in controls:
                cells = self.baseline.cells((), context, seed=self.seed).astype(float)
                controls[context] = cells.mean(axis=0), np.exp(cells).mean(axis=0)
            centre, mean_exp = controls[context]
            linear[row] = np.exp(mean - centre) * mean_exp - 1
        return Profiles(log, linear, np.ones(len(keys), dtype=np.int64))

    def cells(self, key: Key, most: int, seed: int) -> LogCells | None:
        """Some cells of a condition."""
        return self.baseline.cells(*key, n_cells=most, seed=seed)
