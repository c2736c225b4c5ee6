"""What the tables of results hold: groups of scores, kinds of models, and metrics."""

from __future__ import annotations

from collections.abc import Iterable

from scvi_sams.evaluation._scores import DIRECTION

GROUP = ["dataset", "split", "subset"]  # scores within one are compared
MODEL, BASELINE, CEILING = "model", "baseline", "ceiling"
REFERENCES = "references"  # the run of the baselines and the ceiling, which are scored together
DONE, FAILED, CANNOT = "done", "failed", "cannot predict"

MAIN = {
    "ate_pearson": "correlation of average treatment effects, over all perturbations and genes",
    "pearson_delta": "correlation of a perturbation's changes from the observed control, over "
    "genes; the control's noise is in both sides, and earns ControlMean a score where control "
    "cells are few",
    "pearson_delta_perturbed": "the same from the mean of all perturbations, so that what they "
    "share earns nothing",
    "rank": "share of the other predictions that lie nearer to the truth: 0 is perfect, 0.5 is "
    "chance",
    "rmse": "root mean squared error of mean log expression, over genes",
    "energy_distance": "between predicted and observed cells, in a PCA",
    "iwelbo": "bound on the log likelihood of test cells, in nats per cell; "
    "of likelihood models alone",
}
CEILING_IS = (
    "The ceiling is one half of the test cells of each condition predicting the other: with half "
    "the cells on both sides, so that what learned from more can exceed it."
)
_DIRECTION = DIRECTION | {"iwelbo": 1}


def direction(metric: str) -> int:
    """1 if more is better, -1 if less is, 0 if neither or not known."""
    return _DIRECTION.get(metric, 0)


def arrow(metric: str) -> str:
    """The way to better scores: ↑ or ↓ after a space that does not break, or nothing."""
    return {1: "\N{NO-BREAK SPACE}↑", -1: "\N{NO-BREAK SPACE}↓", 0: ""}[direction(metric)]


def ordered(metrics: Iterable[str]) -> list[str]:
    """Metrics without repeats: the main ones, the others that are known, then the rest."""
    found = list(dict.fromkeys(metrics))
    order = list(dict.fromkeys([*MAIN, *_DIRECTION, *found]))
    return sorted(found, key=order.index)


def main_metrics(metrics: Iterable[str]) -> list[str]:
    """The main ones of ``metrics``; where there are none, all that have a better direction."""
    found = ordered(metrics)
    return [name for name in found if name in MAIN] or [name for name in found if direction(name)]
