"""The correlated effect guide."""

import numpy as np
import pytest
import torch
from scipy import stats

from scvi_sams.module._correlated import CorrelatedEffects
from scvi_sams.module._inclusion_priors import FixedInclusion
from scvi_sams.module._mask import BernoulliMask
from scvi_sams.module._perturbations import PerturbationPosterior
from tests.module.helpers import T, cells, module_of, n_cells_of
from tests.module.toys import activation, linear, softplus

ROWS = torch.arange(3)
PRIOR_SCALE = 1.5


def guide_of(**kwargs) -> CorrelatedEffects:
    torch.manual_seed(0)
    sizes = {"n_hidden": 6, "n_layers": 3} | kwargs
    return CorrelatedEffects(3, 2, prior_scale=PRIOR_SCALE, **sizes).double()


def masks(n=5):
    return (torch.rand(n, 3, 2, dtype=torch.float64) < 0.5).double()


def test_network_of_a_one_hot_code_equals_a_row_of_the_table():
    guide, mask = guide_of(), masks()
    table = guide.from_perturbation.weight.detach().numpy()
    weight = np.concatenate([guide.from_mask.weight.detach().numpy(), table.T], axis=1)
    code = np.broadcast_to(np.eye(3), (5, 3, 3))
    inputs = np.concatenate([mask.numpy(), code], axis=-1)
    hidden = activation(inputs @ weight.T + guide.from_mask.bias.detach().numpy())
    for layer in guide.trunk.layers:
        hidden = hidden + activation(linear(layer, hidden))
    mean, sd = guide.mean_and_sd(mask, ROWS)
    np.testing.assert_allclose(mean.detach(), PRIOR_SCALE * linear(guide.loc, hidden), rtol=1e-6)
    expected = PRIOR_SCALE * (softplus(linear(guide.raw_scale, hidden)) + 1e-6)
    np.testing.assert_allclose(sd.detach(), expected, rtol=1e-6)


def test_effects_depend_on_the_masks_of_other_dimensions_of_their_perturbation_only():
    guide, mask = guide_of(), masks(1)
    before = guide.mean_and_sd(mask, ROWS)[0]
    other = mask.clone()
    other[0, 1, 1] = 1 - other[0, 1, 1]
    after = guide.mean_and_sd(other, ROWS)[0]
    changed = (before != after).squeeze(0)
    assert changed[1].all()
    assert not changed[[0, 2]].any()


def test_samples_have_the_mean_and_spread_that_the_network_says():
    guide = guide_of()
    mask = masks(1).expand(60_000, 3, 2)
    with torch.no_grad():
        effect = guide.rsample(mask, ROWS)
        mean, sd = (value[0] for value in guide.mean_and_sd(mask[:1], ROWS))
    torch.testing.assert_close(effect.mean(0), mean, atol=0.02, rtol=0)
    torch.testing.assert_close(effect.std(0), sd, rtol=0.02, atol=0)


def test_divergence_and_log_ratio_equal_scipy_given_the_masks():
    guide, mask = guide_of(), masks()
    with torch.no_grad():
        mean, sd = guide.mean_and_sd(mask, ROWS)
        effect = guide.rsample(mask, ROWS)
        ratio = guide.log_ratio(effect, mask, ROWS)
        kl = guide.kl(mask, torch.full((3, 2), 0.5).double(), ROWS)
    mean, sd, effect = mean.numpy(), sd.numpy(), effect.numpy()
    expected = stats.norm.logpdf(effect, 0, PRIOR_SCALE) - stats.norm.logpdf(effect, mean, sd)
    np.testing.assert_allclose(ratio, expected, rtol=1e-6)
    relative, location = sd / PRIOR_SCALE, mean / PRIOR_SCALE
    expected = 0.5 * (relative**2 + location**2 - 1) - np.log(relative)
    np.testing.assert_allclose(kl, expected, rtol=1e-6)


def test_reset_gives_the_prior_to_the_rows_and_only_to_them():
    guide, mask = guide_of(), masks()
    before = guide.mean_and_sd(mask, ROWS)
    for rows in ([0, 2], [1]):  # the second replaces the first
        guide.reset_to_prior(torch.tensor(rows))
        mean, sd = guide.mean_and_sd(mask, ROWS)
        assert (mean[:, rows] == 0).all()
        assert (sd[:, rows] == PRIOR_SCALE).all()
        rest = [row for row in range(3) if row not in rows]
        torch.testing.assert_close(mean[:, rest], before[0][:, rest])
        torch.testing.assert_close(sd[:, rest], before[1][:, rest])


def test_means_of_a_rotated_guide_are_rotated_and_do_not_jump_when_masks_are_set_free():
    guide, mask = guide_of(), masks()
    rotation = torch.linalg.qr(torch.randn(2, 2, dtype=torch.float64))[0]
    dense = guide.mean_and_sd(torch.ones_like(mask), ROWS)[0]
    guide.rotate(rotation)
    torch.testing.assert_close(guide.mean_and_sd(mask, ROWS)[0], dense @ rotation)


def test_equal_scales_survive_a_rotation():
    guide, mask = guide_of(), masks()
    guide.raw_scale.weight.data[:] = guide.raw_scale.weight.data[0]
    guide.raw_scale.bias.data[:] = guide.raw_scale.bias.data[0]
    dense = guide.mean_and_sd(torch.ones_like(mask), ROWS)[1]
    guide.rotate(torch.linalg.qr(torch.randn(2, 2, dtype=torch.float64))[0])
    torch.testing.assert_close(guide.mean_and_sd(mask, ROWS)[1], dense)


def test_effect_of_an_entry_that_is_never_on_is_what_the_network_says_if_it_were():
    guide = guide_of()
    inclusion = torch.tensor([[1e-9, 1.0]] * len(ROWS), dtype=torch.float64)
    given_on, _ = guide.mean_and_sd(torch.ones(1, len(ROWS), 2, dtype=torch.float64), ROWS)
    found, _ = guide.mean_and_sd_where_on(inclusion, ROWS)
    torch.testing.assert_close(found[:, 0], given_on[0, :, 0])


def test_divergence_passes_gradcheck():
    guide, mask = guide_of(n_hidden=3, n_layers=2), masks(2)
    guide.forward = guide.kl
    parameters = dict(guide.named_parameters())

    def kl(*values):
        given = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(guide, given, (mask, mask[0], ROWS))

    inputs = tuple(p.detach().requires_grad_() for p in parameters.values())
    assert torch.autograd.gradcheck(kl, inputs)


@pytest.mark.parametrize("objective", ["elbo", "iwelbo"])
def test_network_that_ignores_the_masks_is_a_mean_field(objective):
    settings = {"effect_prior_scale": 1.5, "objective": objective}
    correlated = module_of(effect_guide="correlated", **settings)
    mean_field = module_of(effect_guide="mean_field", **settings)
    guide = correlated.perturbations.effects
    with torch.no_grad():
        guide.from_mask.weight.zero_()
        guide.raw_scale.bias.uniform_(-1, 1)
        hidden = guide.trunk(guide.from_mask.bias + guide.from_perturbation.weight)
        mean_field.load_state_dict(
            {k: v for k, v in correlated.state_dict().items() if "perturbations.effects" not in k}
            | {
                "perturbations.effects.relative_loc": guide.loc(hidden),
                "perturbations.effects.raw_scale": guide.raw_scale(hidden),
            }
        )
    tensors, losses = cells(), []
    for module in (correlated, mean_field):
        module.perturbations.set_n_cells(n_cells_of(tensors))
        torch.manual_seed(4)
        losses.append(module(tensors, inference_kwargs={"n_samples": 3})[2])
    torch.testing.assert_close(losses[0].loss, losses[1].loss, rtol=1e-5, atol=1e-5)
    for key, value in losses[0].kl_local.items():
        torch.testing.assert_close(losses[1].kl_local[key], value, rtol=1e-5, atol=1e-5)


def posterior_of(n_latent=3):
    torch.manual_seed(0)
    posterior = PerturbationPosterior(
        BernoulliMask(T, n_latent, prior=FixedInclusion(0.1)),
        CorrelatedEffects(T, n_latent, prior_scale=PRIOR_SCALE, n_hidden=16),
        T,
        n_latent,
    )
    posterior.masks.logits.data.normal_()
    posterior.effects.loc.weight.data.mul_(4)
    return posterior


def test_expected_shifts_and_effects_equal_monte_carlo():
    posterior = posterior_of()
    with torch.no_grad():
        draw = posterior.rsample(posterior.everything, 40_000)
        mean, sd = posterior.effect_mean_and_sd()
    torch.testing.assert_close(posterior.expected_shifts(), draw.shift.mean(0), atol=0.06, rtol=0)
    on = draw.mask.sum(0)
    average = draw.shift.sum(0) / on
    torch.testing.assert_close(mean, average, atol=0.08, rtol=0)
    spread = ((draw.mask * (draw.effect - average) ** 2).sum(0) / on).sqrt()
    torch.testing.assert_close(sd, spread, atol=0.08, rtol=0.05)


def test_expected_effects_are_the_same_at_every_call():
    posterior = posterior_of()
    state = torch.get_rng_state()
    first = posterior.effect_mean_and_sd()
    assert torch.equal(torch.get_rng_state(), state)
    for found, expected in zip(posterior.effect_mean_and_sd(), first, strict=True):
        assert torch.equal(found, expected)


def test_effect_of_a_dimension_that_is_never_on_is_finite():
    posterior = posterior_of()
    posterior.masks.logits.data[:, 1] = -60.0
    for value in posterior.effect_mean_and_sd():
        assert torch.isfinite(value).all()
    assert (posterior.expected_shifts()[:, 1].abs() < 1e-6).all()


def test_expected_shifts_of_some_rows_are_those_among_all():
    posterior, rows = posterior_of(), torch.tensor([2, 0])
    every = posterior.effect_mean_and_sd()
    for found, everything in zip(posterior.effect_mean_and_sd(rows), every, strict=True):
        torch.testing.assert_close(found, everything[rows])
    torch.testing.assert_close(posterior.expected_shifts(rows), posterior.expected_shifts()[rows])
