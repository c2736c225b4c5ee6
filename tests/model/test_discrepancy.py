"""Discrepancies of single genes against what was planted, and posteriors against quadrature."""

import numpy as np
import pytest
from scipy import integrate
from scipy.stats import norm

from scvi_sams.model._discrepancy import PRIOR_WEIGHTS, SCALES, Comparison, fit_discrepancy

NONE = (SCALES == 0).astype(float) + 1e-12


def planted(n_conditions=40, n_genes=500, share=0.05, scale=1.0, seed=0):
    """Few discrepancies of a scale, seen with an error, of conditions without an effect."""
    rng = np.random.default_rng(seed)
    spread = rng.gamma(4, 0.25, n_genes)
    is_on = rng.random((n_conditions, n_genes)) < share
    discrepancy = is_on * rng.normal(size=is_on.shape) * scale * np.sqrt(spread)
    error = np.broadcast_to(spread / 100, is_on.shape)
    observed = discrepancy + rng.normal(size=is_on.shape) * np.sqrt(error)
    nothing = np.zeros_like(observed)
    comparison = Comparison.of(
        observed,
        error,
        p_spike=nothing + 1,
        loc=nothing,
        variance=nothing,
        spread=spread,
        learned=False,
    )
    return discrepancy, comparison


@pytest.mark.parametrize("n_genes", [500, 6_000], ids=["all", "a-sample"])
def test_weights_of_the_scales_are_those_that_were_planted(n_genes):
    weights = fit_discrepancy(planted(share=0.1, n_genes=n_genes)[1])
    assert weights.sum() == pytest.approx(1)
    assert weights[0] == pytest.approx(0.9, abs=0.04)
    assert weights @ SCALES**2 == pytest.approx(0.1, rel=0.2)


def test_residuals_within_their_errors_leave_no_discrepancy():
    weights = fit_discrepancy(planted(share=0)[1])
    assert weights[0] > 0.97
    assert weights @ SCALES**2 < 1e-3


@pytest.mark.parametrize("p_spike", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("observed", [1.1, 0.1], ids=["there", "hardly"])
def test_posterior_of_one_gene_equals_quadrature(p_spike, observed):
    """Cells that the model did not learn from; weights that the gene does not move."""
    weights = np.zeros(len(SCALES))
    weights[[0, 8]] = 0.7, 0.3
    error, before, spread, loc = 0.2, 0.05, 1.3, 0.4
    comparison = Comparison(
        *(np.array([x]) for x in (observed, error, p_spike, loc, before, spread))
    )
    found = comparison.corrected(weights * 1e9, learned=False)

    def slab(a):
        parts = [
            w * (p * norm.pdf(a, 0, np.sqrt(v)) if v > 0 else 0.0)
            for w, s in zip(weights, SCALES, strict=True)
            if w
            for p, v in [(p_spike, s**2 * spread)]
        ] + [
            w * (1 - p_spike) * norm.pdf(a, loc, np.sqrt(before + s**2 * spread))
            for w, s in zip(weights, SCALES, strict=True)
        ]
        return sum(parts) * norm.pdf(observed, a, np.sqrt(error))

    zero = p_spike * weights[0] * norm.pdf(observed, 0, np.sqrt(error))

    def integral(function, low=-9.0, high=9.0):
        return integrate.quad(function, low, high, points=[0, loc], limit=200)[0]

    total = integral(slab) + zero
    mean = integral(lambda a: a * slab(a)) / total
    second = integral(lambda a: a**2 * slab(a)) / total
    np.testing.assert_allclose(found.p_spike, zero / total, rtol=1e-4)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-4)
    np.testing.assert_allclose(found.sd**2, second - mean**2, rtol=1e-4)
    wrong = (integrate.quad(slab, -9, 0)[0] + zero) / total
    np.testing.assert_allclose(found.local_false_sign_rate, wrong, rtol=1e-4)
    upper = found.quantile(0.975)[0]
    assert integrate.quad(slab, upper, 9)[0] / total == pytest.approx(0.025, rel=1e-3)


def test_what_was_learned_from_the_same_cells_does_not_count_twice():
    """Without a discrepancy the posterior is the one that the model has already."""
    rng = np.random.default_rng(0)
    before, error = np.full(200, 0.3), np.full(200, 0.2)
    observed = rng.normal(size=200)
    of_model = before * error / (before + error)
    loc = of_model / error * observed  # prior mean of zero
    p_spike = np.full(200, 0.3)
    comparison = Comparison.of(
        observed,
        error,
        p_spike=p_spike,
        loc=loc,
        variance=of_model,
        spread=np.ones(200),
        learned=True,
    )
    np.testing.assert_allclose(comparison.before, before)
    np.testing.assert_allclose(comparison.loc, 0, atol=1e-12)
    found = comparison.corrected(NONE * 1e12, learned=True)
    np.testing.assert_allclose(found.p_spike, 0.3, rtol=1e-5)
    np.testing.assert_allclose(found.mean, 0.7 * loc, atol=1e-5)
    second = 0.7 * (of_model + loc**2)
    np.testing.assert_allclose(found.sd**2, second - (0.7 * loc) ** 2, rtol=1e-4)


@pytest.mark.parametrize("is_on", [True, False])
def test_other_cells_decide_whether_a_condition_has_an_effect(is_on):
    rng = np.random.default_rng(0)
    loc, error = rng.normal(size=50), np.full(50, 0.04)
    observed = is_on * loc + rng.normal(size=50) * 0.2
    comparison = Comparison.of(
        observed,
        error,
        p_spike=np.full(50, 0.5),
        loc=loc,
        variance=np.full(50, 1e-4),
        spread=np.ones(50),
        learned=False,
    )
    found = comparison.corrected(PRIOR_WEIGHTS, learned=False)
    assert (found.p_spike < 1e-3).all() if is_on else (found.p_spike > 0.5).all()
    covered = (found.quantile(0.025) <= is_on * loc) & (is_on * loc <= found.quantile(0.975))
    assert covered.mean() > 0.9


@pytest.mark.parametrize("fdr", [0.05, 0.1, 0.2])
def test_called_discrepancies_of_conditions_without_effect_keep_the_false_discovery_rate(fdr):
    truth, comparison = planted(share=0.05, seed=1)
    weights = fit_discrepancy(comparison)
    found = [comparison.take(r).corrected(weights, learned=True) for r in range(len(truth))]
    rate = np.stack([one.local_false_sign_rate for one in found])
    mean = np.stack([one.mean for one in found])
    order = np.sort(rate.ravel())
    threshold = order[np.cumsum(order) / np.arange(1, order.size + 1) <= fdr].max()
    called = rate <= threshold
    assert called.sum() > 300
    false = called & (np.sign(mean) != np.sign(truth))
    assert false.sum() <= 1.5 * fdr * called.sum()


@pytest.mark.parametrize("learned", [True, False])
def test_genes_that_never_vary_or_are_far_off_are_numbers(learned):
    comparison = Comparison.of(
        np.array([0.0, 50.0, -50.0]),
        np.array([0.0, 1e-4, 1e-4]),
        p_spike=np.array([1.0, 0.0, 1.0]),
        loc=np.zeros(3),
        variance=np.array([0.0, 1e-3, 0.0]),
        spread=np.array([0.0, 1.0, 1.0]),
        learned=learned,
    )
    found = comparison.corrected(fit_discrepancy(comparison), learned=learned)
    assert found.mean[0] == 0
    np.testing.assert_allclose(found.mean[1:], [50, -50], rtol=0.01)
    assert (found.local_false_sign_rate[1:] < 1e-6).all()
    assert np.isfinite(found.quantile(0.9)).all()
