"""Heatmaps with a name to every row and column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from scvi_sams.pl._figure import SMALL, figure_of, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CELL = 0.16  # inches
_LARGEST = 28.0  # inches that cells may take, beyond which they shrink
_FONT, _SMALLEST_FONT = 7.0, 4.5  # points


def heatmap(
    values: npt.NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    xlabel: str,
    label: str,
    title: str,
    cmap: str,
    bounds: tuple[float, float],
    cluster: bool,
    ax: Axes | None,
    marked: npt.NDArray[np.bool_] | None = None,
) -> Axes:
    """Draw a matrix, its rows and columns sorted by similarity if asked.

    Parameters
    ----------
    values
        The matrix.
    rows, columns
        Names.
    xlabel, label, title
        Titles of the columns, of the colours and of the figure.
    cmap, bounds
        Colours, and the values at their two ends.
    cluster
        Whether to sort rows and columns.
    ax
        Axes to draw on; a new figure that fits the names by default.
    marked
        Entries to put a dot on.

    Returns
    -------
    The axes.
    """
    by_row = similar_first(values) if cluster else np.arange(len(rows))
    by_column = similar_first(values.T) if cluster else np.arange(len(columns))
    values = values[np.ix_(by_row, by_column)]
    rows, columns = [rows[i] for i in by_row], [columns[i] for i in by_column]
    height = max(min(_CELL * len(rows), _LARGEST), 1.6)
    ax = new_axes(
        ax,
        1.5 + 0.065 * _longest(rows) + max(min(_CELL * len(columns), _LARGEST), 2.0),
        0.7 + 0.065 * _longest(columns) + height,
    )
    image = ax.imshow(
        values,
        vmin=bounds[0],
        vmax=bounds[1],
        cmap=cmap,
        aspect="auto",
        interpolation="nearest",
    )
    if marked is not None:
        y, x = np.nonzero(marked[np.ix_(by_row, by_column)])
        is_dark = np.abs(values[y, x]) > 0.6 * max(np.abs(bounds))
        ax.scatter(x, y, s=3, c=np.where(is_dark, "white", "black"), linewidths=0)
    beyond = values.min() < bounds[0], values.max() > bounds[1]
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}
    bar = ax.figure.colorbar(
        image,
        ax=ax,
        pad=0.02,
        shrink=min(1.0, 2.0 / height),
        aspect=14,
        anchor=(0.0, 1.0),
        extend=extend.get(beyond, "neither"),
    )
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    ax.set(xlabel=xlabel)
    ax.set_title(title, fontsize=11)
    _name(ax, "y", rows)
    _name(ax, "x", columns)
    return ax


def similar_first(values: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Order of rows in which similar ones stand together (Ward's linkage)."""
    if len(values) < 3:
        return np.arange(len(values))
    from scipy.cluster.hierarchy import leaves_list, linkage

    tree = linkage(values, method="ward", optimal_ordering=len(values) <= 500)
    return np.asarray(leaves_list(tree), dtype=np.intp)


def _name(ax: Axes, which: Literal["x", "y"], names: Sequence[str]) -> None:
    """Name rows or columns as large as they have room, or only every so many of them."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    turn = 90 if which == "x" else 0
    axis.set_ticks([0], [max(names, key=len)], fontsize=_FONT, rotation=turn)
    figure_of(ax).draw_without_rendering()  # the layout decides how much room there is
    extent = ax.get_window_extent()
    pixels = extent.width if which == "x" else extent.height
    room = pixels / figure_of(ax).dpi * 72 / len(names)  # points
    fontsize = min(_FONT, max(room * 0.85, _SMALLEST_FONT))
    step = max(int(np.ceil(_SMALLEST_FONT * 1.15 / room)), 1)
    axis.set_ticks(range(0, len(names), step), names[::step], fontsize=fontsize, rotation=turn)


def _longest(names: Sequence[str]) -> int:
    return max(len(name) for name in names)
