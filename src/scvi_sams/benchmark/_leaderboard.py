"""Means over seeds of all models, as a table and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from scvi_sams.benchmark._cells import Row, groups, of_group, rows, shortfalls, title
from scvi_sams.benchmark._comparisons import comparisons, overall, sentence
from scvi_sams.benchmark._numbers import MISSING
from scvi_sams.benchmark._terms import (
    BASELINE,
    CEILING,
    CEILING_IS,
    GROUP,
    arrow,
    direction,
    main_metrics,
    ordered,
)


def leaderboard(summary: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of each metric, best first.

    Parameters
    ----------
    summary
        Means of each seed: dataset, split, seed, subset, model, kind, metric, mean, lower, upper.

    Returns
    -------
    For each dataset, split, subset, metric and model: ``kind``; ``mean`` and standard deviation
    ``sd`` over seeds (NaN for one seed); ``n_seeds`` that have a score; ``lower`` and ``upper``,
    the means over seeds of the bounds of the interval over perturbations; and whether it is the
    ``best`` but for the ceiling. A model that lacks a seed which others have is never the best,
    since seeds differ in how hard they are.
    """
    keys = [*GROUP, "metric", "model", "kind"]
    board = (
        summary.groupby(keys, sort=False, observed=True)
        .agg(
            mean=("mean", "mean"),
            sd=("mean", "std"),
            n_seeds=("mean", "count"),
            lower=("lower", "mean"),
            upper=("upper", "mean"),
        )
        .reset_index()
    )
    goodness = board["mean"] * board["metric"].map(direction).astype(float)
    group = [board[name] for name in [*GROUP, "metric"]]
    competes = (board["kind"] != CEILING) & (board["metric"].map(direction) != 0)
    n_most = board["n_seeds"].where(competes).groupby(group, observed=True).transform("max")
    candidates = goodness.where(competes & (board["n_seeds"] == n_most))
    board["best"] = candidates == candidates.groupby(group, observed=True).transform("max")
    order = {metric: place for place, metric in enumerate(ordered(board["metric"]))}
    place = pd.DataFrame(
        {
            "group": board.groupby(GROUP, sort=False, observed=True).ngroup(),
            "metric": board["metric"].map(order),
            "is_ceiling": board["kind"] == CEILING,
            "badness": -goodness,
        }
    )
    return board.loc[place.sort_values(list(place), kind="stable").index].reset_index(drop=True)


def as_markdown(
    summary: pd.DataFrame,
    runs: pd.DataFrame,
    *,
    name: str = "Leaderboard",
    metrics: Sequence[str] | None = None,
) -> str:
    """Write a leaderboard for each dataset, split and subset, with what it shows in words.

    Parameters
    ----------
    summary
        Means of each seed, as :func:`leaderboard` takes them.
    runs
        dataset, split, model, seed, status and message of each run; says why scores are missing.
    name
        Heading.
    metrics
        Columns of the tables; the main ones by default.

    Returns
    -------
    Markdown, with the best of each column in bold and baselines in italics.
    """
    board = leaderboard(summary)
    shown = ordered(metrics) if metrics is not None else main_metrics(board["metric"])
    found = comparisons(summary, board)
    found = found[found["metric"].isin(shown)]
    missing = shortfalls(runs)
    lines = [f"# {_plain(name)}", "", _plain(overall(found)), ""]
    lines += [
        "Mean ± standard deviation over seeds. **Best** of a column, *baselines*. " + CEILING_IS,
    ]
    for key in groups(summary, runs):
        lines += ["", f"## {_plain(title(key))}", ""]
        lines += _table(rows(board, runs, key, shown), shown)
        said = of_group(found, key)
        lines += [""] * bool(len(said))
        lines += [f"- `{row['metric']}`: {_plain(sentence(row))}" for _, row in said.iterrows()]
        reasons = of_group(missing, key[:2])
        lines += ["", f"{MISSING} is for scores that are missing:", ""] * bool(len(reasons))
        lines += [
            f"- {_plain(row.model)}, seed {row.seeds}: {row.status}. "
            f"{_plain(' '.join(str(row.message).split()))}".rstrip()
            for row in reasons.itertuples()
        ]
    return "\n".join(lines) + "\n"


def _table(found: list[Row], metrics: Sequence[str]) -> list[str]:
    lines = [
        "| | " + " | ".join(f"{_plain(metric)}{arrow(metric)}" for metric in metrics) + " |",
        "|---" + "|--:" * len(metrics) + "|",
    ]
    for row in found:
        name = _plain(row.model)
        cells = [
            (f"**{cell.text}**" if cell.best else cell.text) + (cell.note and f" ({cell.note})")
            for cell in row.cells
        ]
        lines.append(
            f"| {f'*{name}*' if row.kind == BASELINE else name} | " + " | ".join(cells) + " |"
        )
    return lines


def _plain(text: str) -> str:
    """Text with nothing in it that Markdown reads as its own."""
    return re.sub(r"([\\`*_\[\]<>|#$~])", r"\\\1", " ".join(text.split()))
