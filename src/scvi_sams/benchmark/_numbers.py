"""Scores as people read them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_MOST_DECIMALS = 6
MISSING = "–"


def places(size: float, digits: int) -> int:
    """Decimals that ``size`` needs to show so many digits of it."""
    if not size or not np.isfinite(size):
        return digits
    return int(np.clip(digits - 1 - np.floor(np.log10(abs(size))), 0, _MOST_DECIMALS))


def decimals(values: npt.ArrayLike) -> int:
    """Decimals that tell ``values`` apart: three digits of the range that they cover."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    spread = float(np.ptp(finite)) if finite.size else 0.0
    return places(spread or float(np.abs(finite).max(initial=0.0)), 3)


def number(value: float, digits: int) -> str:
    """A score with a true minus sign, and a dash for NaN."""
    if not np.isfinite(value):
        return MISSING
    text = f"{value:,.{digits}f}"
    is_zero = not any(digit in text for digit in "123456789")
    return text.lstrip("-") if is_zero else text.replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if not np.isfinite(seconds):
        return MISSING
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def counted(n: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def enumerated(names: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
