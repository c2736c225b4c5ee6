"""Masks: closed forms against independent computations."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Bernoulli, kl_divergence

from scvi_sams.module._mask import BernoulliMask

LOGITS = [-100.0, -17.0, -2.0, 0.0, 0.3, 17.0, 100.0]


def mask_with(logits, **kwargs):
    mask = BernoulliMask(1, len(logits), **{"prior": 0.01} | kwargs).double()
    mask.logits.data = torch.tensor([logits], dtype=torch.float64)
    return mask


def test_kl_equals_torch_distributions():
    mask = mask_with(LOGITS[1:-1])
    expected = kl_divergence(
        Bernoulli(logits=mask.logits), Bernoulli(probs=torch.tensor(0.01, dtype=torch.float64))
    )
    torch.testing.assert_close(mask.kl(torch.tensor([0])), expected)


def test_kl_equals_monte_carlo():
    q, prior = 0.3, 0.05
    mask = mask_with([np.log(q / (1 - q))], prior=prior)
    draws = stats.bernoulli(q).rvs(200_000, random_state=0)
    ratio = stats.bernoulli(q).logpmf(draws) - stats.bernoulli(prior).logpmf(draws)
    assert mask.kl(torch.tensor([0])).item() == pytest.approx(ratio.mean(), abs=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_kl_and_its_gradient_are_finite_for_any_logit(dtype):
    mask = mask_with(LOGITS).to(dtype)
    kl = mask.kl(torch.tensor([0]))
    kl.sum().backward()
    assert torch.isfinite(kl).all()
    assert torch.isfinite(mask.logits.grad).all()
    # an entry that is surely on costs -log π
    assert kl[0, -1].item() == pytest.approx(-np.log(0.01), rel=1e-5)


def test_kl_passes_gradcheck():
    mask = mask_with(LOGITS[1:-1])

    def kl(logits):
        return torch.func.functional_call(mask, {"logits": logits}, (torch.tensor([0]),))

    mask.forward = mask.kl
    assert torch.autograd.gradcheck(kl, mask.logits.detach().requires_grad_())


def test_samples_are_hard_and_have_the_right_mean():
    mask = mask_with([-2.0, 0.0, 1.5])
    sample = mask.rsample(torch.tensor([0]), 40_000)
    assert set(sample.detach().unique().tolist()) == {0.0, 1.0}
    expected = stats.logistic.cdf([-2.0, 0.0, 1.5])
    np.testing.assert_allclose(sample.detach().mean((0, 1)), expected, atol=0.01)


def test_gradient_of_a_sample_is_that_of_the_relaxation():
    mask = mask_with([0.4], temperature=0.7)
    torch.manual_seed(3)
    mask.rsample(torch.tensor([0]), 1).sum().backward()
    torch.manual_seed(3)
    noise = torch.logit(torch.rand(1, 1, 1, dtype=torch.float64))
    relaxed = torch.sigmoid((0.4 + noise) / 0.7)
    assert mask.logits.grad.item() == pytest.approx((relaxed * (1 - relaxed) / 0.7).item())


def test_reset_makes_the_posterior_the_prior():
    mask = mask_with([3.0, -3.0])
    mask.reset_to_prior(torch.tensor([0]))
    np.testing.assert_allclose(mask.inclusion_probability.detach(), 0.01)
    np.testing.assert_allclose(mask.kl(torch.tensor([0])).detach(), 0, atol=1e-12)


@pytest.mark.parametrize("prior", [0.0, 1.0, -1.0, 2.0])
def test_impossible_prior_raises(prior):
    with pytest.raises(ValueError, match=r"must be a probability in \(0, 1\)"):
        BernoulliMask(2, 2, prior=prior)
