"""The parts that simulated screens share do what they say."""

from itertools import pairwise

import numpy as np
import pytest

from scvi_sams.data._planted import (
    SPLITS,
    draw_cells,
    log_share,
    orthogonal_network,
    signed_effects,
    treatment_effects,
)
from scvi_sams.model import _training


@pytest.mark.parametrize(
    "widths",
    [
        pytest.param([8, 50, 50], id="N-and-S"),
        pytest.param([15, 50, 50, 50, 50, 100], id="D"),
        pytest.param([15, 40, 40, 40, 100], id="poisson"),
        pytest.param([9, 4, 7], id="narrowing"),
    ],
)
def test_weights_are_orthogonal_before_scaling(widths):
    network = orthogonal_network(widths, np.random.default_rng(0))
    assert [w.shape for w in network.weights] == list(pairwise(widths))
    for weight in network.weights:
        gram = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_network_agrees_with_loops_over_units():
    rng = np.random.default_rng(0)
    network = orthogonal_network([2, 3, 3, 4], rng)
    z = rng.normal(size=(5, 2))
    expected = np.zeros((5, 4))
    for i, state in enumerate(z):
        for position, weight in enumerate(network.weights):
            total = [sum(s * w for s, w in zip(state, column, strict=True)) for column in weight.T]
            last = position == len(network.weights) - 1
            state = [t if t > 0 or last else 0.2 * t for t in total]
        expected[i] = state
    np.testing.assert_allclose(network(z), expected)


def test_scaling_sets_the_sd_and_only_multiplies_genes():
    rng = np.random.default_rng(0)
    network = orthogonal_network([3, 6, 5], rng)
    z = 1 + rng.normal(size=(400, 3))
    scaled = network.scaled(z, sd=0.5)
    np.testing.assert_allclose(scaled(z).std(0), 0.5)
    ratio = scaled(z) / network(z)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape))


def test_effects_have_size_spread_and_both_signs():
    effects = signed_effects((200, 50), 5.0, np.random.default_rng(0))
    assert np.abs(effects).mean() == pytest.approx(5, abs=4 * 0.5 / 100)
    assert np.abs(effects).std() == pytest.approx(0.5, rel=0.05)
    assert (effects > 0).mean() == pytest.approx(0.5, abs=4 * 0.5 / 100)


def test_cells_are_counted_split_and_shifted():
    shifts = np.array([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    cells = draw_cells(shifts, (4, 0, 2), np.random.default_rng(0))
    np.testing.assert_allclose(cells.z - cells.z_basal, shifts[cells.perturbation])
    for t in range(3):
        assert list(np.bincount(cells.split[cells.perturbation == t])) == [4, 0, 2]
    assert len(cells.z_train) == 12


def test_splits_are_those_that_training_reads():
    assert SPLITS == _training.SPLITS


def test_effects_of_a_linear_response_are_exact():
    shifts = np.array([[1.0, 0.0], [0.0, -2.0]])
    weight = np.array([[1.0, 2.0, 3.0], [0.5, 0.0, 1.0]])
    z = np.random.default_rng(0).normal(size=(7, 2))
    found = treatment_effects(lambda z: (z @ weight).mean(0), shifts, z)
    np.testing.assert_allclose(found, shifts @ weight, atol=1e-12)


def test_log_share_by_hand():
    np.testing.assert_allclose(
        log_share(np.array([[1.0, 3.0], [0.0, 0.0]])), [np.log2([2501, 7501]), [0, 0]]
    )
