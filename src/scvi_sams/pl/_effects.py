"""How far perturbations shift latent dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scvi_sams._tables import dense
from scvi_sams.pl._figure import finish
from scvi_sams.pl._heatmap import heatmap
from scvi_sams.pl._results import check_result, used_dimensions

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def effects(
    effects: AnnData,
    *,
    cluster: bool = False,
    drop_unused: bool = False,
    vmax: float | None = None,
    title: str = "Effects on latent dimensions",
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | Figure:
    """Draw how far each perturbation shifts each latent dimension.

    Effects called by ``sams.tl.call_effects`` (``layers["called"]``) carry a dot.

    Parameters
    ----------
    effects
        Perturbations × latent dimensions with the mean shift E[m ⊙ e] in ``X``, as
        :meth:`~scvi_sams.SAMSVAE.get_perturbation_effects` returns it. Basal states have the
        standard deviation 1.
    cluster
        Whether to sort perturbations and dimensions such that similar ones stand together.
    drop_unused
        Whether to leave out dimensions that no perturbation includes with more than 0.5.
    vmax
        Shift at which the colours end, both ways; the largest one by default.
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
        If ``effects`` is not an AnnData.
    ValueError
        If there is nothing to draw, the effects are not on latent dimensions, or ``vmax`` is not
        positive.
    """
    check_result(effects, "effects", "get_perturbation_effects")
    if "lfsr" in effects.layers:
        raise ValueError(
            "These effects are on genes, and this figure is of those on latent dimensions. Give "
            "what `get_perturbation_effects()` returned, or draw `volcano`."
        )
    if vmax is not None and not vmax > 0:
        raise ValueError(f"`vmax` must be positive; it is {vmax}.")
    kept = used_dimensions(effects) if drop_unused else np.ones(effects.n_vars, dtype=bool)
    shift = dense(effects.X)[:, kept]
    end = vmax or float(np.abs(shift).max()) or 1.0
    called = effects.layers.get("called")
    ax = heatmap(
        shift,
        list(effects.obs_names),
        list(effects.var_names[kept]),
        xlabel="latent dimension",
        label="shift (sd of basal states)",
        title=title,
        cmap="RdBu_r",
        bounds=(-end, end),
        cluster=cluster,
        ax=ax,
        marked=None if called is None else dense(called)[:, kept] > 0,
    )
    return finish(ax, show, save, return_fig)
