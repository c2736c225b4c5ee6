"""Discrepancies of single genes against what was planted, and posteriors against quadrature."""

import numpy as np
import pytest
from scipy import integrate
from scipy.stats import norm

from scvi_sams.model._discrepancy import SCALES, Comparison, fit_discrepancy


def planted(n_conditions=40, n_genes=500, share=0.05, scale=1.0, seed=0):
    """Few discrepancies of a scale, seen with an error."""
    rng = np.random.default_rng(seed)
    spread = rng.gamma(4, 0.25, n_genes)
    is_on = rng.random((n_conditions, n_genes)) < share
    discrepancy = is_on * rng.normal(size=is_on.shape) * scale * np.sqrt(spread)
    error = np.broadcast_to(spread / 100, is_on.shape)
    return discrepancy, discrepancy + rng.normal(size=is_on.shape) * np.sqrt(error), error, spread


def test_weights_of_the_scales_are_those_that_were_planted():
    _, residual, error, spread = planted(share=0.1)
    nothing = np.zeros_like(residual)
    weights = fit_discrepancy(Comparison.of(residual, error, nothing, spread, learned=False))
    assert weights.sum() == pytest.approx(1)
    assert weights[0] == pytest.approx(0.9, abs=0.04)
    assert weights @ SCALES**2 == pytest.approx(0.1, rel=0.2)


def test_residuals_within_their_errors_leave_no_discrepancy():
    _, residual, error, spread = planted(share=0)
    nothing = np.zeros_like(residual)
    weights = fit_discrepancy(Comparison.of(residual, error, nothing, spread, learned=False))
    assert weights[0] > 0.97
    assert weights @ SCALES**2 < 1e-3


def test_posterior_equals_quadrature():
    """One condition whose weights are known, of effects that are zero with some probability."""
    weights = np.zeros(len(SCALES))
    weights[[0, 8]] = 0.7, 0.3
    error, before, spread = np.array([[0.2]]), np.array([[0.05]]), np.array([1.3])
    predicted, observed, p_spike = 0.4, np.array([[1.1]]), np.array([[0.0]])
    comparison = Comparison(observed - predicted, error, before, spread)
    found = comparison.corrected(0, observed[0], weights * 1e9, p_spike[0])

    def density(a):
        prior = sum(
            w * norm.pdf(a, predicted, np.sqrt(before[0, 0] + s**2 * spread[0]))
            for w, s in zip(weights, SCALES, strict=True)
        )
        return prior * norm.pdf(observed[0, 0], a, np.sqrt(error[0, 0]))

    total = integrate.quad(density, -8, 8, points=[predicted])[0]
    mean = integrate.quad(lambda a: a * density(a), -8, 8, points=[predicted])[0] / total
    second = integrate.quad(lambda a: a**2 * density(a), -8, 8, points=[predicted])[0] / total
    np.testing.assert_allclose(found.mean, mean, rtol=1e-3)
    np.testing.assert_allclose(found.sd**2, second - mean**2, rtol=1e-3)
    below = integrate.quad(density, -8, 0)[0] / total
    np.testing.assert_allclose(found.local_false_sign_rate, below, rtol=1e-3)
    upper = found.quantile(0.975)[0]
    above = integrate.quad(density, upper, 8)[0] / total
    assert above == pytest.approx(0.025, rel=1e-3)


def test_what_was_learned_from_the_same_cells_does_not_count_twice():
    """Without a discrepancy the posterior is the one that the model has already."""
    rng = np.random.default_rng(0)
    before, error = np.full((1, 200), 0.3), np.full((1, 200), 0.2)
    observed = rng.normal(size=(1, 200))
    of_model = before * error / (before + error)
    predicted = of_model / error * observed  # prior mean of zero
    comparison = Comparison.of(observed - predicted, error, of_model, np.ones(200), learned=True)
    np.testing.assert_allclose(comparison.before, before)
    np.testing.assert_allclose(comparison.residual, observed)
    none = (SCALES == 0).astype(float)
    found = comparison.corrected(0, observed[0], none, np.zeros(200))
    np.testing.assert_allclose(found.mean, predicted[0], atol=1e-8)
    np.testing.assert_allclose(found.sd**2, of_model[0], rtol=1e-6)


@pytest.mark.parametrize("p_spike", [0.0, 0.4, 1.0])
def test_what_the_model_leaves_at_zero_stays_there_without_a_discrepancy(p_spike):
    rng = np.random.default_rng(0)
    slab = rng.normal(2, 1, size=(1, 50))
    error, of_model = np.full((1, 50), 1e6), np.full((1, 50), 0.01)  # cells that tell nothing
    predicted = (1 - p_spike) * slab
    of_model = (1 - p_spike) * (of_model + slab**2) - predicted**2
    comparison = Comparison.of(0 * slab, error, of_model, np.ones(50), learned=True)
    none = (SCALES == 0).astype(float)
    found = comparison.corrected(0, predicted[0], none, np.full(50, p_spike))
    np.testing.assert_allclose(found.p_spike, p_spike)
    np.testing.assert_allclose(found.mean, predicted[0], atol=1e-6)
    np.testing.assert_allclose(found.sd**2, of_model[0], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("fdr", [0.05, 0.1, 0.2])
def test_called_discrepancies_of_conditions_without_effect_keep_the_false_discovery_rate(fdr):
    truth, observed, error, spread = planted(share=0.05, seed=1)
    comparison = Comparison.of(observed, error, np.zeros_like(error), spread, learned=False)
    weights = fit_discrepancy(comparison)
    ones = np.ones(observed.shape[1])
    found = [comparison.corrected(r, x, weights, ones) for r, x in enumerate(observed)]
    rate = np.stack([one.local_false_sign_rate for one in found])
    mean = np.stack([one.mean for one in found])
    order = np.sort(rate.ravel())
    threshold = order[np.cumsum(order) / np.arange(1, order.size + 1) <= fdr].max()
    called = rate <= threshold
    assert called.sum() > 300
    false = called & (np.sign(mean) != np.sign(truth))
    assert false.sum() <= 1.5 * fdr * called.sum()


def test_error_of_zero_is_no_division_by_zero():
    zero = np.zeros((2, 3))
    comparison = Comparison.of(zero, zero, zero, np.zeros(3), learned=True)
    found = comparison.corrected(0, zero[0], fit_discrepancy(comparison), zero[0])
    assert np.isfinite(found.mean).all()
    assert np.isfinite(found.sd).all()
