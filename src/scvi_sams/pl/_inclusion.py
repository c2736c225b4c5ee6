"""Which perturbation shifts which latent dimension."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scvi_sams.pl._figure import finish
from scvi_sams.pl._heatmap import heatmap
from scvi_sams.pl._results import check_result, layer, used_dimensions

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SOURCE = "get_perturbation_effects"


def inclusion_probability(
    effects: AnnData,
    *,
    cluster: bool = False,
    drop_unused: bool = False,
    title: str = "Inclusion probability",
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | Figure:
    """Draw the inclusion probability of each latent dimension for each perturbation.

    Parameters
    ----------
    effects
        Perturbations × latent dimensions with ``layers["inclusion_probability"]``, as
        :meth:`~scvi_sams.SAMSVAE.get_perturbation_effects` returns it.
    cluster
        Whether to sort perturbations and dimensions such that similar ones stand together.
    drop_unused
        Whether to leave out dimensions that no perturbation includes with more than 0.5.
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
        If the layer is missing, or there is nothing to draw.
    """
    check_result(effects, "effects", _SOURCE)
    probability = layer(effects, "inclusion_probability", _SOURCE)
    kept = used_dimensions(effects) if drop_unused else slice(None)
    ax = heatmap(
        probability[:, kept],
        list(effects.obs_names),
        list(effects.var_names[kept]),
        xlabel="latent dimension",
        label="q(m = 1)",
        title=title,
        cmap="cividis",
        bounds=(0.0, 1.0),
        cluster=cluster,
        ax=ax,
    )
    return finish(ax, show, save, return_fig)
