"""Distances between the distributions of two sets of cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist, pdist

from scvi_sams.evaluation._profiles import Array, matrix

_BLOCK_SIZE = 1024  # cells at a time
_MOST_FOR_MEDIAN = 2000  # cells


def energy_distance(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    r"""Energy distance between two sets of cells.

    .. math::
        E = \frac{2}{nm} \sum_{i, j} \|a_i - b_j\|
            - \frac{1}{n (n - 1)} \sum_{i \neq i'} \|a_i - a_{i'}\|
            - \frac{1}{m (m - 1)} \sum_{j \neq j'} \|b_j - b_{j'}\|

    with n cells a, m cells b, and Euclidean distances. This is the unbiased estimate (U-statistic)
    of 2 E‖a − b‖ − E‖a − a'‖ − E‖b − b'‖, and not its root: it does not depend on the numbers of
    cells but for noise, is 0 on average for cells of one distribution, and may be negative then.
    The V-statistic, which counts a cell's distance of 0 to itself, is larger by the mean distance
    within a over n and that within b over m.

    Parameters
    ----------
    a, b
        Cells × principal components, of a PCA fitted once, on training data, for both.

    Returns
    -------
    The distance, in units of the components.

    Raises
    ------
    ValueError
        If the two are not finite matrices of the same components with two cells or more.

    References
    ----------
    Székely & Rizzo, J Stat Plan Inference 2013.
    """
    first, second = _cells(a, b)
    between = _mean_between(first, second, _euclidean)
    return 2 * between - _mean_within(first, _euclidean) - _mean_within(second, _euclidean)


def mmd(a: npt.ArrayLike, b: npt.ArrayLike, *, gamma: float | None = None) -> float:
    r"""Squared maximum mean discrepancy between two sets of cells.

    .. math::
        \mathrm{MMD}^2 = \frac{1}{n (n - 1)} \sum_{i \neq i'} k(a_i, a_{i'})
            + \frac{1}{m (m - 1)} \sum_{j \neq j'} k(b_j, b_{j'})
            - \frac{2}{nm} \sum_{i, j} k(a_i, b_j), \quad k(x, y) = e^{-\gamma \|x - y\|^2}

    with n cells a, m cells b, and a Gaussian kernel k. This is the unbiased estimate
    (U-statistic): 0 on average for cells of one distribution, and possibly negative then.

    Parameters
    ----------
    a, b
        Cells × principal components, of a PCA fitted once, on training data, for both.
    gamma
        Width of the kernel, in units of the components to the power -2. By default 1 over the
        median squared distance of the cells of a and b together, of 2,000 of them drawn with a
        fixed seed where there are more. To compare models, give the same to all.

    Returns
    -------
    The squared discrepancy, 2 at most.

    Raises
    ------
    ValueError
        If the two are not finite matrices of the same components with two cells or more, gamma is
        not positive, or the median distance is 0.

    References
    ----------
    Gretton et al., JMLR 2012.
    """
    first, second = _cells(a, b)
    width = median_gamma(np.vstack([first, second])) if gamma is None else gamma
    if not (np.isfinite(width) and width > 0):
        raise ValueError(f"`gamma` is {width:g}; it must be positive.")

    def kernel(x: Array, y: Array) -> Array:
        return np.exp(-width * cdist(x, y, "sqeuclidean"))

    within = _mean_within(first, kernel) + _mean_within(second, kernel)
    return within - 2 * _mean_between(first, second, kernel)


def median_gamma(cells: npt.ArrayLike) -> float:
    r"""Width of the kernel of :func:`mmd` by the median heuristic.

    .. math::
        \gamma = 1 / \mathrm{median}_{i \neq j} \|x_i - x_j\|^2

    Parameters
    ----------
    cells
        Cells × principal components; of more than 2,000 some are drawn with a fixed seed.

    Raises
    ------
    ValueError
        If the median distance is 0.
    """
    some = np.asarray(cells, dtype=float)
    if len(some) > _MOST_FOR_MEDIAN:
        chosen = np.random.default_rng(0).choice(len(some), _MOST_FOR_MEDIAN, replace=False)
        some = some[chosen]
    median = float(np.median(pdist(some, "sqeuclidean")))
    if median == 0:
        raise ValueError(
            "More than half of the pairs of cells are equal, so their median distance says "
            "nothing of the scale. Give `gamma=`."
        )
    return 1 / median


Pairwise = Callable[[Array, Array], Array]


def _euclidean(x: Array, y: Array) -> Array:
    return cdist(x, y)


def _mean_between(a: Array, b: Array, pairwise: Pairwise) -> float:
    total = sum(float(pairwise(x, y).sum()) for x in _blocks(a) for y in _blocks(b))
    return total / len(a) / len(b)


def _mean_within(a: Array, pairwise: Pairwise) -> float:
    """Mean over pairs of different cells."""
    total = 0.0
    blocks = list(_blocks(a))
    for i, x in enumerate(blocks):
        values = pairwise(x, x)
        total += float(values.sum() - np.trace(values))
        total += 2 * sum(float(pairwise(x, y).sum()) for y in blocks[:i])
    return total / (len(a) * (len(a) - 1))


def _blocks(cells: Array) -> Iterator[Array]:
    for start in range(0, len(cells), _BLOCK_SIZE):
        yield cells[start : start + _BLOCK_SIZE]


def _cells(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Array, Array]:
    first, second = (
        matrix(values, name, "cells", "components").astype(float)
        for name, values in (("a", a), ("b", b))
    )
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"`a` has shape {first.shape} and `b` {second.shape}; give the same components."
        )
    for name, cells in (("a", first), ("b", second)):
        if len(cells) < 2:
            raise ValueError(f"`{name}` has {len(cells)} cell(s); give at least 2.")
    return first, second
