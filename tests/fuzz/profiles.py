"""Strategies of mean profiles, and metrics of them in the plainest way."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.fuzz.labels import rarely

Pair = tuple[np.ndarray, np.ndarray]

DTYPES = ["float64", "float64", "float32", "int64", "uint8", "bool"]
USUAL = [0.0, 0.5, 1.0, 2.0, 7.0, 1e-9, 1e5, 0.1]


def elements(dtype: str, with_bad: bool) -> st.SearchStrategy[Any]:
    """Numbers that expression takes, and now and then what is none."""
    kind = np.dtype(dtype).kind
    if kind == "b":
        return st.booleans()
    if kind in "iu":
        return st.integers(0, 9)
    bad = [np.nan, np.inf, -np.inf] if with_bad else []
    return st.one_of(
        st.sampled_from(USUAL), st.floats(-20, 20, width=32), st.sampled_from([0.0, *bad])
    )


@st.composite
def matrices(draw: st.DrawFn, shape: tuple[int, ...]) -> np.ndarray:
    """A matrix of some shape, seldom with what is no number; some rows or columns constant."""
    dtype = draw(st.sampled_from(DTYPES))
    values = draw(hnp.arrays(dtype, shape, elements=elements(dtype, draw(rarely(8)))))
    if values.ndim == 2 and values.size:
        kind = draw(st.sampled_from(["as drawn"] * 4 + ["rows", "columns", "zeros"]))
        if kind == "rows":
            values = np.repeat(values[:1], len(values), axis=0)
        elif kind == "columns":
            values = np.repeat(values[:, :1], values.shape[1], axis=1)
        elif kind == "zeros":
            values = np.zeros_like(values)
    order = draw(st.sampled_from(["C", "F", "reversed"]))
    return values[::-1] if order == "reversed" and values.ndim else np.array(values, order="F")


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """Two matrices, of one shape unless by chance."""
    shape = draw(st.integers(0, 5)), draw(st.integers(0, 4) | st.integers(2, 6))
    other = draw(st.sampled_from([shape] * 15 + [shape[::-1], (*shape, 1), shape[:1]]))
    first = draw(matrices(shape))
    return first, first.copy() if draw(rarely(8)) else draw(matrices(other))


def is_sound(first: np.ndarray, second: np.ndarray, least_genes: int = 1) -> bool:
    """Whether two matrices can be compared."""
    return (
        first.shape == second.shape
        and first.ndim == 2
        and first.shape[1] >= least_genes
        and bool(np.isfinite(first).all() and np.isfinite(second).all())
    )


def naive_rmse(x: np.ndarray, y: np.ndarray) -> float:
    """Of one condition."""
    return float(np.mean((x - y) ** 2) ** 0.5)


def naive_mae(x: np.ndarray, y: np.ndarray) -> float:
    """Of one condition."""
    return float(np.mean(np.abs(x - y)))


def naive_r2(x: np.ndarray, y: np.ndarray) -> float:
    """Of one condition; NaN of a constant truth."""
    if len(set(y)) < 2:
        return np.nan
    return float(1 - np.sum((x - y) ** 2) / np.sum((y - y.mean()) ** 2))


def naive_cosine(x: np.ndarray, y: np.ndarray) -> float:
    """Of changes of one condition; NaN without a true one, 0 without a predicted one."""
    if not y.any():
        return np.nan
    return float(x @ y / np.sqrt(x @ x) / np.sqrt(y @ y)) if x.any() else 0.0


def naive_similarity(x: np.ndarray, y: np.ndarray) -> float:
    """Cosine of two profiles; those of zeros are alike, and like no other."""
    return naive_cosine(x, y) if x.any() and y.any() else float(not x.any() and not y.any())


def naive_rank(x: np.ndarray, y: np.ndarray, p: int) -> float:
    """Rank of the prediction of condition p; NaN of one condition."""
    if len(x) < 2:
        return np.nan
    found = [float(np.sum((row - y[p]) ** 2)) for row in x]
    others = [q for q in range(len(x)) if q != p]
    is_tied = [(x[q] == x[p]).all() or found[q] == found[p] for q in others]
    nearer = [found[q] < found[p] and not tied for q, tied in zip(others, is_tied, strict=True)]
    return (sum(nearer) + sum(is_tied) / 2) / len(others)


def has_near_ties(x: np.ndarray, y: np.ndarray, p: int) -> bool:
    """Whether rounding decides on a rank."""
    found = np.array([np.sum((row - y[p]) ** 2) for row in x])
    scale = max(np.abs(x).max(), np.abs(y).max()) ** 2 * x.shape[1]
    close = np.abs(found - found[p]) <= 1e-7 * scale
    return any(close[q] and (x[q] != x[p]).any() for q in range(len(x)))


def naive_energy(x: np.ndarray, y: np.ndarray) -> float:
    """Energy distance of two sets of cells."""

    def mean(a: np.ndarray, b: np.ndarray, n: int) -> float:
        return float(sum(np.linalg.norm(s - t) for s in a for t in b) / n)

    n, m = len(x), len(y)
    return 2 * mean(x, y, n * m) - mean(x, x, n * (n - 1)) - mean(y, y, m * (m - 1))


def naive_mmd(x: np.ndarray, y: np.ndarray, gamma: float) -> float:
    """Squared discrepancy of two sets of cells."""

    def mean(a: np.ndarray, b: np.ndarray, is_same: bool) -> float:
        values = [
            np.exp(-gamma * np.sum((s - t) ** 2))
            for i, s in enumerate(a)
            for j, t in enumerate(b)
            if not (is_same and i == j)
        ]
        return float(np.mean(values))

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def naive_median(x: np.ndarray, y: np.ndarray) -> float:
    """Median squared distance of two of all cells."""
    cells = [*x, *y]
    return float(np.median([np.sum((s - t) ** 2) for i, s in enumerate(cells) for t in cells[:i]]))


def naive_variance(x: np.ndarray) -> float:
    """Variance between conditions, over all genes."""
    return float(np.sum(np.var(x, axis=0)))
