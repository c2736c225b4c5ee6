"""Results as tools and figures read them, and what is said when they are something else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from scvi_sams.data._names import as_tuple, listed, nearest


def dense(values: Any) -> npt.NDArray[np.float64]:
    """Return a matrix of floats, a copy if ``values`` is another thing."""
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=float)


def find(names: str | Sequence[str], known: Iterable[str], what: str) -> npt.NDArray[np.intp]:
    """Position of each of ``names`` among ``known``.

    Raises
    ------
    ValueError
        If a name is unknown (the nearest known ones are named) or stands for several, or none is
        given.
    """
    asked = as_tuple(names)
    if not asked:
        raise ValueError(f"No {what} is given.")
    lookup: dict[str, list[int]] = {}
    for position, name in enumerate(known):
        lookup.setdefault(str(name), []).append(position)
    unknown = [name for name in asked if name not in lookup]
    if unknown:
        hint = nearest(unknown[0], lookup) or f"; there are {listed(lookup)}"
        raise ValueError(f"There is no {what} {listed(unknown)}{hint}.")
    repeated = next((name for name in asked if len(lookup[name]) > 1), None)
    if repeated is not None:
        raise ValueError(
            f"There are {len(lookup[repeated])} of the {what} {repeated!r}; make names unique."
        )
    return np.array([lookup[name][0] for name in asked], dtype=np.intp)


def check_type(value: object, kind: type, argument: str, wanted: str) -> None:
    """Raise the TypeError of :func:`wrong_type` unless ``value`` is a ``kind``."""
    if not isinstance(value, kind):
        raise wrong_type(value, argument, wanted)


def wrong_type(value: object, argument: str, wanted: str) -> TypeError:
    """Error that says what ``argument`` is to be, and the type of what it is."""
    return TypeError(f"`{argument}` is {wanted}; it is of type {type(value).__name__}.")


def returned_by(*sources: str) -> str:
    """What ``wanted`` is if it comes from any of the functions ``sources``."""
    return f"what {' or '.join(f'`{source}()`' for source in sources)} returned"
