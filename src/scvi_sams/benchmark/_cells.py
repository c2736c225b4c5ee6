"""Rows of a leaderboard as they are printed, and why some cells are empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scvi_sams.benchmark._numbers import MISSING, decimals, number
from scvi_sams.benchmark._terms import BASELINE, CEILING, DONE, GROUP, MODEL, REFERENCES


@dataclass(frozen=True)
class Cell:
    """One score: its value, how it is written, whether it is the best, and what it lacks."""

    value: float
    text: str
    best: bool = False
    note: str = ""


@dataclass(frozen=True)
class Row:
    """Scores of one model, in the order of the metrics; the kind says which kind of model."""

    model: str
    kind: str
    cells: tuple[Cell, ...]


def groups(summary: pd.DataFrame, runs: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Each dataset, split and subset, also those of which no run has a score."""
    scored = list(summary[GROUP].drop_duplicates().itertuples(index=False, name=None))
    known = {key[:2] for key in scored}
    tried = runs[GROUP[:2]].drop_duplicates().itertuples(index=False, name=None)
    return scored + [(*key, "all") for key in tried if key not in known]


def title(key: tuple[str, str, str]) -> str:
    """Name of a group; the subset only where it is not all."""
    dataset, split, subset = key
    return f"{dataset} · {split}" + ("" if subset == "all" else f" · {subset}")


def of_group(table: pd.DataFrame, key: tuple[str, ...]) -> pd.DataFrame:
    """Rows of one group, or of all subsets where ``key`` has none."""
    names = GROUP[: len(key)]
    return table[(table[names] == list(key)).all(axis=1)]


def rows(
    board: pd.DataFrame, runs: pd.DataFrame, key: tuple[str, str, str], metrics: Sequence[str]
) -> list[Row]:
    """Rows of one group: best first by the first metric, the ceiling last.

    Parameters
    ----------
    board
        What :func:`~scvi_sams.benchmark._leaderboard.leaderboard` returned.
    runs
        Models that have no score at all come from here.
    key
        Dataset, split and subset.
    metrics
        Columns.
    """
    scores = of_group(board, key)
    tried = of_group(runs, key[:2])["model"]
    tried = tried[tried != REFERENCES]  # those are scored under their own names
    kinds = kinds_of(board)
    n_most = scores.groupby("metric", observed=True)["n_seeds"].max()
    scored = scores.set_index(["metric", "model"])
    leading = scores.loc[scores["metric"] == next(iter(metrics), None), "model"]
    names = pd.unique(pd.concat([leading, scores["model"], tried]).astype(str))
    columns = []
    for metric in metrics:
        found = (
            scored.loc[metric].reindex(names)
            if metric in n_most
            else pd.DataFrame(np.nan, names, ["mean", "sd", "n_seeds", "best"])
        )
        digits = decimals(found.loc[[kinds.get(name) != CEILING for name in names], "mean"])
        columns.append(
            [_cell(score, digits, int(n_most.get(metric, 0))) for score in found.itertuples()]
        )
    made = [
        Row(name, kinds.get(name) or _kind(name), tuple(column[place] for column in columns))
        for place, name in enumerate(names)
    ]
    return sorted(made, key=lambda row: (row.kind == CEILING, not np.isfinite(_first(row))))


def _first(row: Row) -> float:
    return row.cells[0].value if row.cells else np.nan


def _cell(score: Any, digits: int, n_most: int) -> Cell:
    mean, sd, n_seeds = score.mean, score.sd, score.n_seeds
    if not np.isfinite(mean):
        return Cell(mean, MISSING)
    text = number(mean, digits)
    text += f" ± {number(sd, digits)}" if np.isfinite(sd) else ""
    note = f"{n_seeds:.0f} of {n_most} seeds" if n_seeds < n_most else ""
    return Cell(mean, text, bool(score.best), note)


def kinds_of(board: pd.DataFrame) -> dict[str, str]:
    """Kind of each model that has a score."""
    return dict(zip(board["model"], board["kind"], strict=True))


def _kind(name: str) -> str:
    """Kind of what never had a score."""
    from scvi_sams import baselines

    return BASELINE if name in baselines.__all__ else MODEL


def shortfalls(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs that did not end well: one row for each reason, with its ``seeds`` as text."""
    missing = runs[runs["status"] != DONE].fillna({"message": ""})
    keys = ["dataset", "split", "model", "status", "message"]
    seeds = missing.groupby(keys, sort=False, observed=True)["seed"].agg(
        lambda found: ", ".join(str(seed) for seed in sorted(found))
    )
    return seeds.rename("seeds").reset_index()
