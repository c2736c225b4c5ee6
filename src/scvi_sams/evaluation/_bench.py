"""Conditions to be scored, and every prediction brought into their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from scvi_sams.data._names import listed
from scvi_sams.evaluation._condition_table import ConditionTable, Parts
from scvi_sams.evaluation._means import Profiles, mean_profiles
from scvi_sams.evaluation._scores import Truth

if TYPE_CHECKING:
    from scvi_sams.evaluation._baseline import Baseline

Array = npt.NDArray[np.float64]


class Bench:
    """Conditions that predictions are scored on.

    Parameters
    ----------
    table
        Conditions of the observed cells.
    rows
        Those to score.
    genes
        Names of the genes.
    """

    def __init__(
        self, table: ConditionTable, rows: npt.NDArray[np.intp], genes: npt.NDArray[np.object_]
    ) -> None:
        self.table, self.rows, self.genes = table, rows, genes
        self.keys = [table.keys[row] for row in rows]
        self.contexts = sorted({values for _, values in self.keys})
        self.context = np.array([self.contexts.index(values) for _, values in self.keys])
        self.perturbed: dict[Parts, Array] = {}
        self.targets = np.array([np.isin(genes, parts) for parts, _ in self.keys], dtype=bool)

    def learn(self, baseline: Baseline) -> None:
        """Take the mean over the perturbed conditions that a baseline was fitted to."""
        for context in self.contexts:
            trained = [
                mean
                for (parts, where), mean in baseline.means.items()
                if parts and where == context
            ]
            if trained:
                self.perturbed[context] = np.mean(trained, axis=0)

    def matched(self, table: ConditionTable, values: Any, units: str, name: str) -> Profiles:
        """Profiles of predicted cells in the order of the conditions.

        Raises
        ------
        ValueError
            If conditions are missing.
        """
        position = {key: row for row, key in enumerate(self.keys)}
        missing = [
            self.table.name(int(row))
            for row, key in zip(self.rows, self.keys, strict=True)
            if key not in set(table.keys)
        ]
        if missing:
            raise ValueError(
                f"The prediction {name!r} lacks {len(missing)} condition(s) of `observed`: "
                f"{listed(missing)}."
            )
        row_of = np.array([position.get(key, -1) for key in table.keys])
        return mean_profiles(values, row_of[table.of_cell], len(self.keys), units=units)

    def predicted_by(self, baseline: Baseline) -> Profiles:
        """Profiles that a baseline predicts."""
        log, linear = (np.empty((len(self.keys), len(self.genes))) for _ in range(2))
        for row, key in enumerate(self.keys):
            cells = baseline.cells(*key)
            log[row], linear[row] = cells.mean(axis=0), np.expm1(cells).mean(axis=0)
        return Profiles(log, linear, np.ones(len(self.keys), dtype=np.int64))

    def scores(
        self, predicted: Profiles, truth: Profiles
    ) -> tuple[pd.DataFrame, tuple[Array, Array]]:
        """Metrics of each condition, and predicted and observed effects, conditions × genes."""
        found: dict[str, Array] = {}
        effects = np.empty_like(predicted.log), np.empty_like(predicted.log)
        for code, context in enumerate(self.contexts):
            here = self.context == code
            control = truth[[self.table.keys.index(((), context))]]
            observed = truth[self.rows[here]]
            nowhere = np.full(len(self.genes), np.nan)
            scores = Truth(
                observed, control, self.perturbed.get(context, nowhere), self.targets[here]
            ).scores(predicted[here])
            for metric, values in scores.items():
                found.setdefault(metric, np.full(len(self.keys), np.nan))[here] = values
            for effect, profiles in zip(effects, (predicted[here], observed), strict=True):
                effect[here] = profiles.log - control.log
        names = [("+".join(parts), ", ".join(values)) for parts, values in self.keys]
        index = pd.MultiIndex.from_tuples(names, names=["perturbation", "context"])
        return pd.DataFrame(found, index=index), effects
