"""Results as figures read them, and what is said when they are not as they should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from anndata import AnnData

from scvi_sams._tables import check_type, dense, returned_by
from scvi_sams.data._names import listed

_SCALES = {"log2_cp10k": "log2 counts per 10,000", "mean": "expected expression"}


def check_result(data: AnnData, argument: str, *sources: str) -> None:
    """Check that ``data`` is what one of ``sources`` returned, and that there is some to draw.

    Raises
    ------
    TypeError
        If it is not an AnnData.
    ValueError
        If there are no rows or no columns.
    """
    check_type(data, AnnData, argument, returned_by(*sources))
    if 0 in data.shape:
        raise ValueError(f"`{argument}` is empty: its shape is {data.n_obs} × {data.n_vars}.")


def layer(data: AnnData, name: str, source: str) -> npt.NDArray[np.float64]:
    """Layer ``name`` of ``data``, which ``source`` writes.

    Raises
    ------
    ValueError
        If there is no such layer.
    """
    if name not in data.layers:
        known = [key for key in data.layers if key is not None]  # None is X
        there = f"it has {listed(known)}" if known else "it has none"
        raise ValueError(f"The data needs the layer '{name}' of `{source}`; {there}.")
    return dense(data.layers[name])


def column(data: AnnData, name: str, source: str) -> npt.NDArray[Any]:
    """Column ``name`` of obs, which ``source`` writes.

    Raises
    ------
    ValueError
        If there is no such column.
    """
    if name not in data.obs:
        there = f"it has {listed(data.obs)}" if data.obs.shape[1] else "it has none"
        raise ValueError(f"The data needs the column '{name}' of obs, of `{source}`; {there}.")
    return data.obs[name].to_numpy()


def scale(ate: AnnData) -> str:
    """Scale of effects, in parentheses for the title of an axis, as far as it is known."""
    about = ate.uns.get("ate") or ate.uns.get("responses") or {}
    name = about.get("normalization")
    return f" ({_SCALES.get(name, name)})" if name else ""


def used_dimensions(effects: AnnData) -> npt.NDArray[np.bool_]:
    """Latent dimensions that some perturbation shifts.

    These are the ones included with more than 0.5, or that have another effect than zero where
    there are no inclusion probabilities.

    Raises
    ------
    ValueError
        If there are none.
    """
    if "inclusion_probability" in effects.layers:
        shifts = dense(effects.layers["inclusion_probability"]) > 0.5
    else:
        shifts = dense(effects.X) != 0
    used = np.asarray(shifts.any(axis=0))
    if not used.any():
        raise ValueError(
            "No perturbation shifts any latent dimension; `drop_unused=False` shows them all."
        )
    return used
