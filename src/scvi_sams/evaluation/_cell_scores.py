"""Metrics of cells, of one condition at a time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import sparse

from scvi_sams.evaluation._condition_cells import GivenCells, Key, LogCells, Source
from scvi_sams.evaluation._differential import Tested, agreement, tested, untested
from scvi_sams.evaluation._distances import energy_distance, median_gamma, mmd
from scvi_sams.evaluation._profiles import Array

DISTANCES = ("energy_distance", "mmd")
AGREEMENT = ("de_recall", "de_precision", "de_direction", "de_spearman")

_N_TOP = 50  # genes
_MOST_COMPONENTS, _MOST_FOR_PCA = 50, 10_000

Group: TypeAlias = LogCells  # of two cells or more


@dataclass(frozen=True)
class Projection:
    """Principal components of log-normalised cells.

    Attributes
    ----------
    centre
        Mean of the cells that they were fitted to, of genes.
    components
        Genes × components.
    """

    centre: Array
    components: Array

    @classmethod
    def fit(cls, cells: GivenCells, seed: int) -> Projection:
        """Fit 50 components, or as many as there are, to 10,000 cells at most."""
        from sklearn.decomposition import PCA

        some = _dense(cells.any_cells(_MOST_FOR_PCA, seed))
        n = min(_MOST_COMPONENTS, len(some) - 1, some.shape[1])
        with np.errstate(invalid="ignore"):  # shares of the variance, of equal cells without any
            pca = PCA(n, random_state=seed % 2**32).fit(some)
        return cls(pca.mean_, pca.components_.T)

    def __call__(self, cells: LogCells) -> Array:
        """Cells × components."""
        return np.asarray(cells @ self.components - self.centre @ self.components)


class CellScores:
    """Compares predicted cells with observed ones.

    Observed cells are tested once for all predictions, and the width of the kernel is theirs.

    Parameters
    ----------
    observed
        Observed cells.
    metrics
        Metrics that are wanted; those that are not of cells are passed over.
    projection
        Principal components for distances; None if none is wanted.
    most
        Most cells of a condition, or of control, on either side.
    seed
        Of their choice.
    """

    def __init__(
        self,
        observed: Source,
        metrics: Collection[str],
        projection: Projection | None,
        most: int,
        seed: int,
    ) -> None:
        self._observed, self._projection, self._draw = observed, projection, (most, seed)
        self._metrics = [name for name in (*DISTANCES, *AGREEMENT) if name in metrics]
        self._tested: dict[Key, Tested] = {}
        self._gamma: dict[Key, float] = {}

    def scores(self, predicted: Source, key: Key) -> dict[str, float]:
        """Metrics of a condition; NaN unless there are two cells or more on both sides."""
        found = dict.fromkeys(self._metrics, np.nan)
        if not found:
            return found
        groups = self._group(predicted, key), self._group(self._observed, key)
        if groups[0] is None or groups[1] is None:
            return found
        distances = self._distances(*groups, key) if self._projection else {}
        agreed = self._agreement(predicted, *groups, key) if set(found) & set(AGREEMENT) else {}
        return {name: (distances | agreed)[name] for name in found}

    def _group(self, source: Source, key: Key) -> Group | None:
        cells = source.cells(key, *self._draw)
        return None if cells is None or cells.shape[0] < 2 else cells

    def _distances(self, predicted: Group, observed: Group, key: Key) -> dict[str, float]:
        assert self._projection is not None
        a, b = self._projection(predicted), self._projection(observed)
        found = {}
        if "energy_distance" in self._metrics:
            found["energy_distance"] = energy_distance(a, b)
        if "mmd" in self._metrics:
            if key not in self._gamma:
                self._gamma[key] = _width(b)
            gamma = self._gamma[key]
            found["mmd"] = mmd(a, b, gamma=gamma) if np.isfinite(gamma) else np.nan
        return found

    def _agreement(
        self, predicted: Source, cells: Group, observed: Group, key: Key
    ) -> dict[str, float]:
        control: Key = ((), key[1])
        reference = self._group(self._observed, control)
        if reference is None:
            return dict.fromkeys(AGREEMENT, np.nan)
        own = self._group(predicted, control)
        if key not in self._tested:
            self._tested[key] = tested(observed, reference)
        # all zeros moved off zero would pass any test
        test = tested if predicted.has_noise else untested
        found = agreement(
            test(cells, reference if own is None else own), self._tested[key], _N_TOP
        )
        return {f"de_{name}": value for name, value in found.items()}


def _width(cells: Array) -> float:
    """Width of the kernel, the same for all predictions; NaN where most cells are equal."""
    try:
        return median_gamma(cells)
    except ValueError:
        return float("nan")


def _dense(cells: LogCells) -> Array:
    return cells.toarray() if sparse.issparse(cells) else np.asarray(cells)
