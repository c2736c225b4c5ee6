"""Whether models beat baselines: counted, and said in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_sams.benchmark._numbers import counted, decimals, enumerated, number, places
from scvi_sams.benchmark._terms import BASELINE, CEILING, GROUP, MODEL, direction

MIXED, LEVEL, ALONE = "mixed", "level", "alone"


def comparisons(summary: pd.DataFrame, board: pd.DataFrame) -> pd.DataFrame:
    """Compare the best model with the best baseline, by each metric of each group.

    Parameters
    ----------
    summary
        Means of each seed.
    board
        What :func:`~scvi_sams.benchmark._leaderboard.leaderboard` made of them.

    Returns
    -------
    For each dataset, split, subset and metric with a direction: the names and means of the best
    ``model`` and ``baseline`` (over its seeds; those that lack a seed only where all do; empty if
    there is none), the mean
    of the ``ceiling``, and over the seeds that both have: ``gap``, the mean difference, above 0 if
    the model is better; ``n_better``, ``n_worse`` and ``n_seeds``, numbers of seeds. ``outcome``
    is ``"model"`` or ``"baseline"`` if that one is better in every seed, ``"level"`` if none is in
    any, ``"mixed"`` if seeds disagree, and ``"alone"`` if there is nothing to compare with.
    """
    means = summary.groupby([*GROUP, "metric", "model", "seed"], observed=True)["mean"].mean()
    rows = []
    for key, scores in board.groupby([*GROUP, "metric"], sort=False, observed=True):
        metric = str(key[-1])
        if not direction(metric):
            continue
        best = {kind: best_of(scores, kind) for kind in (MODEL, BASELINE)}
        if all(one is None for one in best.values()):
            continue
        row = dict(zip([*GROUP, "metric"], key, strict=True))
        for kind, one in best.items():
            row[kind] = "" if one is None else one["model"]
            row[f"{kind}_mean"] = np.nan if one is None else one["mean"]
        row["ceiling"] = scores.loc[scores["kind"] == CEILING, "mean"].mean()
        difference = np.array([])
        if all(one is not None for one in best.values()):
            pair = (means.loc[(*key, row[kind])] for kind in (MODEL, BASELINE))
            difference = direction(metric) * next(pair).sub(next(pair)).dropna().to_numpy()
        rows.append(row | _counted(difference))
    columns = [*GROUP, "metric", MODEL, "model_mean", BASELINE, "baseline_mean", "ceiling"]
    return pd.DataFrame(rows, columns=[*columns, *_counted(np.array([]))])


def best_of(scores: pd.DataFrame, kind: str) -> pd.Series | None:
    """Best of a kind by one metric of one group, of those with the most seeds, if there is one."""
    scores = scores[(scores["kind"] == kind) & scores["mean"].notna()]
    if scores.empty:
        return None
    scores = scores[scores["n_seeds"] == scores["n_seeds"].max()]
    goodness = scores["mean"] * direction(str(scores["metric"].iloc[0]))
    return scores.iloc[int(np.argmax(goodness))]


def _counted(difference: np.ndarray) -> dict[str, Any]:
    """Mean difference over seeds, how many agree, and what comes of it."""
    n_better, n_worse, n = int(sum(difference > 0)), int(sum(difference < 0)), len(difference)
    if not n:
        outcome = ALONE
    elif n_better == n or n_worse == n:
        outcome = MODEL if n_better else BASELINE
    else:
        outcome = MIXED if n_better or n_worse else LEVEL
    return {
        "gap": difference.mean() if n else np.nan,
        "n_better": n_better,
        "n_worse": n_worse,
        "n_seeds": n,
        "outcome": outcome,
    }


def sentence(row: pd.Series) -> str:
    """Say how one comparison ended."""
    means = [row["model_mean"], row["baseline_mean"]]
    digits = decimals(means) if row["outcome"] == ALONE else places(row["gap"], 2)
    difference = number(abs(row["gap"]), digits)
    model = f"{row[MODEL]} {number(row['model_mean'], digits)}"
    baseline = f"{row[BASELINE]} {number(row['baseline_mean'], digits)}"
    n = row["n_seeds"]
    if row["outcome"] == ALONE:
        if not row[MODEL]:
            text = f"no model has a score; the best baseline is {baseline}"
        elif not row[BASELINE]:
            text = f"{model} is the best model; no baseline has a score"
        else:
            text = f"{model} and the baseline {baseline} have no seed in common"
    elif row["outcome"] == LEVEL:
        text = f"{model} is level with the best baseline, {baseline}"
    elif row["outcome"] == MODEL:
        text = f"{model} beats the best baseline, {baseline}, by {difference} {_every(n)}"
    elif row["outcome"] == BASELINE:
        text = f"the baseline {baseline} beats the best model, {model}, by "
        text += f"{difference} {_every(n)}"
    elif row["gap"] < 0:
        text = f"seeds disagree: the baseline {baseline} is better than the best model, {model}, "
        text += f"in {row['n_worse']} of {counted(n, 'seed')}, by {difference} on average"
    else:
        text = f"seeds disagree: {model} is better than the best baseline, {baseline}, in "
        text += f"{row['n_better']} of {counted(n, 'seed')}, by {difference} on average"
    if np.isfinite(row["ceiling"]):
        text += f" (ceiling {number(row['ceiling'], digits)})"
    return text + "."


def _every(n: int) -> str:
    return "in the one seed" if n == 1 else f"in each of {n} seeds"


def overall(found: pd.DataFrame) -> str:
    """Say how all comparisons ended, baselines' wins as plainly as models'.

    Parameters
    ----------
    found
        What :func:`comparisons` returned, or some of its rows.
    """
    compared = found[found["outcome"] != ALONE]
    if compared.empty:
        return "There is nothing to compare: no metric has a score of both a model and a baseline."
    total = len(compared)
    n = compared["outcome"].value_counts()
    lost = compared[compared["outcome"] == BASELINE]
    if len(lost) == total:
        text = f"A baseline wins all {total} comparisons" if total > 1 else "A baseline wins"
    elif n.get(MODEL, 0) == total:
        text = f"A model wins all {total} comparisons" if total > 1 else "A model wins"
    else:
        text = (
            f"Of {counted(total, 'comparison')}, a model wins {n.get(MODEL, 0)} in every seed and "
            f"a baseline wins {len(lost)} in every seed"
        )
        text += f"; seeds disagree in {n[MIXED]}" if MIXED in n else ""
        text += f"; {n[LEVEL]} end level" if LEVEL in n else ""
    text += "."
    if len(lost):
        wins = [f"{name} ({count})" for name, count in lost[BASELINE].value_counts().items()]
        text += f" Baselines that win: {enumerated(wins)}."
    return text
