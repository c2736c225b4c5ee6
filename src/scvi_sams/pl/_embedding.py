"""A map of perturbations, on which alike ones lie together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from scvi_sams._tables import dense, find
from scvi_sams.pl._coordinates import pca, umap
from scvi_sams.pl._figure import BLUE, GREY, MARKERS, PALETTE, finish, limits, new_axes, tidy
from scvi_sams.pl._labels import place_labels, settle
from scvi_sams.pl._results import check_result

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NO_CLUSTER = ("none", "no sure effect")
_MOST_NAMES = 150
_FEW = 20  # perturbations, fewer than which have no neighbourhoods to speak of


def perturbation_embedding(
    data: AnnData,
    *,
    method: Literal["umap", "pca"] | None = None,
    labels: bool | Sequence[str] = True,
    metric: str = "cosine",
    seed: int = 0,
    title: str = "Perturbations",
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | Figure:
    """Draw perturbations as points, those with alike effects together.

    The points have the colour (and, beyond seven clusters, the shape) of ``obs["cluster"]``,
    which ``sams.tl.cluster_perturbations`` writes, if it is there; those without effect are grey.

    Parameters
    ----------
    data
        Perturbations × latent dimensions (effects) or × genes (average treatment effects).
    method
        ``"umap"`` or ``"pca"``; by default UMAP of 20 perturbations or more.
    labels
        Whether to write names, or which; those that fit nowhere without covering another are
        left out, and so are all but the 150 with the largest effects.
    metric
        Distance of perturbations for UMAP.
    seed
        Of UMAP.
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
        If ``data`` is not an AnnData.
    ValueError
        If there are fewer than three perturbations, a name or the method is unknown, or an effect
        is not finite.
    """
    check_result(data, "data", "get_average_treatment_effects", "get_perturbation_effects")
    values = dense(data.X)
    if len(values) < 3:
        raise ValueError(
            f"An embedding takes three perturbations or more; there are {len(values)}."
        )
    if not np.isfinite(values).all():
        raise ValueError("Some effects are not finite; leave these perturbations or genes out.")
    if method not in (None, "umap", "pca"):
        raise ValueError(f"`method` must be 'umap' or 'pca'; it is {method!r}.")
    if labels is None or isinstance(labels, bool):
        chosen = np.arange(len(values) if labels else 0)
    else:
        chosen = find(labels, data.obs_names, "perturbation") if len(labels) else np.arange(0)
    if (method or ("pca" if len(values) < _FEW else "umap")) == "pca":
        points, axis_names = pca(values)
    else:
        points, axis_names = umap(values, metric, seed)

    side = min(5.0 + len(values) / 30, 9.0)
    ax = new_axes(ax, 1.2 * side, side)
    ax.set(xlabel=axis_names[0], ylabel=axis_names[1], title=title, xticks=[], yticks=[])
    ax.set(xlim=limits(points[:, 0], margin=0.1), ylim=limits(points[:, 1], margin=0.1))
    tidy(ax)
    if "cluster" in data.obs:
        _scatter_clusters(ax, points, data.obs["cluster"])
    else:
        ax.scatter(points[:, 0], points[:, 1], s=22, color=BLUE, linewidths=0)
    by_size = np.argsort(-np.linalg.norm(values[chosen], axis=1), kind="stable")
    chosen = chosen[by_size[:_MOST_NAMES]]
    names = [str(data.obs_names[i]) for i in chosen]
    settle(ax)
    place_labels(ax, points[chosen], names, others=points, fontsize=6.5)
    return finish(ax, show, save, return_fig)


def _scatter_clusters(ax: Axes, points: npt.NDArray[np.float64], cluster: pd.Series) -> None:
    cluster = cluster.astype("category")
    codes, names = cluster.cat.codes.to_numpy(), list(cluster.cat.categories)
    for code in range(-1 if (codes < 0).any() else 0, len(names)):
        x, y = points[codes == code].T
        name = "none" if code < 0 else names[code]
        colour = GREY if name in _NO_CLUSTER else PALETTE[code % len(PALETTE)]
        marker = MARKERS[max(code, 0) // len(PALETTE) % len(MARKERS)]
        ax.scatter(x, y, s=24, color=colour, marker=marker, linewidths=0, label=name)
    ax.legend(
        title="cluster",
        frameon=False,
        fontsize=8,
        loc="upper left",
        bbox_to_anchor=(1, 1),
        ncols=1 + (len(names) - 1) // 20,
    )
