"""Scores by PerturBench's definitions, only to compare with its numbers."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from scvi_sams.evaluation._deltas import perturbench_cosine_logfc, perturbench_logfc
from scvi_sams.evaluation._errors import rmse
from scvi_sams.evaluation._profiles import Array
from scvi_sams.evaluation._ranks import perturbench_rank
from scvi_sams.evaluation._scores import Sides

PERTURBENCH = ("rmse", "cosine_logfc", "rank", "mmd")


def perturbench_scores(sides: Sides, metrics: Collection[str], seed: int) -> dict[str, Array]:
    r"""Metrics of mean profiles as PerturBench has them.

    .. math::
        \ell_{pg} = \log(\bar y_{pg} + 0.1) - \log(\bar y_{0g} + 0.1)

    with means ȳ of values that are log-normalised already, of condition p and of control (0).
    ``"cosine_logfc"`` is the cosine of predicted and observed ℓ, ``"rank"`` that of predictions by
    the cosine distance of ℓ, over all genes and with ties broken at random, and ``"rmse"`` the
    error of ȳ. For ℓ predicted means are clipped at 0, since those of linear models may have no
    logarithm.

    Parameters
    ----------
    sides
        Profiles of one context.
    metrics
        Those that are wanted; others are passed over.
    seed
        Of the ties.

    References
    ----------
    Wu et al., PerturBench, arXiv 2408.10609.
    """
    found, true = np.maximum(sides.predicted.log, 0), sides.observed.log
    control = sides.control.log[0]
    scores: dict[str, Array] = {}
    if "rmse" in metrics:
        scores["rmse"] = rmse(sides.predicted.log, true)
    if "cosine_logfc" in metrics:
        scores["cosine_logfc"] = perturbench_cosine_logfc(found, true, control=control)
    if "rank" in metrics:
        changes = (perturbench_logfc(array, control) for array in (found, true))
        scores["rank"] = perturbench_rank(*changes, seed=seed)
    return scores
