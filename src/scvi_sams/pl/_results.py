"""Results as figures read them, and what is said when they are not as they should be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from scvi_sams.data._names import as_tuple, listed, nearest

if TYPE_CHECKING:
    from anndata import AnnData

    Matrix = npt.NDArray[np.float64]

_SCALES = {"log2_cp10k": "log2 counts per 10,000", "mean": "expected expression"}


def dense(values: Any) -> Matrix:
    """Return a matrix of floats, a copy if ``values`` is another thing."""
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=float)


def check_filled(data: AnnData, what: str = "data") -> None:
    """Check that there is something to draw.

    Raises
    ------
    ValueError
        If there are no rows or no columns.
    """
    if 0 in data.shape:
        raise ValueError(f"`{what}` is empty: its shape is {data.n_obs} × {data.n_vars}.")


def layer(data: AnnData, name: str, source: str) -> Matrix:
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


def find(names: str | Sequence[str], known: Sequence[str], what: str) -> npt.NDArray[np.intp]:
    """Position of each of ``names`` among ``known``.

    Raises
    ------
    ValueError
        If a name is unknown (the nearest known ones are named), or none is given.
    """
    asked = as_tuple(names)
    if not asked:
        raise ValueError(f"No {what} is given.")
    lookup: dict[str, int] = {}
    for position, name in enumerate(known):
        lookup.setdefault(str(name), position)
    unknown = [name for name in asked if name not in lookup]
    if unknown:
        hint = nearest(unknown[0], lookup) or f"; there are {listed(lookup)}"
        raise ValueError(f"There is no {what} {listed(unknown)}{hint}.")
    return np.array([lookup[name] for name in asked], dtype=np.intp)


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
