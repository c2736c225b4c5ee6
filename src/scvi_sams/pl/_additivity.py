"""What pairs of perturbations do against what both do added up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scvi_sams._tables import find
from scvi_sams.pl._agreement import pearson
from scvi_sams.pl._figure import BLUE, GREY, VERMILLION, finish, limits, panels, tidy, wrapped
from scvi_sams.pl._labels import place_labels, settle
from scvi_sams.pl._pairs import observed_pairs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_N_PANELS = 9
_COLUMNS = ("predicted", "lower", "upper", "observed", "observed_sd", "interaction", "lfsr")


def additivity(
    interactions: pd.DataFrame,
    pairs: str | Sequence[str] | None = None,
    *,
    n_labels: int = 6,
    lfsr: float = 0.05,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Draw the observed effects of pairs against the additive prediction, one panel each.

    Genes with an interaction, and labelled ones, have bars: the credible interval of the
    prediction, and one standard error of the observation each way. They are above the diagonal
    where the pair does more than both added up, and below it where it does less.

    Parameters
    ----------
    interactions
        Table of :meth:`~scvi_sams.SAMSVAE.get_interactions`, indexed by pair and gene.
    pairs
        Names of the pairs; by default the up to nine observed ones with the largest interactions
        (root mean square).
    n_labels
        How many genes to label, those with the largest interactions; without room fewer are.
    lfsr
        Interactions up to this local false sign rate are coloured.
    ax
        Axes to draw a single pair on; a new figure by default.
    show, save, return_fig
        Whether to show the figure, a file to save it in, and whether to return it.

    Returns
    -------
    The axes of the pair, a list of them for several, or the figure.

    Raises
    ------
    TypeError
        If ``interactions`` is no DataFrame.
    ValueError
        If the table is empty or another one, or a pair is unknown or was not observed.
    """
    table = observed_pairs(interactions, _COLUMNS)
    if pairs is None:
        size = (table["interaction"] ** 2).groupby(level="pair", sort=False).mean()
        names = list(size.sort_values(ascending=False, kind="stable").index[:_N_PANELS])
    else:
        known = list(table.index.get_level_values("pair").unique())
        names = [known[position] for position in find(pairs, known, "observed pair")]
    axes = panels(len(names), 3.8, 3.7, ax=ax)
    labelled = [
        _draw(panel, name, table.loc[name], n_labels, lfsr)
        for panel, name in zip(axes, names, strict=True)
    ]
    settle(axes[0])
    for panel, name, chosen in zip(axes, names, labelled, strict=True):
        pair = table.loc[name]
        points = pair[["predicted", "observed"]].to_numpy(dtype=float)
        place_labels(panel, points[chosen], list(pair.index[chosen]), others=points, fontsize=7)
    return finish(axes, show, save, return_fig)


def _draw(
    ax: Axes, name: str, genes: pd.DataFrame, n_labels: int, lfsr: float
) -> npt.NDArray[np.intp]:
    """Draw all of a pair but names of genes, and return which of them to write."""
    value = {column: genes[column].to_numpy(dtype=float) for column in _COLUMNS}
    x, y = value["predicted"], value["observed"]
    interaction, interacts = value["interaction"], value["lfsr"] <= lfsr
    labelled = np.argsort(-np.abs(interaction), kind="stable")[:n_labels]
    barred = np.union1d(np.flatnonzero(interacts), labelled)
    ax.hlines(y[barred], value["lower"][barred], value["upper"][barred], color="0.6", lw=0.6)
    above, below = (y + sign * np.nan_to_num(value["observed_sd"]) for sign in (1, -1))
    ax.vlines(x[barred], below[barred], above[barred], color="0.6", lw=0.6)
    for these, colour in (
        (~interacts, GREY),
        (interacts & (interaction >= 0), VERMILLION),
        (interacts & (interaction < 0), BLUE),
    ):
        ax.scatter(x[these], y[these], s=12, color=colour, lw=0, zorder=3, rasterized=True)
    reach = limits(
        x,
        y,
        value["lower"][barred],
        value["upper"][barred],
        above[barred],
        below[barred],
    )
    ax.plot(reach, reach, color="0.6", lw=1, zorder=0)
    r = pearson(x, y)
    ax.set(xlim=reach, ylim=reach, xlabel="additive prediction", ylabel="observed")
    ax.set_title(
        # the rate's prior is flat: without interactions twice its bound are below it
        f"{wrapped(name)}\nr = {r:.2f}, {interacts.sum():,} of {len(x):,} genes differ "
        f"({2 * lfsr * len(x):.0f} by chance)",
        fontsize=9,
    )
    ax.set_aspect("equal")
    tidy(ax)
    return labelled
