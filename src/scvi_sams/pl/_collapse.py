"""Whether predictions differ between perturbations as much as observations do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scvi_sams.pl._aligned import aligned
from scvi_sams.pl._figure import BLUE, VERMILLION, finish, limits, log_axis, panels, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scvi_sams.pl._aligned import Table

    Matrix = npt.NDArray[np.float64]

_LEAST = 1e-4  # ratios below are drawn here


def collapse(
    predicted: Table,
    observed: Table,
    *,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> list[Axes] | Figure:
    """Draw how much predictions differ between perturbations, against how much observations do.

    On the left the variance between perturbations of each gene, predicted over observed: 1 if
    predictions are faithful, far below if they collapse to about the same for all. Observed
    effects carry the noise of their cells, so that a ratio somewhat below 1 is to be expected
    where effects are small. On the right the mean cosine similarity of each perturbation's effect
    to those of all others: predictions that collapse lie near 1.

    Parameters
    ----------
    predicted, observed
        Effects, perturbations × genes, on one scale: AnnData or DataFrames, of which the
        perturbations and genes that both have are drawn, or arrays in the same order.
    show, save, return_fig
        Whether to show the figure, a file to save it in, and whether to return it.

    Returns
    -------
    The two axes, or the figure.

    Raises
    ------
    TypeError
        If one is none of AnnData, DataFrame and array.
    ValueError
        If there are fewer than two perturbations in both, no gene varies as observed, an effect is
        not finite, or the shapes differ of what has no names.
    """
    x, y = (table.to_numpy() for table in reversed(aligned(predicted, observed)))
    if len(x) < 2:
        raise ValueError("Two perturbations or more are needed to differ.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("Some effects are not finite; leave these perturbations or genes out.")
    spread = x.var(axis=0)
    varies = spread > 0
    if not varies.any():
        raise ValueError("No gene differs between perturbations as observed.")
    axes = panels(2, 4.2, 3.9)
    _draw_ratio(axes[0], spread[varies], y.var(axis=0)[varies] / spread[varies])
    _draw_similarity(axes[1], mean_similarity(x), mean_similarity(y))
    return finish(axes, show, save, return_fig)


def _draw_ratio(ax: Axes, spread: Matrix, ratio: Matrix) -> None:
    median = float(np.median(ratio))
    is_low = ratio < _LEAST
    at = np.maximum(ratio, _LEAST)
    size, alpha = (16, 0.7) if len(ratio) < 300 else (6, 0.4)
    for these, marker in ((~is_low, "o"), (is_low, "v")):
        ax.scatter(spread[these], at[these], s=size, alpha=alpha, marker=marker, c=BLUE, lw=0)
    ax.axhline(1, color="0.4", lw=1)
    ax.axhline(max(median, _LEAST), color=VERMILLION, linestyle="--", lw=1.2)
    ax.set(
        xlabel="observed variance between perturbations",
        ylabel="predicted / observed variance",
    )
    ax.set_title(f"Genes: median ratio {median:.2g}", fontsize=10)
    log_axis(ax, "x", *10 ** np.array(limits(np.log10(spread))))
    log_axis(ax, "y", *10 ** np.array(limits(np.log10(at), -1, 0.5)))
    tidy(ax)


def _draw_similarity(ax: Axes, observed: Matrix, predicted: Matrix) -> None:
    reach = limits(observed, predicted, 0, 1)
    ax.plot(reach, reach, color="0.6", lw=1, zorder=0)
    ax.scatter(observed, predicted, s=16, alpha=0.7, color=BLUE, lw=0)
    ax.set(
        xlim=reach,
        ylim=reach,
        xlabel="observed mean similarity to others",
        ylabel="predicted mean similarity to others",
    )
    ax.set_title(
        f"Perturbations: {predicted.mean():.2f} predicted, {observed.mean():.2f} observed",
        fontsize=10,
    )
    ax.set_aspect("equal")
    tidy(ax)


def mean_similarity(effects: Matrix) -> Matrix:
    """Mean cosine similarity of each row to all others; rows of zeros are alike."""
    size = np.linalg.norm(effects, axis=1)
    unit = effects / np.where(size > 0, size, 1)[:, None]
    similarity = unit @ unit.T + np.outer(size == 0, size == 0)
    np.fill_diagonal(similarity, 0)
    return similarity.sum(axis=1) / (len(effects) - 1)
