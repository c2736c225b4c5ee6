"""Effect guides: closed forms against torch, Monte Carlo and each other."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Normal, kl_divergence

from scvi_sams.module._effects import EffectGuide
from scvi_sams.module._mean_field import MeanFieldEffects
from scvi_sams.module._spike_slab import SpikeSlabEffects

GUIDES = [
    pytest.param(MeanFieldEffects, id="mean_field"),
    pytest.param(SpikeSlabEffects, id="spike_slab"),
]
ROWS = torch.arange(3)
INCLUSION = torch.tensor([[0.0, 1.0], [0.2, 0.9], [0.5, 0.5]], dtype=torch.float64)


def guide_of(cls, prior_scale=1.5) -> EffectGuide:
    torch.manual_seed(0)
    guide = cls(3, 2, prior_scale=prior_scale).double()
    guide.loc.data.normal_()
    guide.raw_scale.data.normal_()
    return guide


def test_gaussian_kl_equals_torch_distributions():
    guide = guide_of(SpikeSlabEffects)
    expected = kl_divergence(Normal(guide.loc, guide.scale), Normal(0.0, 1.5))
    torch.testing.assert_close(guide.gaussian_kl(ROWS), expected)


def test_gaussian_kl_equals_monte_carlo():
    guide = guide_of(MeanFieldEffects)
    posterior = stats.norm(guide.loc[2, 1].item(), guide.scale[2, 1].item())
    effect = posterior.rvs(400_000, random_state=0)
    estimate = (posterior.logpdf(effect) - stats.norm.logpdf(effect, 0, 1.5)).mean()
    assert guide.kl(INCLUSION, ROWS)[2, 1].item() == pytest.approx(estimate, abs=1e-2)


def test_mean_field_kl_ignores_the_mask():
    guide = guide_of(MeanFieldEffects)
    torch.testing.assert_close(guide.kl(INCLUSION, ROWS), guide.gaussian_kl(ROWS))


def test_spike_slab_kl_equals_monte_carlo():
    guide = guide_of(SpikeSlabEffects)
    rng = np.random.default_rng(0)
    q = INCLUSION[1, 0].item()
    slab = stats.norm(guide.loc[1, 0].item(), guide.scale[1, 0].item())
    prior = stats.norm(0, 1.5)
    included = rng.random(400_000) < q
    effect = np.where(
        included, slab.rvs(400_000, random_state=rng), prior.rvs(400_000, random_state=rng)
    )
    log_q = np.where(included, slab.logpdf(effect), prior.logpdf(effect))
    estimate = (log_q - prior.logpdf(effect)).mean()
    assert guide.kl(INCLUSION, ROWS)[1, 0].item() == pytest.approx(estimate, abs=1e-2)


def test_spike_slab_bound_is_never_looser():
    spike_slab, mean_field = guide_of(SpikeSlabEffects), guide_of(MeanFieldEffects)
    assert (spike_slab.kl(INCLUSION, ROWS) <= mean_field.kl(INCLUSION, ROWS)).all()


@pytest.mark.parametrize("cls", GUIDES)
def test_kl_passes_gradcheck(cls):
    guide = guide_of(cls)

    def kl(loc, raw_scale, inclusion):
        parameters = {"loc": loc, "raw_scale": raw_scale}
        return torch.func.functional_call(guide, parameters, (inclusion, ROWS))

    guide.forward = guide.kl
    inputs = (guide.loc, guide.raw_scale, INCLUSION)
    assert torch.autograd.gradcheck(kl, tuple(x.detach().requires_grad_() for x in inputs))


@pytest.mark.parametrize("cls", GUIDES)
def test_shift_is_zero_off_the_mask_and_gaussian_on_it(cls):
    guide = guide_of(cls)
    mask = torch.ones(60_000, 3, 2, dtype=torch.float64)
    mask[:, 0, 0] = 0
    shift = guide.rsample_shift(mask, ROWS).detach()
    assert (shift[:, 0, 0] == 0).all()
    on = (slice(None), 1, 1)
    assert shift[on].mean().item() == pytest.approx(guide.loc[1, 1].item(), abs=0.02)
    assert shift[on].std().item() == pytest.approx(guide.scale[1, 1].item(), rel=0.02)


@pytest.mark.parametrize("cls", GUIDES)
def test_reset_makes_the_posterior_the_prior(cls):
    guide = guide_of(cls)
    guide.reset_to_prior(torch.tensor([1]))
    np.testing.assert_allclose(guide.gaussian_kl(torch.tensor([1])).detach(), 0, atol=1e-12)
    assert (guide.gaussian_kl(torch.tensor([0])) > 0).all()


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_impossible_prior_scale_raises(scale):
    with pytest.raises(ValueError, match="must be positive"):
        MeanFieldEffects(2, 2, prior_scale=scale)
