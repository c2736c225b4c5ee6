"""All metrics of the predictions of one model in one context."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scvi_sams.evaluation._ates import ate_pearson, ate_r2
from scvi_sams.evaluation._collapse import mean_similarity, variance_ratio
from scvi_sams.evaluation._deltas import cosine_delta, cosine_logfc, pearson_delta
from scvi_sams.evaluation._errors import mae, r2, rmse
from scvi_sams.evaluation._means import Profiles
from scvi_sams.evaluation._ranks import rank_of_predictions, rank_of_truths

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_PSEUDOCOUNT = 1.0  # counts per 10,000
_N_TOP = 20

# whether more is better; 0 is no better than another value in either direction
DIRECTION = {
    "rmse": -1,
    "mae": -1,
    "r2": 1,
    "pearson_delta": 1,
    "cosine_delta": 1,
    "cosine_logfc": 1,
    "pearson_delta_perturbed": 1,
    "rank": -1,
    "rank_of_truth": -1,
    "ate_pearson": 1,
    "ate_r2": 1,
    "ate_pearson_top20": 1,
    "ate_r2_top20": 1,
    "variance_ratio": 0,
    "similarity": 0,
}


@dataclass(frozen=True)
class Truth:
    """What was observed in one context.

    Attributes
    ----------
    observed
        Of the perturbed conditions.
    control
        Of the control cells, one row.
    perturbed
        Mean log profile over the perturbed conditions that were trained on, of genes; NaN where
        it is not known.
    targets
        Which genes each condition perturbs, conditions × genes.
    """

    observed: Profiles
    control: Profiles
    perturbed: Array
    targets: Flags

    def scores(self, predicted: Profiles) -> dict[str, Array]:
        """Each metric of each condition; arrays of shape ``(n_conditions,)``."""
        control = self.control.log[0]
        found, true = predicted.log, self.observed.log
        scores = {
            "rmse": rmse(found, true),
            "mae": mae(found, true),
            "r2": r2(found, true),
            "pearson_delta": pearson_delta(found, true, reference=control),
            "cosine_delta": cosine_delta(found, true, reference=control),
            "cosine_logfc": cosine_logfc(
                np.maximum(predicted.linear, 0),
                self.observed.linear,
                control=self.control.linear[0],
                pseudocount=_PSEUDOCOUNT,
            ),
            "pearson_delta_perturbed": np.full(len(true), np.nan),
            "rank": rank_of_predictions(found, true, exclude=self.targets, exclude_both=True),
            "rank_of_truth": rank_of_truths(found, true, exclude=self.targets, exclude_both=True),
        }
        if np.isfinite(self.perturbed).all():
            scores["pearson_delta_perturbed"] = pearson_delta(
                found, true, reference=self.perturbed
            )
        return scores


def joint_scores(
    predicted: Array, observed: Array, context: npt.NDArray[np.intp]
) -> dict[str, float]:
    """Metrics of all conditions together; collapse is one of each context, on average.

    Parameters
    ----------
    predicted, observed
        Differences of mean log profiles from control, conditions × genes.
    context
        Code of each condition's context.
    """
    predicted, observed = predicted / np.log(2), observed / np.log(2)
    n_top = min(_N_TOP, observed.shape[1])
    parts = [context == code for code in np.unique(context)]
    several = [part for part in parts if part.sum() > 1]
    of_context = {
        "variance_ratio": [variance_ratio(predicted[part], observed[part]) for part in several],
        "similarity": [mean_similarity(predicted[part]) for part in several],
    }
    return {
        "ate_pearson": ate_pearson(predicted, observed),
        "ate_r2": ate_r2(predicted, observed),
        "ate_pearson_top20": ate_pearson(predicted, observed, n_top=n_top),
        "ate_r2_top20": ate_r2(predicted, observed, n_top=n_top),
    } | {name: float(np.mean(x)) if x else float("nan") for name, x in of_context.items()}
