"""What metrics compare: one row per condition, one column per gene."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]


def matrix(
    values: npt.ArrayLike, name: str, rows: str = "conditions", columns: str = "genes"
) -> Floats:
    """A finite matrix; float32 stays so, all else becomes float64.

    Raises
    ------
    ValueError
        If it is not a matrix, has no column, or holds NaN or infinite values.
    """
    array = _floats(values)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"`{name}` has shape {array.shape}; give a matrix of {rows} × {columns}.")
    is_bad = ~np.isfinite(array).all(axis=1)
    if is_bad.any():
        raise ValueError(
            f"`{name}` holds NaN or infinite values in {is_bad.sum()} row(s), first "
            f"{np.flatnonzero(is_bad)[0]}. Leave these {rows} out."
        )
    return array


def paired(
    predicted: npt.ArrayLike,
    observed: npt.ArrayLike,
    *,
    names: tuple[str, str] = ("predicted", "observed"),
    least_genes: int = 1,
) -> tuple[Floats, Floats]:
    """Two matrices of the same conditions × genes.

    Raises
    ------
    ValueError
        If one is no finite matrix, their shapes differ, or there are fewer genes than needed.
    """
    first, second = matrix(predicted, names[0]), matrix(observed, names[1])
    _same_shape(first, second, names)
    if first.shape[1] < least_genes:
        raise ValueError(
            f"The profiles have {first.shape[1]} gene; give at least {least_genes}, since nothing "
            "varies over fewer."
        )
    return first, second


def beside(values: npt.ArrayLike, name: str, observed: Floats) -> Floats:
    """A finite matrix of the shape of ``observed``.

    Raises
    ------
    ValueError
        If it is not.
    """
    array = matrix(values, name)
    _same_shape(array, observed, (name, "observed"))
    return array


def reference_profile(values: npt.ArrayLike, name: str, observed: Floats) -> Floats:
    """A reference common to all conditions, or one for each: genes, or conditions × genes.

    Raises
    ------
    ValueError
        If it has another shape, or is not finite.
    """
    array = _floats(values)
    if array.ndim == 1:
        array = array[None]
        if array.shape[1] != observed.shape[1]:
            raise ValueError(
                f"`{name}` is of {array.shape[1]} genes and `observed` of {observed.shape[1]}; "
                "give the same genes in the same order."
            )
        return matrix(array, name)
    return beside(array, name, observed)


def resolution(*arrays: Floats) -> Array:
    """What rounding may leave of a difference of the arrays, of shape ``(n_conditions, 1)``.

    Differences not larger say nothing: a prediction equal to its reference but for the order in
    which means were summed has no direction.
    """
    step = max(np.finfo(array.dtype).eps for array in arrays)
    largest = np.max(np.broadcast_arrays(*(_largest(array) for array in arrays)), axis=0)
    return 8 * step * largest


def _largest(array: Floats) -> Array:
    return np.abs(array).max(axis=1, keepdims=True).astype(float)


def _floats(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values)
    return array if array.dtype in (np.float32, np.float64) else array.astype(float)


def _same_shape(first: Floats, second: Floats, names: tuple[str, str]) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"`{names[0]}` has shape {first.shape} and `{names[1]}` {second.shape}; give the same "
            "conditions and genes in the same order."
        )
