"""Which perturbation shifts which latent dimension."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scvi_sams.pl._figure import finish, new_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


def inclusion_probability(
    effects: AnnData,
    *,
    title: str = "Inclusion probability",
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes:
    """Draw the inclusion probability of each latent dimension for each perturbation.

    Parameters
    ----------
    effects
        Perturbations × latent dimensions with ``layers["inclusion_probability"]``, as
        :meth:`~scvi_sams.SAMSVAE.get_perturbation_effects` returns it.
    title
        Title of the figure.
    ax
        Axes to draw on; a new figure by default.
    show
        Whether to show the figure.
    save
        File to save the figure in.

    Returns
    -------
    The axes.
    """
    probability = np.asarray(effects.layers["inclusion_probability"])
    n_perturbations, n_latent = probability.shape
    ax = new_axes(ax, 2.2 + 0.16 * n_latent, 1.2 + 0.16 * n_perturbations)
    image = ax.imshow(
        probability, vmin=0, vmax=1, cmap="cividis", aspect="auto", interpolation="nearest"
    )
    ax.set_yticks(range(n_perturbations), effects.obs_names, fontsize=7)
    step = max(n_latent // 25, 1)
    ax.set_xticks(range(0, n_latent, step), effects.var_names[::step], fontsize=7, rotation=90)
    ax.set(xlabel="latent dimension", title=title)
    ax.figure.colorbar(image, ax=ax, fraction=0.05, pad=0.02, label="q(m = 1)")
    return finish(ax, show, save)
