"""Agreement of effects, against numbers written out, scipy and scikit-learn."""

import numpy as np
import pytest
from scipy.stats import norm, pearsonr
from sklearn.metrics import r2_score

from scvi_sams.metrics import ate_pearson, ate_r2, interval_coverage


@pytest.fixture
def effects():
    rng = np.random.default_rng(0)
    observed = rng.normal(size=(6, 30)) * rng.exponential(size=30)
    return observed + rng.normal(size=(6, 30)), observed


def test_effects_by_hand():
    observed, predicted = [[0.0, 1], [2, 5]], [[0.0, 2], [1, 5]]
    # about their means of 2: (-2, -1, 0, 3) and (-2, 0, -1, 3)
    assert ate_pearson(predicted, observed) == pytest.approx(13 / 14)
    assert ate_r2(predicted, observed) == pytest.approx(1 - 2 / 14)
    # the largest of each condition: 1 and 5, predicted as 2 and 5
    assert ate_pearson(predicted, observed, n_top=1) == pytest.approx(1)
    assert ate_r2(predicted, observed, n_top=1) == pytest.approx(1 - 1 / 8)


@pytest.mark.parametrize("n_top", [None, 1, 20, 30])
@pytest.mark.parametrize(
    ("metric", "independent"),
    [
        pytest.param(ate_pearson, lambda p, o: pearsonr(p, o)[0], id="pearson"),
        pytest.param(ate_r2, lambda p, o: r2_score(o, p), id="r2"),
    ],
)
def test_effects_are_pooled_over_conditions(effects, metric, independent, n_top):
    predicted, observed = effects
    chosen = [
        (p, o)
        for row_p, row_o in zip(predicted, observed, strict=True)
        for p, o in sorted(zip(row_p, row_o, strict=True), key=lambda pair: -abs(pair[1]))[:n_top]
    ]
    found = metric(predicted, observed, n_top=n_top)
    assert found == pytest.approx(independent(*np.array(chosen).T))
    if n_top == 30:
        assert found == pytest.approx(metric(predicted, observed))


def test_top_genes_are_those_observed_whatever_their_sign():
    observed, predicted = [[-9.0, 1, 8, 0]], [[-5.0, 100, 5, 100]]
    assert ate_pearson(predicted, observed, n_top=2) == pytest.approx(1)


def test_effects_that_do_not_vary_leave_nothing_to_explain(effects):
    predicted, observed = effects
    assert np.isnan(ate_pearson(predicted * 0 + 0.1, observed))
    assert np.isnan(ate_pearson(predicted, observed * 0 + 0.1))
    assert np.isnan(ate_r2(predicted, observed * 0 + 0.1))
    assert ate_r2(np.full_like(observed, observed.mean()), observed) == pytest.approx(0)


@pytest.mark.parametrize(
    ("shape", "n_top", "message"),
    [
        pytest.param((2, 3), 0, "`n_top` is 0; it must be from 1 to 3", id="none"),
        pytest.param((2, 3), 4, "`n_top` is 4; it must be from 1 to 3", id="too-many"),
        pytest.param((1, 3), 1, "There are 1 effects", id="one-effect"),
    ],
)
@pytest.mark.parametrize("metric", [ate_pearson, ate_r2])
def test_impossible_numbers_of_genes_raise(metric, shape, n_top, message):
    with pytest.raises(ValueError, match=message):
        metric(np.ones(shape), np.ones(shape), n_top=n_top)


def test_coverage_by_hand():
    lower, upper = np.zeros((1, 4)), np.full((1, 4), 2.0)
    observed = np.array([[0.0, 2.0, 1.0, 3.0]])  # ends belong to the interval
    assert interval_coverage(lower, upper, observed) == 0.75
    z = norm.ppf(0.9)
    # half widths of 1 become √(1 + 3) = 2, which reaches to 3
    sd = np.full((1, 4), np.sqrt(3) / z * 1.000001)
    assert interval_coverage(lower, upper, observed, sampling_sd=sd, credible_mass=0.8) == 1
    assert interval_coverage(lower, upper, observed, sampling_sd=sd * 0.99, credible_mass=0.8) < 1
    assert interval_coverage(lower, upper, observed, sampling_sd=sd * 0) == 0.75


@pytest.mark.parametrize("credible_mass", [0.5, 0.8, 0.95])
def test_right_intervals_cover_their_mass_once_sampling_error_is_allowed_for(credible_mass):
    rng = np.random.default_rng(0)
    shape = (200, 100)
    sd, sampling_sd = rng.uniform(0.2, 1, shape), rng.uniform(0.2, 1, shape)
    middle = rng.normal(size=shape)
    observed = middle + sd * rng.normal(size=shape) + sampling_sd * rng.normal(size=shape)
    half = norm.ppf((1 + credible_mass) / 2) * sd
    arguments = (middle - half, middle + half, observed)
    found = interval_coverage(*arguments, sampling_sd=sampling_sd, credible_mass=credible_mass)
    assert found == pytest.approx(credible_mass, abs=0.01)
    assert interval_coverage(*arguments, credible_mass=credible_mass) < credible_mass - 0.1


def test_coverage_of_nothing_is_undefined():
    nothing = np.ones((0, 3))
    assert np.isnan(interval_coverage(nothing, nothing, nothing))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"lower": np.full((2, 3), 2.0)}, r"6 interval\(s\) end below", id="order"),
        pytest.param({"upper": np.ones((2, 2))}, r"`upper` has shape \(2, 2\)", id="upper"),
        pytest.param({"lower": np.ones((1, 3))}, r"`lower` has shape \(1, 3\)", id="lower"),
        pytest.param({"sampling_sd": -np.ones((2, 3))}, "negative in 6 place", id="negative"),
        pytest.param({"sampling_sd": np.ones(3)}, r"`sampling_sd` has shape \(3,\)", id="sd"),
        pytest.param({"observed": np.full((2, 3), np.nan)}, "`observed` holds NaN", id="nan"),
        pytest.param({"credible_mass": 95}, "`credible_mass` is 95", id="mass"),
    ],
)
def test_impossible_intervals_raise(changes, message):
    good = {"lower": np.zeros((2, 3)), "upper": np.ones((2, 3)), "observed": np.ones((2, 3))}
    with pytest.raises(ValueError, match=message):
        interval_coverage(**good | changes)
