"""Effects over the dose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scvi_sams._tables import dense, find
from scvi_sams.data._names import as_tuple
from scvi_sams.pl._figure import PALETTE, SMALL, finish, log_axis, new_axes, tidy, wrapped
from scvi_sams.pl._results import check_result, column, layer, scale

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SOURCE = "get_average_treatment_effects"
_UNSEEN = {  # lines to doses that are not seen, and what they are called
    "between": ("-", "between seen doses"),
    "beyond": ("--", "beyond seen doses"),
    "untrained": ("--", "no dose seen"),
}


def dose_response(
    ate: AnnData,
    perturbation: str,
    genes: str | Sequence[str],
    *,
    log: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | Figure:
    """Draw the effects of a perturbation on genes over its dose, with their credible band.

    Doses seen in training are full circles, others open ones. Lines to doses beyond those seen,
    where the model extrapolates, are dashed. All doses count as seen without
    ``obs["dose_support"]``.

    Parameters
    ----------
    ate
        Conditions × genes with the layers ``lower`` and ``upper`` and the columns
        ``perturbation``, ``dose`` and, if known, ``dose_support`` (``"seen"``, ``"between"``,
        ``"beyond"`` or ``"untrained"``) of obs, as
        :meth:`~scvi_sams.SAMSVAE.get_average_treatment_effects` returns it.
    perturbation
        A value of ``ate.obs["perturbation"]``; its rows are drawn.
    genes
        One to seven genes.
    log
        Whether the axis of doses is logarithmic.
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
        If the perturbation or a gene is unknown (the nearest are named), a layer or column is
        missing, there are more than seven genes, a dose occurs twice, is NaN (of combinations) or,
        with ``log``, not positive.
    """
    check_result(ate, "ate", _SOURCE)
    label, every_dose = column(ate, "perturbation", _SOURCE), column(ate, "dose", _SOURCE)
    chosen = find(genes, ate.var_names, "gene")
    if len(chosen) > len(PALETTE):
        raise ValueError(
            f"At most {len(PALETTE)} genes can be told apart; there are {len(chosen)}."
        )
    find([perturbation], list(dict.fromkeys(label)), "perturbation")
    rows = np.flatnonzero(label.astype(str) == perturbation)
    rows = rows[np.argsort(every_dose[rows].astype(float), kind="stable")]
    dose = every_dose[rows].astype(float)
    if np.isnan(dose).any():
        raise ValueError(f"Conditions of '{perturbation}' have no single dose to draw them over.")
    if (np.diff(dose) == 0).any():
        raise ValueError(f"A dose of '{perturbation}' occurs twice; draw one context at a time.")
    if log and dose[0] <= 0:
        raise ValueError(f"A logarithmic axis takes positive doses; there is {dose[0]:g}.")
    support = (
        ate.obs["dose_support"].to_numpy()[rows].astype(str)
        if "dose_support" in ate.obs
        else np.full(len(rows), "seen")
    )
    extrapolates = ~np.isin(support, ("seen", "between"))
    lower, upper = (layer(ate, name, _SOURCE) for name in ("lower", "upper"))
    effect = dense(ate.X)
    longest = max(map(len, (*as_tuple(genes), *(label for _, label in _UNSEEN.values()))))
    ax = new_axes(ax, 4.8 + 0.075 * longest, 3.8)
    for gene, name, colour in zip(chosen, as_tuple(genes), PALETTE, strict=False):
        at = effect[rows, gene]
        ax.fill_between(dose, lower[rows, gene], upper[rows, gene], color=colour, alpha=0.15, lw=0)
        for i in range(len(rows) - 1):
            style = "--" if extrapolates[i : i + 2].any() else "-"
            ax.plot(dose[i : i + 2], at[i : i + 2], style, color=colour, lw=1.5)
        is_seen = support == "seen"
        for these, fill in ((is_seen, colour), (~is_seen, "white")):
            ax.scatter(dose[these], at[these], s=22, facecolor=fill, edgecolor=colour, zorder=3)
        ax.plot([], [], color=colour, lw=1.5, marker="o", ms=4, label=name)
    for of, (style, entry) in _UNSEEN.items():
        if of in support:
            ax.plot([], [], style, color="0.4", lw=1.5, marker="o", mfc="white", ms=4, label=entry)
    ax.axhline(0, color="0.8", lw=0.8, zorder=0)
    ax.set(xlabel="dose", ylabel=f"effect{scale(ate)}", title=wrapped(perturbation, 50))
    if log:
        log_axis(ax, "x", dose[0] / 1.1, dose[-1] * 1.1)
    # dashes show beside the circle in long handles only
    ax.legend(
        frameon=False, fontsize=SMALL, handlelength=4, loc="upper left", bbox_to_anchor=(1, 1)
    )
    tidy(ax)
    return finish(ax, show, save, return_fig)
