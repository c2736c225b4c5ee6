"""What counts as a number among settings."""

from __future__ import annotations

import math
from numbers import Real
from typing import TypeGuard


def is_number(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a finite number, of Python's or of numpy's."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
