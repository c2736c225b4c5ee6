"""Errors over genes, against numbers written out and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from scvi_sams.metrics import mae, r2, rmse, weighted_mse, weighted_r2_delta

OBSERVED = np.array([[1.0, 2, 3, 6], [2, 2, 2, 2]])
PREDICTED = np.array([[1.0, 4, 3, 5], [2, 2, 5, 6]])


@pytest.fixture
def profiles():
    """Predictions that share some of the variance of the observed profiles."""
    rng = np.random.default_rng(0)
    observed = rng.normal(size=(5, 40))
    return observed + 0.5 * rng.normal(size=(5, 40)), observed


def test_errors_by_hand():
    # the errors are 0, 2, 0, -1 and 0, 0, 3, 4
    np.testing.assert_allclose(rmse(PREDICTED, OBSERVED), [np.sqrt(5 / 4), 2.5])
    np.testing.assert_allclose(mae(PREDICTED, OBSERVED), [3 / 4, 7 / 4])


def test_r2_by_hand_and_undefined_for_a_constant():
    # about the mean of 3 the observed squares are 4 + 1 + 0 + 9
    np.testing.assert_allclose(r2(PREDICTED, OBSERVED), [1 - 5 / 14, np.nan])
    # even where the constant is met, or its mean is not exact
    assert np.isnan(r2(np.full((1, 7), 0.1), np.full((1, 7), 0.1))).all()


def test_r2_takes_the_observed_profile_as_truth():
    assert r2(OBSERVED[:1] * 3, OBSERVED[:1]) != r2(OBSERVED[:1], OBSERVED[:1] * 3)
    assert r2(OBSERVED[:1] * 3, OBSERVED[:1])[0] == pytest.approx(1 - 4 * 50 / 14)


@pytest.mark.parametrize(
    ("metric", "independent"),
    [
        pytest.param(rmse, root_mean_squared_error, id="rmse"),
        pytest.param(mae, mean_absolute_error, id="mae"),
        pytest.param(r2, r2_score, id="r2"),
    ],
)
def test_each_condition_is_scored_on_its_own(profiles, metric, independent):
    predicted, observed = profiles
    expected = [independent(true, found) for found, true in zip(predicted, observed, strict=True)]
    np.testing.assert_allclose(metric(predicted, observed), expected)


def test_weighted_mse_by_hand():
    weights = np.array([[1.0, 1, 0, 2], [0, 0, 0, 0]])
    # squares 0, 4, 0, 1 with shares 1/4, 1/4, 0, 1/2; nothing to weigh by in the other
    np.testing.assert_allclose(weighted_mse(PREDICTED, OBSERVED, weights=weights), [1.5, np.nan])


def test_weighted_r2_by_hand():
    weights = np.array([[1.0, 1, 0, 2], [1, 1, 1, 1]])
    reference = np.array([1.0, 1, 1, 1])
    # changes 0, 1, 2, 5 of weighted mean 2.75: spread 7.5625/4 + 3.0625/4 + 5.0625/2 = 5.1875
    found = weighted_r2_delta(PREDICTED, OBSERVED, reference=reference, weights=weights)
    np.testing.assert_allclose(found, [1 - 1.5 / 5.1875, np.nan])


def test_the_scale_of_weights_does_not_matter(profiles):
    predicted, observed = profiles
    weights = np.random.default_rng(1).exponential(size=observed.shape)
    scales = np.arange(1, 6)[:, None]
    np.testing.assert_allclose(
        weighted_mse(predicted, observed, weights=weights),
        weighted_mse(predicted, observed, weights=weights * scales),
    )


@pytest.mark.parametrize("shape", [(40,), (5, 40)], ids=["one-reference", "each-its-own"])
def test_weighted_scores_agree_with_sklearn(profiles, shape):
    predicted, observed = profiles
    rng = np.random.default_rng(1)
    weights, reference = rng.exponential(size=observed.shape), rng.normal(size=shape)
    rows = np.broadcast_to(reference, observed.shape)
    expected = [
        r2_score(observed[p] - rows[p], predicted[p] - rows[p], sample_weight=weights[p])
        for p in range(5)
    ]
    np.testing.assert_allclose(
        weighted_r2_delta(predicted, observed, reference=reference, weights=weights), expected
    )
    errors = [np.average((predicted[p] - observed[p]) ** 2, weights=weights[p]) for p in range(5)]
    np.testing.assert_allclose(weighted_mse(predicted, observed, weights=weights), errors)


@pytest.mark.parametrize(
    ("weights", "shift"),
    [
        pytest.param([0, 0, 0, 0], 0, id="no-weight"),
        pytest.param([0, 3, 0, 0], 0, id="one-gene"),
        pytest.param([1, 1, 1, 1], 0.1, id="same-change-but-for-rounding"),
    ],
)
def test_weighted_r2_is_undefined_without_anything_to_explain(weights, shift):
    reference = np.array([0.3, 1.7, 2.9, 12.1])
    observed = reference[None] + shift
    found = weighted_r2_delta(
        observed + 1, observed, reference=reference, weights=np.array([weights], dtype=float)
    )
    assert np.isnan(found).all()


def test_negative_weights_raise():
    weights = np.array([[1.0, 1, 1, 1], [1, -1, 1, 1]])
    with pytest.raises(ValueError, match=r"negative in 1 condition\(s\), first 1"):
        weighted_mse(PREDICTED, OBSERVED, weights=weights)
    with pytest.raises(ValueError, match=r"`weights` has shape \(1, 4\)"):
        weighted_mse(PREDICTED, OBSERVED, weights=weights[:1])


@pytest.mark.parametrize("metric", [rmse, mae, r2])
def test_no_condition_has_no_error(metric):
    assert metric(np.empty((0, 3)), np.empty((0, 3))).shape == (0,)
