"""Collapse of predictions, against numbers written out and numpy."""

import numpy as np
import pytest

from scvi_sams.metrics import mean_similarity, variance_ratio


def test_variance_ratio_by_hand():
    observed = [[0.0, 2], [2, 6]]  # variances 1 and 4
    predicted = [[5.0, 1], [5, 2]]  # variances 0 and 1/4
    assert variance_ratio(predicted, observed) == pytest.approx(0.05)


def test_variance_ratio_is_of_sums_over_genes():
    rng = np.random.default_rng(0)
    predicted, observed = rng.normal(size=(2, 8, 30)) * rng.exponential(size=30)
    expected = np.var(predicted, axis=0).sum() / np.var(observed, axis=0).sum()
    assert variance_ratio(predicted, observed) == pytest.approx(expected)
    assert variance_ratio(observed / 3, observed) == pytest.approx(1 / 9)


@pytest.mark.parametrize("dtype", [np.float32, float])
def test_the_variance_ratio_of_collapsed_predictions_is_0_exactly(dtype):
    rng = np.random.default_rng(0)
    observed = rng.normal(size=(77, 30)).astype(dtype)
    assert variance_ratio(np.repeat(observed[:1], 77, axis=0), observed) == 0


@pytest.mark.parametrize("n", [0, 1, 3])
def test_observed_conditions_that_do_not_differ_leave_no_ratio(n):
    predicted = np.arange(2.0 * n).reshape(n, 2)
    assert np.isnan(variance_ratio(predicted, np.full((n, 2), 0.1)))


def test_mean_similarity_by_hand():
    # cosines 1/√2, 0 and 1/√2
    assert mean_similarity([[2.0, 0], [1, 1], [0, 5]]) == pytest.approx(2**0.5 / 3)
    # correlations: 1 of the first two, -1 with the third
    profiles = [[0.0, 1, 2], [1, 3, 5], [4, 3, 2]]
    assert mean_similarity(profiles, metric="pearson") == pytest.approx(-1 / 3)


@pytest.mark.parametrize("metric", ["cosine", "pearson"])
def test_mean_similarity_agrees_with_all_pairs(metric):
    profiles = np.random.default_rng(0).normal(size=(20, 6)) + np.arange(6)
    pairs = np.corrcoef(profiles)
    if metric == "cosine":
        unit = profiles / np.linalg.norm(profiles, axis=1, keepdims=True)
        pairs = unit @ unit.T
    expected = pairs[np.triu_indices(20, 1)].mean()
    assert mean_similarity(profiles, metric=metric) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["cosine", "pearson"])
def test_collapsed_profiles_are_alike(metric):
    profile = np.random.default_rng(0).normal(size=9)
    assert mean_similarity(np.tile(profile, (50, 1)), metric=metric) == pytest.approx(1)
    # no change anywhere is a collapse too
    assert mean_similarity(np.zeros((50, 9)), metric=metric) == 1
    constant = np.full((2, 9), 0.1)
    some = np.vstack([constant * 0 if metric == "cosine" else constant, [profile]])
    assert mean_similarity(some, metric=metric) == pytest.approx(1 / 3)


@pytest.mark.parametrize("n", [0, 1])
def test_one_profile_has_no_pair(n):
    assert np.isnan(mean_similarity(np.ones((n, 3))))


@pytest.mark.parametrize(
    ("profiles", "metric", "message"),
    [
        pytest.param(np.ones(3), "cosine", r"`profiles` has shape \(3,\)", id="vector"),
        pytest.param(np.full((2, 3), np.nan), "cosine", "`profiles` holds NaN", id="nan"),
        pytest.param(np.ones((2, 3)), "kendall", "'kendall'; choose", id="metric"),
        pytest.param(np.ones((2, 1)), "pearson", "have 1 gene", id="one-gene"),
    ],
)
def test_impossible_profiles_raise(profiles, metric, message):
    with pytest.raises(ValueError, match=message):
        mean_similarity(profiles, metric=metric)
