"""Effects of one perturbation against how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scvi_sams._tables import dense, find
from scvi_sams.pl._figure import (
    BLUE,
    GREY,
    SMALL,
    VERMILLION,
    finish,
    limits,
    new_axes,
    tidy,
    wrapped,
)
from scvi_sams.pl._labels import place_labels, settle
from scvi_sams.pl._results import check_result, layer, scale

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SOURCE = "get_average_treatment_effects"
_LEAST = 1e-10  # up to which rates are not told apart


def volcano(
    ate: AnnData,
    condition: str,
    *,
    genes: Sequence[str] | None = None,
    n_labels: int = 12,
    lfsr: float = 0.05,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | Figure:
    """Draw the effects of a condition on genes against their local false sign rates.

    Labelled genes have their credible interval as a line. Genes with a rate too small to tell from
    zero are triangles at the upper end.

    Parameters
    ----------
    ate
        Conditions × genes with the layers ``lower``, ``upper`` and ``lfsr``, as
        :meth:`~scvi_sams.SAMSVAE.get_average_treatment_effects` returns it.
    condition
        A name of ``ate.obs_names``.
    genes
        Genes to label; by default the ``n_labels`` surest ones, the largest effects first.
    n_labels
        How many genes to label; without room fewer are.
    lfsr
        Genes up to this rate are coloured, unless ``layers["called"]`` of
        ``sams.tl.call_effects`` says which.
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
        If ``ate`` is not an AnnData.
    ValueError
        If the condition or a gene is unknown (the nearest are named), a layer is missing,
        ``lfsr`` is out of range, or there is nothing to draw.
    """
    check_result(ate, "ate", _SOURCE)
    if not 0 < lfsr < 1:
        raise ValueError(f"`lfsr` must be between 0 and 1; it is {lfsr}.")
    row = find([condition], ate.obs_names, "condition")[0]
    effect = dense(ate.X[row]).ravel()
    rate, lower, upper = (layer(ate, name, _SOURCE)[row] for name in ("lfsr", "lower", "upper"))
    is_called = dense(ate.layers["called"])[row] > 0 if "called" in ate.layers else rate <= lfsr
    if genes is None:
        ranks = np.lexsort((-np.abs(effect), rate))
        labelled = ranks[is_called[ranks]][:n_labels]
    else:
        labelled = find(genes, ate.var_names, "gene")

    at_end = rate <= _LEAST
    is_sampled = not rate[at_end].any() and not at_end.all()  # zeros are of too few samples
    least = rate[~at_end].min() / 2 if is_sampled else _LEAST
    height = -np.log10(np.where(at_end, least, rate))
    ax = new_axes(ax, 5.6, 4.6)
    for of, colour in (
        (~is_called, GREY),
        (is_called & (effect >= 0), VERMILLION),
        (is_called & (effect < 0), BLUE),
    ):
        for these, marker in ((of & ~at_end, "o"), (of & at_end, "^")):
            ax.scatter(
                effect[these], height[these], s=12, c=colour, marker=marker, alpha=0.7, lw=0
            )
    ax.hlines(height[labelled], lower[labelled], upper[labelled], color="0.35", lw=0.7, zorder=0)
    ax.axvline(0, color="0.8", lw=0.8, zorder=0)
    if "called" not in ate.layers:
        ax.axhline(-np.log10(lfsr), color="0.6", linestyle=":", lw=0.8, zorder=0)
    ax.set(
        xlim=limits(effect, lower[labelled], upper[labelled], 0, margin=0.12),
        ylim=(0, limits(height, -np.log10(lfsr), margin=0.1)[1]),
        xlabel=f"effect{scale(ate)}",
        ylabel="−log10(local false sign rate)",
    )
    what = "called" if "called" in ate.layers else f"with a rate of at most {lfsr:g}"
    ax.set_title(
        f"{wrapped(condition, 50)}\n{is_called.sum():,} of {ate.n_vars:,} genes {what}",
        fontsize=10,
    )
    if at_end.any():
        ax.scatter([], [], s=12, c="0.4", marker="^", label=f"rate below {least:.1g}")
        ax.legend(frameon=False, fontsize=SMALL, loc="lower right", handletextpad=0.2)
    tidy(ax)
    points = np.column_stack([effect, height])
    settle(ax)
    place_labels(ax, points[labelled], list(ate.var_names[labelled]), others=points)
    return finish(ax, show, save, return_fig)
