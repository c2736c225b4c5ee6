"""Distances of distributions, against numbers written out, loops, scipy and scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics.pairwise import rbf_kernel

from scvi_sams.evaluation import _distances
from scvi_sams.metrics import energy_distance, mmd


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 5)), rng.normal(size=(25, 5)) * 1.5 + 0.5


def test_energy_distance_by_hand():
    # between: 3, 5, 1, 3 of mean 3; within: 2 and 2
    assert energy_distance([[0.0], [2]], [[3.0], [5]]) == pytest.approx(2 * 3 - 2 - 2)
    # a right triangle of sides 3, 4, 5
    assert energy_distance([[0.0, 0], [3, 0]], [[0.0, 4], [0, 4]]) == pytest.approx(9 - 3 - 0)


def test_energy_distance_agrees_with_loops(cells):
    a, b = cells
    between = np.mean([np.linalg.norm(x - y) for x in a for y in b])
    within = [
        np.mean([np.linalg.norm(x - y) for i, x in enumerate(c) for y in np.delete(c, i, axis=0)])
        for c in cells
    ]
    assert energy_distance(a, b) == pytest.approx(2 * between - sum(within))


def test_energy_distance_differs_from_scipy_by_the_bias_of_its_own(cells):
    a, b = (c[:, :1] for c in cells)
    n, m = len(a), len(b)
    within_a, within_b = (abs(c - c.T).sum() for c in (a, b))
    # scipy's is the root of the V-statistic, which counts the distance of a cell to itself
    biased = stats.energy_distance(a.ravel(), b.ravel()) ** 2
    bias = within_a / n**2 / (n - 1) + within_b / m**2 / (m - 1)
    assert energy_distance(a, b) == pytest.approx(biased - bias)


def test_mmd_by_hand():
    # within: squared distances 1 and 4; between: 1, 9, 0 and 4
    found = mmd([[0.0], [1]], [[1.0], [3]], gamma=0.5)
    e = np.exp
    expected = e(-0.5) + e(-2) - 2 * (e(-0.5) + e(-4.5) + 1 + e(-2)) / 4
    assert found == pytest.approx(expected)


def test_mmd_agrees_with_sklearn(cells):
    a, b = cells
    aa, bb, ab = (rbf_kernel(x, y, gamma=0.2) for x, y in ((a, a), (b, b), (a, b)))
    off_a, off_b = (k[~np.eye(len(k), dtype=bool)].mean() for k in (aa, bb))
    assert mmd(a, b, gamma=0.2) == pytest.approx(off_a + off_b - 2 * ab.mean())


def test_gamma_is_that_of_the_median_pair(cells):
    pooled = np.vstack(cells)
    squares = ((pooled[:, None] - pooled[None]) ** 2).sum(axis=2)
    median = np.median(squares[np.triu_indices(len(pooled), 1)])
    assert mmd(*cells) == mmd(*cells, gamma=1 / median)


def test_gamma_of_many_cells_is_that_of_some(cells, monkeypatch):
    whole = mmd(*cells)
    monkeypatch.setattr(_distances, "_MOST_FOR_MEDIAN", 50)
    some = mmd(*cells)
    assert some == mmd(*cells)  # the same ones each time
    assert some != whole
    assert some == pytest.approx(whole, rel=0.3)


@pytest.mark.parametrize("distance", [energy_distance, mmd])
def test_cells_of_one_distribution_are_at_0_on_average(distance):
    rng = np.random.default_rng(0)
    found = [distance(rng.normal(size=(6, 3)), rng.normal(size=(30, 3))) for _ in range(300)]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * error
    assert min(found) < 0
    far = distance(rng.normal(size=(6, 3)), rng.normal(size=(30, 3)) + 2)
    assert far > 10 * error


@pytest.mark.parametrize("distance", [energy_distance, mmd])
def test_distances_are_symmetric_and_do_not_depend_on_blocks(distance, cells, monkeypatch):
    expected = distance(*cells)
    assert distance(*cells[::-1]) == pytest.approx(expected)
    for size in (1, 7, 25):
        monkeypatch.setattr(_distances, "_BLOCK_SIZE", size)
        assert distance(*cells) == pytest.approx(expected)


@pytest.mark.parametrize("distance", [energy_distance, mmd])
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        pytest.param(np.eye(3), np.eye(2), r"\(3, 3\) and `b` \(2, 2\)", id="components"),
        pytest.param(np.eye(3)[:1], np.eye(3), r"`a` has 1 cell\(s\)", id="one-cell"),
        pytest.param(np.eye(3), np.full((2, 3), np.nan), "`b` holds NaN.*these cells", id="nan"),
        pytest.param(np.ones(3), np.eye(3), "give a matrix of cells × components", id="vector"),
    ],
)
def test_impossible_cells_raise(distance, a, b, message):
    with pytest.raises(ValueError, match=message):
        distance(a, b)


@pytest.mark.parametrize("gamma", [0, -1, np.inf])
def test_gamma_must_be_positive(cells, gamma):
    with pytest.raises(ValueError, match="`gamma` is"):
        mmd(*cells, gamma=gamma)


def test_cells_without_spread_need_a_gamma():
    a, b = np.zeros((9, 2)), np.ones((2, 2))
    with pytest.raises(ValueError, match="Give `gamma=`"):
        mmd(a, b)
    assert mmd(a, b, gamma=1) == pytest.approx(2 - 2 * np.exp(-2))
