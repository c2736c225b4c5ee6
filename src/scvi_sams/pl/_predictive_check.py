"""Whether data that the model generates look like the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scvi_sams._tables import find
from scvi_sams.data._names import listed
from scvi_sams.pl._figure import BLUE, SMALL, VERMILLION, finish, limits, log_axis, panels, tidy
from scvi_sams.pl._results import check_result, layer

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TITLES = {
    "mean": "Mean",
    "variance": "Variance",
    "zeros": "Share of zeros",
    "ate": "Effect against controls",
}
_ON_LOG_SCALE = ("mean", "variance")
_SOURCE = "sams.tl.posterior_predictive_check"


def posterior_predictive_check(
    check: AnnData,
    statistics: str | Sequence[str] | None = None,
    *,
    tail: float = 0.01,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Draw statistics of replicated cells against those of the observed ones.

    Entries that the model misses, with a p-value in one of the two tails, stand out and are
    counted, beside the share to be expected of a model that fits: 2 × ``tail``, or more with too
    few replicates for such small p-values.

    Parameters
    ----------
    check
        Perturbations × genes with the layers ``<statistic>_observed``, ``<statistic>_replicated``
        and ``<statistic>_pvalue``, as ``sams.tl.posterior_predictive_check`` returns it.
    statistics
        Which to draw, one panel each: ``"mean"`` and ``"variance"`` (on logarithmic axes),
        ``"zeros"`` or ``"ate"``; by default all there are.
    tail
        Share of each tail, between 0 and 0.5.
    ax
        Axes to draw a single statistic on; a new figure by default.
    show, save, return_fig
        Whether to show the figure, a file to save it in, and whether to return it.

    Returns
    -------
    The axes of the statistic, a list of them for several, or the figure.

    Raises
    ------
    TypeError
        If ``check`` is not an AnnData.
    ValueError
        If there are no such layers or statistics, nothing is finite, or ``tail`` is out of range.
    """
    check_result(check, "check", _SOURCE)
    if not 0 < tail < 0.5:
        raise ValueError(f"`tail` must be between 0 and 0.5; it is {tail}.")
    names = [name for name in check.layers if name is not None]  # None is X
    known = [name.removesuffix("_observed") for name in names if "_observed" in name]
    if not known:
        raise ValueError(f"There are no layers of `{_SOURCE}`; there are {listed(names)}.")
    known.sort(key=lambda name: [*_TITLES, name].index(name))
    asked = known if statistics is None else statistics
    chosen = [known[position] for position in find(asked, known, "statistic")]
    n_replicates = check.uns.get("posterior_predictive_check", {}).get("n_samples")
    # the rank of the data among n replicates is one of n + 1
    by_chance = 2 * (np.ceil(tail * n_replicates) / (n_replicates + 1) if n_replicates else tail)
    axes = panels(len(chosen), 3.7, 3.9, ax=ax, n_columns=2)
    for panel, statistic in zip(axes, chosen, strict=True):
        x, y, p = (
            layer(check, f"{statistic}_{part}", _SOURCE).ravel()
            for part in ("observed", "replicated", "pvalue")
        )
        finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(p)
        if not finite.any():
            raise ValueError(f"No entry of the statistic '{statistic}' is finite.")
        x, y, p = x[finite], y[finite], p[finite]
        missed = (p < tail) | (p > 1 - tail)
        _draw(panel, x, y, missed, statistic in _ON_LOG_SCALE)
        panel.set_title(
            f"{_TITLES.get(statistic, statistic)}\n{missed.sum():,} of {x.size:,} missed\n"
            f"({missed.mean():.1%}; {by_chance:.1%} by chance)",
            fontsize=10,
        )
    axes[0].scatter([], [], s=14, color=VERMILLION, label=f"p < {tail:g} or > {1 - tail:g}")
    axes[0].legend(frameon=False, fontsize=SMALL, loc="lower right", handletextpad=0.2)
    return finish(axes, show, save, return_fig)


def _draw(
    ax: Axes,
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    is_missed: npt.NDArray[np.bool_],
    log: bool,
) -> None:
    if log and max(x.max(), y.max()) > 0:
        both = np.concatenate([x, y])
        least = both[both > 0].min() / 2  # where zeros are drawn
        x, y = np.maximum(x, least), np.maximum(y, least)
        reach = 10 ** np.array(limits(np.log10(x), np.log10(y)))
        log_axis(ax, "x", *reach)
        log_axis(ax, "y", *reach)
    else:
        reach = np.array(limits(x, y))
        ax.set(xlim=reach, ylim=reach)
    ax.set(xlabel="observed", ylabel="replicated")
    ax.plot(reach, reach, color="0.6", lw=1, zorder=0)
    size, alpha = (14, 0.7) if x.size < 1_000 else (4, 0.3)
    for these, colour in ((~is_missed, BLUE), (is_missed, VERMILLION)):
        ax.scatter(x[these], y[these], s=size, alpha=alpha, lw=0, color=colour, rasterized=True)
    ax.set_aspect("equal")
    tidy(ax)
