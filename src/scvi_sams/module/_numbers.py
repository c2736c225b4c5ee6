"""What counts as a number among settings."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TypeGuard


def is_number(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a finite number, of Python's or of numpy's."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_whole(value: object, name: str, least: int = 0) -> None:
    """Check that an argument is an integer, such as a number of cells or a seed.

    Raises
    ------
    ValueError
        If it is not, or less than ``least`` or more than 64 bits hold.
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or not least <= value < 2**63:  # type: ignore[operator]
        raise ValueError(f"`{name}` must be an integer of at least {least}; it is {value!r}.")
