"""What latent dimensions do to genes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scvi_sams._tables import dense, find
from scvi_sams.pl._figure import BLUE, VERMILLION, finish, limits, panels, tidy
from scvi_sams.pl._results import check_result, scale

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_N_PANELS = 6


def dimension_genes(
    responses: AnnData,
    dimension: str | Sequence[str] | None = None,
    *,
    n_genes: int = 8,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure:
    """Draw the genes that latent dimensions raise and lower the most.

    A dimension is shifted as the perturbations that include it shift it.

    Parameters
    ----------
    responses
        Latent dimensions × genes, as :meth:`~scvi_sams.SAMSVAE.get_dimension_responses` returns
        it: what a shift of the dimension does to each gene.
    dimension
        Names of ``responses.obs_names``; by default the up to six that the most perturbations
        shift (``obs["n_perturbations"]``), or with the largest responses.
    n_genes
        Most genes each way.
    ax
        Axes to draw a single dimension on; a new figure by default.
    show, save, return_fig
        Whether to show the figure, a file to save it in, and whether to return it.

    Returns
    -------
    The axes of the dimension, a list of them for several, or the figure.

    Raises
    ------
    TypeError
        If ``responses`` is not an AnnData.
    ValueError
        If a dimension is unknown (the nearest are named), ``n_genes`` is not positive, or there is
        nothing to draw.
    """
    check_result(responses, "responses", "get_dimension_responses")
    if n_genes < 1:
        raise ValueError(f"`n_genes` must be at least 1; it is {n_genes}.")
    values = dense(responses.X)
    if dimension is None:
        chosen = _busiest(responses, values)
    else:
        chosen = find(dimension, responses.obs_names, "dimension")
    genes = [_extremes(values[k], n_genes) for k in chosen]
    longest = max((len(name) for of in genes for name in responses.var_names[of]), default=0)
    rows = max(len(of) for of in genes)
    axes = panels(len(chosen), 2.4 + 0.07 * longest, 0.9 + 0.17 * max(rows, 5), ax=ax)
    for panel, k, of in zip(axes, chosen, genes, strict=True):
        response = values[k, of]
        colours = [VERMILLION if value > 0 else BLUE for value in response]
        panel.hlines(range(len(of)), 0, response, color=colours, lw=1.5)
        panel.scatter(response, range(len(of)), c=colours, s=18, zorder=3)
        panel.axvline(0, color="0.3", lw=0.8)
        panel.set_yticks(range(len(of)), responses.var_names[of], fontsize=8)
        panel.set(
            ylim=(len(of) - 0.4, -0.6),
            xlim=limits(response, 0),
            xlabel=f"response{scale(responses)}",
        )
        title = str(responses.obs_names[k])
        if "n_perturbations" in responses.obs:
            title += f" ({responses.obs['n_perturbations'].iloc[k]} perturbations)"
        panel.set_title(title, fontsize=10)
        tidy(panel)
    return finish(axes, show, save, return_fig)


def _busiest(responses: AnnData, values: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    largest = np.abs(values).max(axis=1)
    if "n_perturbations" in responses.obs:
        number = responses.obs["n_perturbations"].to_numpy(dtype=float)
        order = np.lexsort((-largest, -number))
        order = order[: max(int((number > 0).sum()), 1)]
    else:
        order = np.argsort(-largest, kind="stable")
    return order[:_N_PANELS]


def _extremes(response: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.intp]:
    """Positions of the genes raised the most, from the top, and of those lowered the most."""
    order = np.argsort(-response, kind="stable")
    up, down = order[:n], order[-n:]
    return np.concatenate([up[response[up] > 0], down[response[down] < 0]])
