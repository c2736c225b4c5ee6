"""Predicted against observed effects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scvi_sams.pl._figure import finish, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def ate_agreement(
    predicted: npt.ArrayLike,
    observed: npt.ArrayLike,
    *,
    labels: tuple[str, str] = ("predicted ATE", "observed ATE"),
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes:
    """Draw predicted against observed average treatment effects.

    Parameters
    ----------
    predicted, observed
        Effects of the same perturbations on the same genes, perturbations × genes, on one scale.
    labels
        Titles of the two axes; the scale belongs there.
    ax
        Axes to draw on; a new figure by default.
    show
        Whether to show the figure.
    save
        File to save the figure in.

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    x, y = np.asarray(observed, dtype=float), np.asarray(predicted, dtype=float)
    if x.shape != y.shape:
        raise ValueError(f"Predicted effects have shape {y.shape}, observed ones {x.shape}.")
    x, y = x.ravel(), y.ravel()
    ax = new_axes(ax, 4.2, 4.0)
    reach = max(np.abs(x).max(), np.abs(y).max()) * 1.05
    ax.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
    ax.scatter(x, y, s=4, alpha=0.3, linewidths=0, color="#0072B2", rasterized=True)
    ax.set(
        xlim=(-reach, reach),
        ylim=(-reach, reach),
        xlabel=labels[1],
        ylabel=labels[0],
        title=f"Pearson r = {np.corrcoef(x, y)[0, 1]:.3f}",
    )
    ax.set_aspect("equal")
    ax.spines[["top", "right"]].set_visible(False)
    return finish(ax, show, save)
