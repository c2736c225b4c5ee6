"""Metrics of mean profiles, of each condition of one context."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from scvi_sams.evaluation._deltas import cosine_delta, cosine_logfc, pearson_delta
from scvi_sams.evaluation._errors import mae, r2, rmse, weighted_mse, weighted_r2_delta
from scvi_sams.evaluation._means import Profiles
from scvi_sams.evaluation._profiles import Array, Floats
from scvi_sams.evaluation._ranks import rank_of_predictions, rank_of_truths
from scvi_sams.evaluation._weights import effect_weights

Flags = npt.NDArray[np.bool_]

_PSEUDOCOUNT = 1.0  # counts per 10,000
_CONDITIONS_AT_ONCE = 256

# whether more is better; 0 is no better than another value in either direction
DIRECTION = {
    "rmse": -1,
    "mae": -1,
    "r2": 1,
    "weighted_mse": -1,
    "weighted_r2_delta": 1,
    "pearson_delta": 1,
    "cosine_delta": 1,
    "cosine_logfc": 1,
    "pearson_delta_perturbed": 1,
    "rank": -1,
    "rank_of_truth": -1,
    "energy_distance": -1,
    "mmd": -1,
    "de_recall": 1,
    "de_precision": 1,
    "de_direction": 1,
    "de_spearman": 1,
    "coverage": 0,
    "ate_pearson": 1,
    "ate_r2": 1,
    "ate_pearson_top20": 1,
    "ate_r2_top20": 1,
    "variance_ratio": 0,
    "similarity": 0,
}


@dataclass(frozen=True)
class Sides:
    """Predicted and observed profiles of conditions of one context.

    Attributes
    ----------
    predicted, observed
        Of the same conditions.
    control
        Of the control cells that were observed, one row.
    perturbed
        Mean log profile over the perturbed conditions that were trained on, of genes; None where
        it is not known.
    targets
        Which genes each condition perturbs, conditions × genes.
    """

    predicted: Profiles
    observed: Profiles
    control: Profiles
    perturbed: Floats | None
    targets: Flags

    def scores(self, metrics: Collection[str]) -> dict[str, Array]:
        """Those of the metrics that are of mean profiles, arrays of shape ``(n_conditions,)``."""
        names = [name for name in OF_PROFILES if name in metrics]
        blocks = [[OF_PROFILES[name](block) for name in names] for block in self.blocks()]
        found = {name: np.concatenate(parts) for name, *parts in zip(names, *blocks, strict=True)}
        return found | {name: RANKS[name](self) for name in RANKS if name in metrics}

    def blocks(self) -> Iterator[Sides]:
        """The same, some conditions at a time."""
        for start in range(0, len(self.targets), _CONDITIONS_AT_ONCE):
            rows = slice(start, start + _CONDITIONS_AT_ONCE)
            sides = self.predicted[rows], self.observed[rows]
            yield Sides(*sides, self.control, self.perturbed, self.targets[rows])

    @cached_property
    def weights(self) -> Array:
        """Weights of genes in each condition."""
        return effect_weights(self.observed, self.control)


def _pearson_delta_perturbed(sides: Sides) -> Array:
    if sides.perturbed is None:
        return np.full(len(sides.targets), np.nan)
    return pearson_delta(sides.predicted.log, sides.observed.log, reference=sides.perturbed)


def _cosine_logfc(sides: Sides) -> Array:
    return cosine_logfc(
        np.maximum(sides.predicted.linear, 0),
        sides.observed.linear,
        control=sides.control.linear[0],
        pseudocount=_PSEUDOCOUNT,
    )


def _weighted_mse(sides: Sides) -> Array:
    return weighted_mse(sides.predicted.log, sides.observed.log, weights=sides.weights)


def _weighted_r2_delta(sides: Sides) -> Array:
    return weighted_r2_delta(
        sides.predicted.log,
        sides.observed.log,
        reference=sides.control.log[0],
        weights=sides.weights,
    )


def _rank(rank: Callable[..., Array]) -> Callable[[Sides], Array]:
    def of(sides: Sides) -> Array:
        targets = sides.targets
        found = np.full(len(targets), np.nan)
        # where every gene is targeted, nothing is left to rank by
        is_ranked = ~targets.all(axis=1)
        rows = slice(None) if is_ranked.all() else is_ranked
        found[rows] = rank(
            sides.predicted.log[rows],
            sides.observed.log[rows],
            exclude=targets[rows] if targets[rows].any() else None,
            exclude_both=True,
        )
        return found

    return of


OF_PROFILES: dict[str, Callable[[Sides], Array]] = {
    "rmse": lambda s: rmse(s.predicted.log, s.observed.log),
    "mae": lambda s: mae(s.predicted.log, s.observed.log),
    "r2": lambda s: r2(s.predicted.log, s.observed.log),
    "weighted_mse": _weighted_mse,
    "weighted_r2_delta": _weighted_r2_delta,
    "pearson_delta": lambda s: pearson_delta(
        s.predicted.log, s.observed.log, reference=s.control.log[0]
    ),
    "cosine_delta": lambda s: cosine_delta(
        s.predicted.log, s.observed.log, reference=s.control.log[0]
    ),
    "cosine_logfc": _cosine_logfc,
    "pearson_delta_perturbed": _pearson_delta_perturbed,
}
RANKS: dict[str, Callable[[Sides], Array]] = {
    "rank": _rank(rank_of_predictions),
    "rank_of_truth": _rank(rank_of_truths),
}
