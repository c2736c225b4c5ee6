"""Arrays of numpy read from a pickle without calling numpy on what it says."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt

# how numpy names the functions that its pickles call; they differ by version
_REBUILD_ARRAY = np.empty(0).__reduce__()[0]
_REBUILD_SCALAR = np.float64(0).__reduce__()[0]
# numbers, text and objects: nothing with fields, whose offsets could reach out of the memory
_SPEC = re.compile(r"[biufcOUS]\d{0,9}")


class PickledDtype:
    """Stands in for :class:`numpy.dtype`, whose flags and fields a file could forge."""

    __slots__ = ("value",)  # a file could set others

    def __init__(self, spec: object = None, *_: object) -> None:
        if not isinstance(spec, str) or not _SPEC.fullmatch(spec):
            raise ValueError(f"an array of type {spec!r}")
        self.value = np.dtype(spec)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, subarray, names, fields, *_flags = state
        if order not in ("<", ">", "|", "=") or not (subarray is names is fields is None):
            raise ValueError("an array of records")
        if order in "<>":
            self.value = self.value.newbyteorder(order)


class PickledArray:
    """Stands in for :class:`numpy.ndarray`: what a file says of one, checked."""

    __slots__ = ("value",)
    value: npt.NDArray[Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"an array of shape {shape!r}")
        if type(dtype) is not PickledDtype:
            raise ValueError("an array without a type")
        if dtype.value.hasobject:
            if type(content) is not list or len(content) != math.prod(shape):
                raise ValueError("an array whose objects are not as many as its shape says")
            flat = np.empty(len(content), dtype=object)
            for position, item in enumerate(content):
                flat[position] = item
        else:
            flat = np.frombuffer(content, dtype=dtype.value).copy()
        self.value = flat.reshape(shape, order="F" if is_fortran else "C")


def _array(*_: object) -> PickledArray:
    return PickledArray()


def _scalar(dtype: PickledDtype, content: bytes) -> np.generic:
    if type(dtype) is not PickledDtype or dtype.value.hasobject:
        raise ValueError("an object that passes for a number")
    found: np.generic = np.frombuffer(content, dtype=dtype.value, count=1)[0]
    return found


class _Name:
    """Stands in for a class that is named, and never called."""

    __slots__ = ()


def _full_name(function: Any) -> str:
    return f"{function.__module__}.{function.__name__}"


# what torch may call, under the names that pickles use
ALLOWED: list[Any] = [
    (PickledDtype, "numpy.dtype"),
    (_Name, "numpy.ndarray"),
    (_array, _full_name(_REBUILD_ARRAY)),
    (_scalar, _full_name(_REBUILD_SCALAR)),
    PickledDtype,
    PickledArray,
    bytes,  # of empty arrays
]
