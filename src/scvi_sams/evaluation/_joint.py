"""Metrics of all conditions together, for each resample of them."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from scvi_sams.evaluation._ates import moments, pearson_of, r2_of, top_genes
from scvi_sams.evaluation._collapse import similarities, variance_ratios
from scvi_sams.evaluation._profiles import Array, Floats

JOINT = (
    "ate_pearson",
    "ate_r2",
    "ate_pearson_top20",
    "ate_r2_top20",
    "variance_ratio",
    "similarity",
)

_N_TOP = 20
_CONDITIONS_AT_ONCE = 256


@dataclass(frozen=True)
class Arm:
    """Mean log profiles of the conditions of one context, and of its controls.

    Attributes
    ----------
    predicted, observed
        Conditions × genes.
    own_control
        The predicted mean of control, of genes; the observed one if there is none.
    control
        The observed mean of control, of genes.
    weights
        How often each condition counts, resamples × conditions.
    """

    predicted: Floats
    observed: Floats
    own_control: Floats
    control: Floats
    weights: Array

    def moments(self) -> tuple[Array, Array]:
        """Sums that average treatment effects are scored by, of all genes and of the top 20.

        Either side's effects are from its own control, in units of log2.
        """
        n_resamples, n = self.weights.shape
        every, top = np.zeros((n_resamples, 6)), np.zeros((n_resamples, 6))
        for start in range(0, n, _CONDITIONS_AT_ONCE):
            rows = slice(start, start + _CONDITIONS_AT_ONCE)
            found = (self.predicted[rows].astype(float) - self.own_control) / np.log(2)
            true = (self.observed[rows].astype(float) - self.control) / np.log(2)
            every += self.weights[:, rows] @ moments(found, true)
            top += self.weights[:, rows] @ moments(*top_genes(found, true, _N_TOP))
        return every, top


def joint_scores(arms: Sequence[Arm], metrics: Collection[str]) -> dict[str, Array]:
    """Metrics of all conditions together; collapse is one of each context, on average.

    Returns
    -------
    Of each metric that is wanted, an array of shape ``(n_resamples,)``.
    """
    found: dict[str, Array] = {}
    if any(name.startswith("ate_") for name in metrics):
        sums = [arm.moments() for arm in arms]
        for suffix, totals in zip(("", "_top20"), map(sum, zip(*sums, strict=True)), strict=True):
            found["ate_pearson" + suffix] = pearson_of(np.asarray(totals))
            found["ate_r2" + suffix] = r2_of(np.asarray(totals))
    if "variance_ratio" in metrics:
        found["variance_ratio"] = _mean_over_contexts(
            [variance_ratios(arm.predicted, arm.observed, arm.weights) for arm in arms]
        )
    if "similarity" in metrics:
        found["similarity"] = _mean_over_contexts(
            [similarities(arm.predicted - arm.control, arm.weights) for arm in arms]
        )
    return {name: found[name] for name in JOINT if name in metrics}


def _mean_over_contexts(scores: list[Array]) -> Array:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return np.nanmean(scores, axis=0)
