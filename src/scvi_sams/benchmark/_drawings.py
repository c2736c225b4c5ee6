"""Small figures of a benchmark, one panel each, as images within a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_sams.benchmark._comparisons import best_of
from scvi_sams.benchmark._numbers import decimals, duration, number
from scvi_sams.benchmark._terms import BASELINE, CEILING, MODEL, arrow, direction
from scvi_sams.pl._figure import BLUE, SMALL, VERMILLION, figure_of, limits, log_axis, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {MODEL: BLUE, BASELINE: VERMILLION}
_MARKERS = {MODEL: "o", BASELINE: "s"}
_WIDTH, _ROW, _LETTER = 4.1, 0.21, 0.073  # inches; of a figure, a row and a letter of names
_TOP, _BOTTOM, _RIGHT = 0.36, 0.32, 0.15  # inches around the axes
_MOST_POINTS = 300  # of a row
_RC: Any = {"svg.fonttype": "none", "svg.hashsalt": "scvi-sams", "font.size": 9}


@dataclass(frozen=True)
class Drawing:
    """An image, as a data URI, and what it shows in words."""

    uri: str
    alt: str


def forest(board: pd.DataFrame, summary: pd.DataFrame, where: str) -> Drawing | None:
    """Draw the scores of all models by one metric, in their order; None if there are none.

    Parameters
    ----------
    board, summary
        Rows of one group and metric, of the leaderboard and of each seed.
    where
        Name of the group, for the words.
    """
    board = board[board["mean"].notna()]
    shown = board[board["kind"] != CEILING]
    if shown.empty:
        return None
    metric = str(board["metric"].iloc[0])
    ceiling = board.loc[board["kind"] == CEILING, "mean"].mean()
    baseline = best_of(board, BASELINE)
    ax = _axes(shown["model"], shown["kind"])
    for y, score in enumerate(shown.itertuples()):
        colour, marker = COLOURS[score.kind], _MARKERS[score.kind]
        seeds = summary.loc[summary["model"] == score.model, "mean"]
        ax.plot([score.lower, score.upper], [y, y], color=colour, lw=1.4, alpha=0.6)
        rows = np.full(len(seeds), y)
        ax.plot(seeds, rows, "o", ms=3, color=colour, markerfacecolor="white", mew=0.8)
        ax.plot([score.mean], [y], marker, ms=5.5, color=colour, mew=0)
    if baseline is not None and direction(metric):
        ax.axvline(baseline["mean"], color=COLOURS[BASELINE], linestyle="--", lw=1, zorder=0)
    if np.isfinite(ceiling):
        ax.axvline(ceiling, color="0.35", linestyle=":", lw=1.3, zorder=0)
    seen = summary.loc[summary["model"].isin(board["model"]), "mean"]
    ax.set_xlim(limits(shown[["lower", "upper"]], seen, ceiling))
    _entitle(ax, metric + arrow(metric))
    digits = decimals(shown["mean"])
    told = [f"{row.model} {number(row.mean, digits)}" for row in shown.itertuples()]
    order = ", best first" if direction(metric) else ""
    alt = f"{metric} on {where}{order}: {', '.join(told)}"
    alt += f"; ceiling {number(ceiling, digits)}." if np.isfinite(ceiling) else "."
    return Drawing(_uri(ax), alt)


def distribution(scores: pd.DataFrame, order: pd.DataFrame, where: str) -> Drawing | None:
    """Draw how one metric is spread over perturbations, in each context; None without scores.

    Parameters
    ----------
    scores
        ``value`` of each model, perturbation, context and seed; means over seeds are drawn.
    order
        ``model`` and ``kind``, from the top.
    where
        Name of the group, for the words.
    """
    values = scores.groupby(["model", "perturbation", "context"], observed=True, dropna=False)
    of_model = {
        str(model): found.dropna().to_numpy()
        for model, found in values["value"].mean().groupby(level="model")
    }
    order = order[[len(of_model.get(model, ())) > 0 for model in order["model"]]]
    if order.empty:
        return None
    metric = str(scores["metric"].iloc[0])
    ax = _axes(order["model"], order["kind"])
    rng = np.random.default_rng(0)
    told = []
    for y, (model, kind) in enumerate(zip(order["model"], order["kind"], strict=True)):
        found = of_model[model]
        colour = COLOURS.get(kind, "0.35")
        low, first, median, third, high = np.quantile(found, [0.05, 0.25, 0.5, 0.75, 0.95])
        drawn = found if len(found) <= _MOST_POINTS else rng.choice(found, _MOST_POINTS, False)
        beside = y + rng.uniform(-0.28, 0.28, len(drawn))
        ax.scatter(drawn, beside, s=4, color=colour, alpha=0.25, lw=0, rasterized=True)
        ax.plot([low, high], [y, y], color=colour, lw=1)
        ax.plot([first, third], [y, y], color=colour, lw=4, alpha=0.6, solid_capstyle="butt")
        ax.plot([median], [y], "|", color="black", ms=8, mew=1.5)
        told.append((model, median))
    _entitle(ax, f"{metric}{arrow(metric)} of each perturbation")
    digits = decimals([median for _, median in told])
    medians = ", ".join(f"{model} {number(median, digits)}" for model, median in told)
    return Drawing(_uri(ax), f"{metric} of each perturbation on {where}; medians: {medians}.")


def run_times(runs: pd.DataFrame, kinds: dict[str, str], where: str) -> Drawing | None:
    """Draw the seconds of each run that was done, fastest model on top; None if none was."""
    runs = runs[runs["seconds"] > 0]
    if runs.empty:
        return None
    median = runs.groupby("model", observed=True)["seconds"].median().sort_values()
    kind = pd.Series([kinds.get(model, MODEL) for model in median.index])
    ax = _axes(median.index.to_series(), kind)
    for y, model in enumerate(median.index):
        seconds = runs.loc[runs["model"] == model, "seconds"]
        colour = COLOURS.get(kind[y], "0.35")
        ax.plot(seconds, np.full(len(seconds), y), "o", ms=4, color=colour, alpha=0.5, mew=0)
        ax.plot([median[model]], [y], "|", color="black", ms=8, mew=1.5)
    log_axis(ax, "x", *10 ** np.array(limits(np.log10(runs["seconds"]))))
    _entitle(ax, f"{where}: seconds per run")
    told = ", ".join(f"{model} {duration(value)}" for model, value in median.items())
    return Drawing(_uri(ax), f"Run times on {where}, medians: {told}.")


def _axes(models: pd.Series, kinds: pd.Series) -> Axes:
    """Axes with a row for each model, baselines in italics, the first on top."""
    # not of pyplot, which keeps figures, and of which a server may have an interactive one
    from matplotlib.figure import Figure

    names = [_short(name) for name in models]
    height = _TOP + _ROW * (len(names) + 0.2) + _BOTTOM
    left = 0.15 + _LETTER * max(len(name) for name in names)
    figure = Figure(figsize=(_WIDTH, height))
    # fixed, as panels beside each other look best with axes of one size
    ax = figure.add_axes(
        (
            left / _WIDTH,
            _BOTTOM / height,
            1 - (left + _RIGHT) / _WIDTH,
            1 - (_TOP + _BOTTOM) / height,
        )
    )
    ax.set_yticks(range(len(names)), names, parse_math=False)
    for label, kind in zip(ax.get_yticklabels(), kinds, strict=True):
        label.set(style="italic" if kind == BASELINE else "normal")
    ax.locator_params(axis="x", nbins=5)
    ax.set_ylim(len(models) - 0.4, -0.6)
    ax.tick_params(labelsize=SMALL)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="0.92", lw=0.7)
    ax.set_axisbelow(True)
    tidy(ax)
    ax.spines["left"].set_visible(False)
    return ax


def _entitle(ax: Axes, text: str) -> None:
    """Title above the names too, where a long one has room."""
    figure = figure_of(ax)
    top = 1 - 0.1 / figure.get_figheight()
    figure.text(0.02, top, text, size=10, va="top", parse_math=False)


def _short(name: str, most: int = 22) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _uri(ax: Axes) -> str:
    """The figure of ``ax`` as SVG whose letters are text, the same for the same figure."""
    import matplotlib

    written = io.StringIO()
    with matplotlib.rc_context(_RC):
        figure_of(ax).savefig(written, format="svg", dpi=150, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(written.getvalue().encode()).decode()
