"""Agreement of latent states, against numpy and cases known by hand."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr

from scvi_sams.metrics import latent_r2, mean_correlation_coefficient


@pytest.fixture
def states():
    """True states, and estimates of them that share some of their variance."""
    rng = np.random.default_rng(0)
    true = rng.normal(size=(200, 4)) * [1, 2, 0.5, 3]
    return true @ rng.normal(size=(4, 4)) + rng.normal(size=(200, 4)), true


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_order_sign_scale_and_shift_do_not_matter(states, method):
    estimated, true = states
    moved = estimated[:, [2, 0, 3, 1]] * [-1, 0.1, 30, -4] + 5
    assert mean_correlation_coefficient(
        true[:, [3, 1, 0, 2]] * [-1, 0.1, 30, -4] + 5, true, method=method
    ) == pytest.approx(1)
    assert mean_correlation_coefficient(moved, true, method=method) == pytest.approx(
        mean_correlation_coefficient(estimated, true, method=method)
    )


@pytest.mark.parametrize(
    ("method", "correlate"),
    [
        pytest.param("pearson", lambda a, b: np.corrcoef(a, b)[0, 1], id="pearson"),
        pytest.param("spearman", lambda a, b: spearmanr(a, b)[0], id="spearman"),
    ],
)
def test_matching_is_the_best_of_all(states, method, correlate):
    estimated, true = states
    best = max(
        np.mean([abs(correlate(estimated[:, j], true[:, k])) for k, j in enumerate(order)])
        for order in permutations(range(4))
    )
    found = mean_correlation_coefficient(estimated, true, method=method)
    assert found == pytest.approx(best)
    assert 0.3 < found < 0.99  # the case is neither trivial nor hopeless


def test_monotone_transformations_only_matter_to_pearson(states):
    _, true = states
    assert mean_correlation_coefficient(np.exp(true), true, method="spearman") == pytest.approx(1)
    assert mean_correlation_coefficient(np.exp(true), true) < 0.9


@pytest.mark.parametrize(
    ("keep_estimated", "keep_true", "expected"),
    [
        pytest.param([0, 1], [0, 1, 2, 3], 0.5, id="too-few-estimated"),
        pytest.param([0, 1, 2, 3], [0, 1], 1.0, id="too-many-estimated"),
    ],
)
def test_only_true_dimensions_without_partner_lower_the_mcc(
    states, keep_estimated, keep_true, expected
):
    _, true = states
    found = mean_correlation_coefficient(true[:, keep_estimated], true[:, keep_true])
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
@pytest.mark.parametrize("side", ["estimated", "true"])
def test_constant_dimensions_correlate_zero(states, side, method):
    _, true = states
    constant = true.copy()
    constant[:, 1] = 0.1  # whose mean over 200 cells is not 0.1 exactly
    pair = (constant, true) if side == "estimated" else (true, constant)
    assert mean_correlation_coefficient(*pair, method=method) == pytest.approx(0.75, abs=0.05)


def test_r2_agrees_with_least_squares(states):
    estimated, true = states
    estimated, true = estimated[:, :3] + 7, true - 3
    design = np.column_stack([np.ones(len(true)), estimated])
    residual = true - design @ np.linalg.lstsq(design, true, rcond=None)[0]
    expected = np.mean(1 - residual.var(0) / true.var(0))
    assert latent_r2(estimated, true) == pytest.approx(expected)
    assert 0.2 < expected < 0.99


def test_r2_of_mixed_dimensions_is_one_where_the_mcc_is_not(states):
    _, true = states
    mixed = true @ np.random.default_rng(1).normal(size=(4, 4)) - 2
    assert latent_r2(mixed, true) == pytest.approx(1)
    assert mean_correlation_coefficient(mixed, true) < 0.95


def test_r2_leaves_out_dimensions_that_do_not_vary(states):
    estimated, true = states
    padded = np.column_stack([true, np.full(len(true), 0.1)])
    assert latent_r2(estimated, padded) == pytest.approx(latent_r2(estimated, true))
    assert np.isnan(latent_r2(estimated, np.ones((200, 2))))
    assert latent_r2(np.ones((200, 2)), true) == pytest.approx(0)


@pytest.mark.parametrize("metric", [mean_correlation_coefficient, latent_r2])
@pytest.mark.parametrize(
    ("estimated", "true", "message"),
    [
        pytest.param(np.ones((4, 2)), np.ones((3, 2)), "of 4 and of 3 cells", id="cells"),
        pytest.param(np.ones(4), np.ones((4, 2)), "`estimated` has shape", id="vector"),
        pytest.param(np.ones((4, 2)), np.ones((4, 0)), "`true` has shape", id="no-dimension"),
        pytest.param(np.ones((1, 2)), np.ones((1, 2)), "at least 2 cells", id="one-cell"),
        pytest.param(np.full((4, 2), np.nan), np.ones((4, 2)), "`estimated` holds", id="nan"),
    ],
)
def test_impossible_states_raise(metric, estimated, true, message):
    with pytest.raises(ValueError, match=message):
        metric(estimated, true)


def test_unknown_method_raises(states):
    with pytest.raises(ValueError, match=r"'kendall'.*'pearson'"):
        mean_correlation_coefficient(*states, method="kendall")
