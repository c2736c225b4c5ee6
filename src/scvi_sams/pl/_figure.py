"""What all figures share: their colours, and how they are made, shown and saved.

Every function draws on ``ax`` or on a new figure and returns the axes (a list of them where there
are several panels), or the figure with ``return_fig``. Figures are shown only with ``show``:
notebooks show new ones by themselves.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# of Okabe and Ito, without the yellow, which is too pale for lines
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK = PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
GREY = "0.7"
MARKERS = "os^DvPX*"  # once all colours are taken
SMALL = 8  # points; names and annotations


def new_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Return ``ax``, or the axes of a new figure of ``width`` × ``height`` inches."""
    return panels(1, width, height, ax=ax)[0]


def panels(
    n: int, width: float, height: float, *, ax: Axes | None = None, n_columns: int = 3
) -> list[Axes]:
    """Return ``n`` axes of ``width`` × ``height`` inches side by side, or just ``ax``.

    Raises
    ------
    ValueError
        If there is not one panel and ``ax`` is given.
    """
    if ax is not None:
        if n != 1:
            raise ValueError(f"`ax` takes one panel, and there are {n}; leave it out.")
        return [ax]
    import matplotlib.pyplot as plt

    n_columns = min(n, n_columns)
    n_rows = -(-n // n_columns)
    figure, grid = plt.subplots(
        n_rows,
        n_columns,
        figsize=(width * n_columns, height * n_rows),
        layout="constrained",
        squeeze=False,
    )
    for unused in grid.flat[n:]:
        figure.delaxes(unused)
    return list(grid.flat[:n])


def figure_of(ax: Axes) -> Figure:
    """Figure that ``ax`` is on, also within a subfigure."""
    return ax.figure.figure


def finish(drawn: Any, show: bool | None, save: str | Path | None, return_fig: bool) -> Any:
    """Save and show the figure as asked, and return it or what was drawn on.

    That is one axes or a list of them, of which a single one is returned without its list.

    Raises
    ------
    TypeError
        If ``save`` is True or False, which names no file.
    """
    if isinstance(save, bool):
        raise TypeError(f"`save` names a file, such as 'figure.png'; it is {save}.")
    axes = drawn if isinstance(drawn, list) else [drawn]
    figure = figure_of(axes[0])
    if save is not None:
        figure.savefig(save, dpi=150, bbox_inches="tight")
    if show:
        import matplotlib.pyplot as plt

        plt.show()
    if return_fig:
        return figure
    return axes[0] if len(axes) == 1 else axes


def tidy(ax: Axes) -> None:
    """Take the frame away at the top and on the right."""
    ax.spines[["top", "right"]].set_visible(False)


def wrapped(name: str, width: int = 34) -> str:
    """Break a long name into lines, where it has a plus if possible."""
    return fill(name.replace("+", "+ "), width, break_on_hyphens=False).replace("+ ", "+")


def log_axis(ax: Axes, which: Literal["x", "y"], low: float, high: float) -> None:
    """Make an axis logarithmic from ``low`` to ``high``, with ticks that have room."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = ax.xaxis if which == "x" else ax.yaxis
    ax.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    decades = np.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2 else (1.0, 2.0, 5.0), numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def limits(*values: Any, margin: float = 0.06, symmetric: bool = False) -> tuple[float, float]:
    """Limits of an axis that hold all finite ``values`` with a margin; never an empty range."""
    finite = np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in values])
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return -1.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if symmetric:
        high = max(-low, high)
        low = -high
    pad = (high - low) * margin or max(abs(high), 1.0) * margin
    return low - pad, high + pad
