"""Which pairs of perturbations do to which genes what neither does alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scvi_sams.pl._figure import finish
from scvi_sams.pl._heatmap import heatmap
from scvi_sams.pl._pairs import observed_pairs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def interactions(
    interactions: pd.DataFrame,
    *,
    n_genes: int = 40,
    lfsr: float = 0.05,
    cluster: bool = False,
    vmax: float | None = None,
    title: str = "Interactions",
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | Figure:
    """Draw the interactions of pairs of perturbations on the genes with the largest ones.

    Pairs that were not observed are left out. For the agreement of single pairs with the additive
    prediction see :func:`~scvi_sams.pl.additivity`.

    Parameters
    ----------
    interactions
        Table of :meth:`~scvi_sams.SAMSVAE.get_interactions`, indexed by pair and gene, with the
        columns ``interaction`` (observed − additive prediction) and ``lfsr``.
    n_genes
        How many genes: those with the largest interaction, either way, in any pair.
    lfsr
        Interactions up to this local false sign rate carry a dot.
    cluster
        Whether to sort pairs and genes such that similar ones stand together.
    vmax
        Interaction at which the colours end, both ways; the largest one by default.
    title
        Title of the figure.
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
        If ``interactions`` is no DataFrame.
    ValueError
        If the table is empty or another one, no pair was observed, or a number is not positive.
    """
    if n_genes < 1:
        raise ValueError(f"`n_genes` must be at least 1; it is {n_genes}.")
    if vmax is not None and not vmax > 0:
        raise ValueError(f"`vmax` must be positive; it is {vmax}.")
    table = observed_pairs(interactions, ("interaction", "lfsr"))
    pairs = table.index.get_level_values("pair").unique()
    values = table["interaction"].unstack("gene").reindex(pairs)
    largest = values.abs().max().sort_values(ascending=False, kind="stable")
    values = values[largest.index[:n_genes]].fillna(0.0)
    rate = table["lfsr"].unstack("gene").reindex(index=pairs, columns=values.columns)
    end = vmax or float(np.abs(values.to_numpy()).max()) or 1.0
    ax = heatmap(
        values.to_numpy(dtype=float),
        list(pairs),
        list(values.columns),
        xlabel="gene",
        label="observed − additive",
        title=title,
        cmap="PuOr_r",
        bounds=(-end, end),
        cluster=cluster,
        ax=ax,
        marked=(rate <= lfsr).to_numpy(),
    )
    return finish(ax, show, save, return_fig)
