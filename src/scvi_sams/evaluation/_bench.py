"""Conditions to be scored, and the scores of a prediction of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from scvi_sams.evaluation._cell_scores import CellScores, Projection
from scvi_sams.evaluation._condition_cells import GivenCells, Key, Source
from scvi_sams.evaluation._condition_table import Parts
from scvi_sams.evaluation._coverage import Intervals
from scvi_sams.evaluation._joint import JOINT, Arm, joint_scores
from scvi_sams.evaluation._means import Profiles
from scvi_sams.evaluation._perturbench import perturbench_scores
from scvi_sams.evaluation._profiles import Array, Floats
from scvi_sams.evaluation._scores import Sides

Compat: TypeAlias = Literal["perturbench"] | None
Rows: TypeAlias = slice | npt.NDArray[np.intp]
Scored: TypeAlias = tuple[pd.DataFrame, dict[str, Array]]  # by condition, and of all by resample

_OF_VARIANCES = {"weighted_mse", "weighted_r2_delta", "coverage"}


@dataclass(frozen=True)
class Observed:
    """Observed cells, the profiles of all conditions and controls, and what cells are put to."""

    profiles: Profiles
    of_cells: CellScores


@dataclass
class Bench:
    """Conditions that predictions are scored on.

    Attributes
    ----------
    keys
        Conditions, those of a context together.
    genes
        Names of the genes.
    metrics
        Metrics that are wanted.
    weights
        How often each condition counts, resamples × conditions; the first is the data.
    projection
        Principal components for distances of cells, if these are wanted.
    perturbed
        By context, the mean log profile over perturbed conditions of training, where known.
    compat
        Whose definitions to follow, if not our own.
    max_cells, seed
        Most cells of a condition for metrics of cells, and the seed of all that is drawn.
    """

    keys: Sequence[Key]
    genes: pd.Index
    metrics: Collection[str]
    weights: Array
    projection: Projection | None = None
    perturbed: dict[Parts, Floats] = field(default_factory=dict)
    compat: Compat = None
    max_cells: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        contexts = [context for _, context in self.keys]
        self._contexts = list(dict.fromkeys(contexts))
        self._all_keys = [*self.keys, *(((), context) for context in self._contexts)]
        ends = np.cumsum([contexts.count(context) for context in self._contexts])
        self._within = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]
        position = {gene: number for number, gene in enumerate(self.genes)}
        self._targets = np.zeros((len(self.keys), len(self.genes)), dtype=bool)
        for flags, (parts, _) in zip(self._targets, self.keys, strict=True):
            flags[[position[part] for part in parts if part in position]] = True

    def observe(self, cells: GivenCells) -> Observed:
        """What predictions are compared with."""
        wanted = set(self.metrics)
        if self.compat:
            wanted = {"energy_distance"} if "mmd" in wanted else set()
        return Observed(
            cells.profiles(self._all_keys, with_variance=bool(wanted & _OF_VARIANCES)),
            CellScores(cells, wanted, self.projection, self.max_cells, self.seed),
        )

    def scores(
        self, predicted: Source, observed: Observed, intervals: Intervals | None = None
    ) -> Scored:
        """Metrics of each condition, and of all together in each resample."""
        profiles = predicted.profiles(self._all_keys)
        found = {
            name: np.full(len(self.keys), np.nan) for name in self.metrics if name not in JOINT
        }
        arms = []
        for number, context in enumerate(self._contexts):
            control = observed.profiles[[len(self.keys) + number]]
            rows = self._comparable(profiles, observed.profiles, self._within[number])
            if not control.n_cells[0] or not len(self._targets[rows]):
                continue
            sides = Sides(
                profiles[rows],
                observed.profiles[rows],
                control,
                self.perturbed.get(context),
                self._targets[rows],
            )
            for name, values in self._of_profiles(sides).items():
                found[name][rows] = values
            own = profiles[[len(self.keys) + number]]
            arms.append(
                Arm(
                    sides.predicted.log,
                    sides.observed.log,
                    own.log[0] if own.n_cells[0] else control.log[0],
                    control.log[0],
                    self.weights[:, rows],
                )
            )
            if intervals is not None and "coverage" in found:
                for row in np.arange(len(self.keys))[rows]:
                    one = observed.profiles[[row]]
                    found["coverage"][row] = intervals.coverage(self.keys[row], one, control)
        self._add_of_cells(found, predicted, observed.of_cells)
        joint = joint_scores(arms, self.metrics) if arms else {}
        return pd.DataFrame(found, index=self._index()), joint

    def _comparable(self, predicted: Profiles, observed: Profiles, within: slice) -> Rows:
        """Conditions of a context with cells on both sides; a slice copies nothing."""
        both = (predicted.n_cells[within] > 0) & (observed.n_cells[within] > 0)
        return within if both.all() else within.start + np.flatnonzero(both)

    def _of_profiles(self, sides: Sides) -> dict[str, Array]:
        if self.compat:
            return perturbench_scores(sides, self.metrics, self.seed)
        return sides.scores(self.metrics)

    def _add_of_cells(
        self, found: dict[str, Array], predicted: Source, of_cells: CellScores
    ) -> None:
        for row, key in enumerate(self.keys):
            for name, value in of_cells.scores(predicted, key).items():
                found["mmd" if self.compat else name][row] = value

    def _index(self) -> pd.MultiIndex:
        names = [("+".join(parts), ", ".join(values)) for parts, values in self.keys]
        return pd.MultiIndex.from_tuples(names, names=["perturbation", "context"])
