"""Predicted against observed effects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scvi_sams.pl._aligned import aligned
from scvi_sams.pl._figure import BLUE, finish, limits, new_axes, tidy

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scvi_sams.pl._aligned import Table


def ate_agreement(
    predicted: Table,
    observed: Table,
    *,
    labels: tuple[str, str] = ("predicted ATE", "observed ATE"),
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | Figure:
    """Draw predicted against observed average treatment effects, and their correlation.

    Parameters
    ----------
    predicted, observed
        Effects, perturbations × genes, on one scale: AnnData or DataFrames, of which the
        perturbations and genes that both have are drawn, or arrays in the same order.
    labels
        Titles of the two axes; the scale belongs there.
    ax
        Axes to draw on; a new figure by default.
    show, save, return_fig
        Whether to show the figure, a file to save it in, and whether to return it.

    Returns
    -------
    The axes, or the figure.

    Raises
    ------
    TypeError
        If one is none of AnnData, DataFrame and array.
    ValueError
        If the shapes differ of what has no names, no perturbation or gene is in both, or there is
        no finite pair of effects.
    """
    first, second = aligned(predicted, observed)
    x, y = second.to_numpy().ravel(), first.to_numpy().ravel()
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    if not x.size:
        raise ValueError("There is no effect that is finite both as predicted and as observed.")
    ax = new_axes(ax, 4.2, 4.2)
    reach = limits(x, y, 0, margin=0.025, symmetric=True)
    ax.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
    size, alpha = (12, 0.6) if x.size < 1_000 else (4, 0.3)
    ax.scatter(x, y, s=size, alpha=alpha, linewidths=0, color=BLUE, rasterized=True)
    r = pearson(x, y)
    ax.set(
        xlim=reach,
        ylim=reach,
        xlabel=labels[1],
        ylabel=labels[0],
        title=f"Pearson r = {r:.3f}" if np.isfinite(r) else "Pearson r is undefined",
    )
    ax.set_aspect("equal")
    tidy(ax)
    return finish(ax, show, save, return_fig)


def pearson(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """Pearson correlation of finite values, NaN where one of the two does not vary."""
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
