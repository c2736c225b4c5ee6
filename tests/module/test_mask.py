"""Masks: closed forms against independent computations."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Bernoulli, kl_divergence

from scvi_sams.module._inclusion_priors import BetaInclusion, BetaPointInclusion, FixedInclusion
from scvi_sams.module._mask import BernoulliMask, FullMask

LOGITS = [-100.0, -17.0, -2.0, 0.0, 0.3, 17.0, 100.0]
ROW = torch.tensor([0])
PRIORS = [
    pytest.param(FixedInclusion(0.01), id="fixed"),
    pytest.param(BetaInclusion(1.0, 5.0), id="beta"),
    pytest.param(BetaInclusion(0.3, 0.2), id="beta-of-two-horns"),
    pytest.param(BetaPointInclusion(1.0, 5.0), id="point"),
]


def mask_with(logits, prior=0.01, **kwargs):
    if isinstance(prior, float):
        prior = FixedInclusion(prior)
    mask = BernoulliMask(1, len(logits), prior=prior, **kwargs).double()
    mask.logits.data = torch.tensor([logits], dtype=torch.float64)
    return mask


def test_kl_equals_torch_distributions():
    mask = mask_with(LOGITS[1:-1])
    expected = kl_divergence(
        Bernoulli(logits=mask.logits), Bernoulli(probs=torch.tensor(0.01, dtype=torch.float64))
    )
    torch.testing.assert_close(mask.kl(ROW), expected)


def test_kl_equals_monte_carlo():
    q, prior = 0.3, 0.05
    mask = mask_with([np.log(q / (1 - q))], prior=prior)
    draws = stats.bernoulli(q).rvs(200_000, random_state=0)
    ratio = stats.bernoulli(q).logpmf(draws) - stats.bernoulli(prior).logpmf(draws)
    assert mask.kl(ROW).item() == pytest.approx(ratio.mean(), abs=1e-2)


@pytest.mark.parametrize(("a", "b"), [(1.0, 5.0), (2.5, 0.7)])
@pytest.mark.parametrize("q", [0.05, 0.4, 0.97])
def test_kl_with_a_beta_posterior_equals_quadrature(a, b, q):
    """Of the joint posterior q(m) q(π) from the joint prior."""
    posterior, prior = stats.beta(a + q, b + 1 - q), stats.beta(a, b)

    def integrand(pi):
        log_joint = q * np.log(pi) + (1 - q) * np.log1p(-pi) + prior.logpdf(pi)
        return posterior.pdf(pi) * (posterior.logpdf(pi) - log_joint)

    expected = integrate.quad(integrand, 0, 1, limit=200)[0] - stats.bernoulli(q).entropy()
    mask = mask_with([np.log(q / (1 - q))], prior=BetaInclusion(a, b))
    assert mask.kl(ROW).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("q", [0.05, 0.4, 0.97])
def test_kl_with_a_point_posterior_holds_the_log_density_at_the_point(q):
    a, b = 1.5, 4.0
    point = (a - 1 + q) / (a + b - 1)
    expected = (
        -stats.bernoulli(q).entropy()
        - q * np.log(point)
        - (1 - q) * np.log1p(-point)
        - stats.beta(a, b).logpdf(point)
    )
    mask = mask_with([np.log(q / (1 - q))], prior=BetaPointInclusion(a, b))
    assert mask.kl(ROW).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("prior", PRIORS)
def test_kl_and_its_gradient_are_finite_for_any_logit(prior, dtype):
    mask = mask_with(LOGITS, prior=prior).to(dtype)
    kl = mask.kl(ROW)
    kl.sum().backward()
    assert torch.isfinite(kl).all()
    assert torch.isfinite(mask.logits.grad).all()


def test_entry_that_is_surely_on_costs_the_log_of_its_prior():
    assert mask_with([100.0]).kl(ROW).item() == pytest.approx(-np.log(0.01), rel=1e-9)


@pytest.mark.parametrize("prior", PRIORS)
def test_kl_passes_gradcheck(prior):
    mask = mask_with(LOGITS[2:-2], prior=prior)

    def kl(logits):
        return torch.func.functional_call(mask, {"logits": logits}, (ROW,))

    mask.forward = mask.kl
    assert torch.autograd.gradcheck(kl, mask.logits.detach().requires_grad_())


@pytest.mark.parametrize("prior", PRIORS)
def test_mean_log_ratio_over_both_values_is_the_negative_divergence(prior):
    mask = mask_with(LOGITS[1:-1], prior=prior)
    q = torch.sigmoid(mask.logits)
    on, off = (mask.log_ratio(torch.full_like(q, value).unsqueeze(0), ROW) for value in (1.0, 0.0))
    torch.testing.assert_close(-(q * on + (1 - q) * off)[0], mask.kl(ROW))


def test_samples_are_hard_and_have_the_right_mean():
    mask = mask_with([-2.0, 0.0, 1.5])
    sample = mask.rsample(ROW, 40_000)
    assert set(sample.detach().unique().tolist()) == {0.0, 1.0}
    expected = stats.logistic.cdf([-2.0, 0.0, 1.5])
    np.testing.assert_allclose(sample.detach().mean((0, 1)), expected, atol=0.01)


def test_gradient_of_a_sample_is_that_of_the_relaxation():
    mask = mask_with([0.4], temperature=0.7)
    torch.manual_seed(3)
    mask.rsample(ROW, 1).sum().backward()
    torch.manual_seed(3)
    noise = torch.logit(torch.rand(1, 1, 1, dtype=torch.float64))
    relaxed = torch.sigmoid((0.4 + noise) / 0.7)
    assert mask.logits.grad.item() == pytest.approx((relaxed * (1 - relaxed) / 0.7).item())


def test_temperature_does_not_change_the_sampled_values():
    samples = []
    for temperature in (0.2, 1.0, 5.0):
        torch.manual_seed(1)
        samples.append(mask_with([-1.0, 0.5], temperature=temperature).rsample(ROW, 500))
    assert torch.equal(samples[0], samples[1])
    assert torch.equal(samples[1], samples[2])


@pytest.mark.parametrize("prior", PRIORS)
def test_reset_makes_the_inclusion_that_of_the_prior(prior):
    mask = mask_with([3.0, -3.0], prior=prior)
    mask.reset_to_prior(ROW)
    np.testing.assert_allclose(mask.inclusion(ROW).detach(), prior.mean)


def test_divergence_after_a_reset_is_zero():
    mask = mask_with([3.0, -3.0])
    mask.reset_to_prior(ROW)
    np.testing.assert_allclose(mask.inclusion(ROW).detach(), 0.01)
    np.testing.assert_allclose(mask.kl(ROW).detach(), 0, atol=1e-12)


@pytest.mark.parametrize("inclusion", [0.02, 0.5, 0.9])
def test_optimisation_starts_at_the_given_inclusion(inclusion):
    mask = BernoulliMask(2, 3, prior=FixedInclusion(0.01), initial_inclusion=inclusion)
    np.testing.assert_allclose(mask.inclusion(torch.arange(2)).detach(), inclusion, rtol=1e-5)


def test_full_mask_is_on_everywhere_and_free_of_charge_and_chance():
    mask, rows = FullMask(3), torch.tensor([2, 0])
    state = torch.get_rng_state()
    assert torch.equal(mask.inclusion(rows), torch.ones(2, 3))
    sample = mask.rsample(rows, 5)
    assert torch.equal(sample, torch.ones(5, 2, 3))
    assert torch.equal(mask.kl(rows), torch.zeros(2, 3))
    assert torch.equal(mask.log_ratio(sample, rows), torch.zeros(5, 2, 3))
    mask.reset_to_prior(rows)
    assert torch.equal(torch.get_rng_state(), state)
    assert not list(mask.parameters())
    assert not mask.state_dict()
