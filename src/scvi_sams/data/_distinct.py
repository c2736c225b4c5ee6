"""Distinct rows of long tables."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_ROWS_AT_ONCE = 100_000


class Distinct(NamedTuple):
    """Distinct rows of a table.

    Attributes
    ----------
    rows
        The R distinct rows, in sorted order.
    code
        Which of them each row of the table is, of the table's length.
    n_each
        How often each is there, of shape R.
    """

    rows: npt.NDArray[Any]
    code: npt.NDArray[np.int32]
    n_each: npt.NDArray[np.intp]


def distinct_rows(table: npt.NDArray[Any]) -> Distinct:
    """As ``numpy.unique(table, axis=0, ...)``, in little memory where most rows are repeated."""
    code = np.empty(len(table), np.int32)
    parts = [slice(start, start + _ROWS_AT_ONCE) for start in range(0, len(table), _ROWS_AT_ONCE)]
    found = [table[:0]]
    for part in parts:
        rows, inverse = np.unique(table[part], axis=0, return_inverse=True)
        found.append(rows)
        code[part] = inverse.ravel()
    rows, place = np.unique(np.concatenate(found), axis=0, return_inverse=True)
    place = place.ravel()
    start = 0
    for part, of_part in zip(parts, found[1:], strict=True):
        code[part] = place[start + code[part]]
        start += len(of_part)
    return Distinct(rows, code, np.bincount(code, minlength=len(rows)))
