"""Effect guides: closed forms against torch, Monte Carlo and each other."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from scvi_sams.module._effects import GaussianEffects, gaussian_kl, inverse_softplus
from scvi_sams.module._mean_field import MeanFieldEffects
from scvi_sams.module._spike_slab import SpikeSlabEffects

GUIDES = [
    pytest.param(MeanFieldEffects, id="mean_field"),
    pytest.param(SpikeSlabEffects, id="spike_slab"),
]
ROWS = torch.arange(3)
INCLUSION = torch.tensor([[0.0, 1.0], [0.2, 0.9], [0.5, 0.5]], dtype=torch.float64)
MASK = torch.ones(1, 3, 2, dtype=torch.float64)
PRIOR_SCALE = 1.5


def guide_of(cls, prior_scale=PRIOR_SCALE) -> GaussianEffects:
    torch.manual_seed(0)
    guide = cls(3, 2, prior_scale=prior_scale).double()
    guide.relative_loc.data.normal_()
    guide.raw_scale.data.normal_()
    return guide


def loc_and_scale(guide):
    """What the parameters stand for, apart from the guide's own reading of them."""
    return (
        guide.prior_scale * guide.relative_loc.detach(),
        guide.prior_scale * torch.log1p(guide.raw_scale.detach().exp()),
    )


def kl_of(guide, rows=ROWS, inclusion=INCLUSION):
    return guide.kl(MASK[:, rows], inclusion[rows], rows).detach()


@pytest.mark.parametrize("cls", GUIDES)
def test_parameters_are_relative_to_the_prior(cls):
    guide = guide_of(cls)
    mean, sd = guide.mean_and_sd(MASK, ROWS)
    loc, scale = loc_and_scale(guide)
    torch.testing.assert_close(mean, loc)
    torch.testing.assert_close(sd, scale)


def test_gaussian_kl_equals_torch_distributions():
    loc, scale = loc_and_scale(guide_of(SpikeSlabEffects))
    expected = kl_divergence(Normal(loc, scale), Normal(0.0, PRIOR_SCALE))
    torch.testing.assert_close(gaussian_kl(loc, scale, PRIOR_SCALE), expected)


def test_gaussian_kl_equals_monte_carlo():
    guide = guide_of(MeanFieldEffects)
    loc, scale = loc_and_scale(guide)
    posterior = stats.norm(loc[2, 1].item(), scale[2, 1].item())
    effect = posterior.rvs(400_000, random_state=0)
    estimate = (posterior.logpdf(effect) - stats.norm.logpdf(effect, 0, PRIOR_SCALE)).mean()
    assert kl_of(guide)[2, 1].item() == pytest.approx(estimate, abs=1e-2)


def test_mean_field_kl_ignores_the_mask():
    guide = guide_of(MeanFieldEffects)
    expected = gaussian_kl(*loc_and_scale(guide), PRIOR_SCALE)
    torch.testing.assert_close(kl_of(guide), expected)
    torch.testing.assert_close(guide.kl(0 * MASK, INCLUSION, ROWS).detach(), expected)


def test_spike_slab_kl_equals_monte_carlo():
    guide = guide_of(SpikeSlabEffects)
    loc, scale = loc_and_scale(guide)
    rng = np.random.default_rng(0)
    q = INCLUSION[1, 0].item()
    slab = stats.norm(loc[1, 0].item(), scale[1, 0].item())
    prior = stats.norm(0, PRIOR_SCALE)
    included = rng.random(400_000) < q
    effect = np.where(
        included, slab.rvs(400_000, random_state=rng), prior.rvs(400_000, random_state=rng)
    )
    log_q = np.where(included, slab.logpdf(effect), prior.logpdf(effect))
    estimate = (log_q - prior.logpdf(effect)).mean()
    assert kl_of(guide)[1, 0].item() == pytest.approx(estimate, abs=1e-2)


def test_spike_slab_bound_is_never_looser():
    assert (kl_of(guide_of(SpikeSlabEffects)) <= kl_of(guide_of(MeanFieldEffects))).all()


@pytest.mark.parametrize("cls", GUIDES)
def test_kl_does_not_depend_on_the_unit_of_the_prior(cls):
    torch.testing.assert_close(kl_of(guide_of(cls, 1.0)), kl_of(guide_of(cls, 7.0)))


@pytest.mark.parametrize("cls", GUIDES)
def test_mean_log_ratio_of_samples_is_the_negative_divergence(cls):
    guide = guide_of(cls)
    mask = (torch.rand(200_000, 3, 2, dtype=torch.float64) < INCLUSION).double()
    with torch.no_grad():
        ratio = guide.log_ratio(guide.rsample(mask, ROWS), mask, ROWS)
    torch.testing.assert_close(-ratio.mean(0), kl_of(guide), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("on", [0.0, 1.0], ids=["mask-off", "mask-on"])
@pytest.mark.parametrize("cls", GUIDES)
def test_log_ratio_equals_scipy(cls, on):
    guide = guide_of(cls)
    loc, scale = loc_and_scale(guide)
    effect = torch.randn(4, 3, 2, dtype=torch.float64)
    expected = stats.norm.logpdf(effect, 0, PRIOR_SCALE) - stats.norm.logpdf(effect, loc, scale)
    if cls is SpikeSlabEffects:
        expected = on * expected  # off the mask the guide is the prior
    found = guide.log_ratio(effect, torch.full_like(effect, on), ROWS).detach()
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("cls", GUIDES)
def test_kl_passes_gradcheck(cls):
    guide = guide_of(cls)

    def kl(loc, raw_scale, inclusion):
        parameters = {"relative_loc": loc, "raw_scale": raw_scale}
        return torch.func.functional_call(guide, parameters, (MASK, inclusion, ROWS))

    guide.forward = guide.kl
    inputs = (guide.relative_loc, guide.raw_scale, INCLUSION)
    assert torch.autograd.gradcheck(kl, tuple(x.detach().requires_grad_() for x in inputs))


@pytest.mark.parametrize("cls", GUIDES)
def test_shift_is_zero_off_the_mask_and_gaussian_on_it(cls):
    guide = guide_of(cls)
    loc, scale = loc_and_scale(guide)
    mask = torch.ones(60_000, 3, 2, dtype=torch.float64)
    mask[:, 0, 0] = 0
    shift = (mask * guide.rsample(mask, ROWS)).detach()
    assert (shift[:, 0, 0] == 0).all()
    on = (slice(None), 1, 1)
    assert shift[on].mean().item() == pytest.approx(loc[1, 1].item(), abs=0.03)
    assert shift[on].std().item() == pytest.approx(scale[1, 1].item(), rel=0.02)


@pytest.mark.parametrize("cls", GUIDES)
def test_reset_makes_the_posterior_the_prior(cls):
    guide = guide_of(cls)
    guide.reset_to_prior(torch.tensor([1]))
    mean, sd = guide.mean_and_sd(MASK, torch.tensor([1]))
    np.testing.assert_allclose(mean.detach(), 0)
    np.testing.assert_allclose(sd.detach(), PRIOR_SCALE)
    everywhere = torch.ones_like(INCLUSION)
    np.testing.assert_allclose(kl_of(guide, torch.tensor([1]), everywhere), 0, atol=1e-12)
    assert (kl_of(guide, torch.tensor([0]), everywhere) > 0).all()


@pytest.mark.parametrize("cls", GUIDES)
def test_rotation_takes_locations_along_and_keeps_the_diagonal_of_the_covariance(cls):
    guide = guide_of(cls)
    loc, scale = loc_and_scale(guide)
    angle = 0.7
    rotation = torch.tensor(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], dtype=torch.float64
    )
    guide.rotate(rotation)
    mean, sd = guide.mean_and_sd(MASK, ROWS)
    torch.testing.assert_close(mean.detach(), loc @ rotation)
    for t in range(3):
        covariance = rotation.T @ torch.diag(scale[t] ** 2) @ rotation
        torch.testing.assert_close(sd[t].detach() ** 2, covariance.diagonal())


@pytest.mark.parametrize("value", [1e-4, 0.1, 1.0, 50.0])
def test_inverse_softplus_undoes_softplus(value):
    value = torch.tensor(value, dtype=torch.float64)
    torch.testing.assert_close(F.softplus(inverse_softplus(value), threshold=100), value)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_impossible_prior_scale_raises(scale):
    with pytest.raises(ValueError, match="must be positive"):
        MeanFieldEffects(2, 2, prior_scale=scale)
