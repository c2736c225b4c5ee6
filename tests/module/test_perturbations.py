"""The global variables and their shares."""

import numpy as np
import pytest
import torch

from scvi_sams.module._inclusion_priors import FixedInclusion
from scvi_sams.module._mask import BernoulliMask
from scvi_sams.module._perturbations import PerturbationPosterior, offset
from scvi_sams.module._spike_slab import SpikeSlabEffects


@pytest.fixture
def posterior():
    torch.manual_seed(0)
    posterior = PerturbationPosterior(
        BernoulliMask(4, 3, prior=FixedInclusion(0.1)),
        SpikeSlabEffects(4, 3, prior_scale=1.0),
        4,
        3,
    )
    posterior.masks.logits.data.normal_()
    posterior.effects.relative_loc.data.normal_()
    return posterior


def kl_of(posterior):
    """Divergences of masks and effects of all perturbations."""
    return posterior.kl(posterior.rsample(posterior.everything, 2))


def test_shares_over_all_cells_count_each_perturbation_once(posterior):
    # cells: {0}, {0, 1}, {1, 3}, control, {3 at dose 0.5}
    index = torch.tensor([[0, 0], [0, 1], [1, 3], [0, 0], [3, 0]])
    dosage = torch.tensor([[1, 0], [1, 1], [2, 1], [0, 0], [0.5, 0]])
    posterior.set_n_cells(torch.tensor([2.0, 2.0, 0.0, 2.0]))
    shares = posterior.shares(index, dosage)
    total = torch.zeros(4).index_add(0, index.ravel(), shares.ravel())
    torch.testing.assert_close(total, torch.tensor([1.0, 1.0, 0.0, 1.0]))


def test_perturbation_without_training_cell_is_its_prior_and_has_no_share(posterior):
    posterior.set_n_cells(torch.tensor([2.0, 2.0, 0.0, 2.0]))
    kl_mask, kl_effects = kl_of(posterior)
    np.testing.assert_allclose((kl_mask + kl_effects)[2].item(), 0, atol=1e-6)
    assert (kl_mask + kl_effects)[[0, 1, 3]].min() > 0.1
    assert posterior.shares(torch.tensor([[2]]), torch.tensor([[1.0]])).item() == 0


def test_expected_shift_is_the_mean_of_samples(posterior):
    samples = posterior.rsample(posterior.everything, 50_000).shift
    np.testing.assert_allclose(
        samples.mean(0).detach(), posterior.expected_shifts().detach(), atol=0.03
    )


def test_offset_is_additive_and_linear_in_dose():
    shifts = torch.randn(2, 5, 3)
    index = torch.tensor([[0, 0], [1, 4], [3, 0]])
    dosage = torch.tensor([[0.0, 0.0], [1.0, 0.5], [2.0, 0.0]])
    result = offset(shifts, index, dosage)
    expected = torch.stack(
        [torch.zeros(2, 3), shifts[:, 1] + 0.5 * shifts[:, 4], 2 * shifts[:, 3]], dim=1
    )
    torch.testing.assert_close(result, expected)


def test_masks_are_full_until_they_are_free(posterior):
    assert posterior.mask is posterior.masks
    posterior.masks_are_free.fill_(False)
    assert posterior.mask is posterior.full_mask
    assert torch.equal(posterior.inclusion_probability, torch.ones(4, 3))
    kl_mask, kl_effects = kl_of(posterior)
    assert (kl_mask == 0).all()
    assert (kl_effects > 0).all()
    torch.testing.assert_close(
        posterior.expected_shifts(), posterior.effects.relative_loc.detach()
    )


def test_whether_masks_are_free_is_saved(posterior):
    posterior.masks_are_free.fill_(False)
    assert not posterior.state_dict()["masks_are_free"]


def test_draw_splits_by_particles_and_keeps_them_all(posterior):
    draw = posterior.rsample(torch.tensor([3, 1]), 7)
    parts = draw.split(3)
    assert [len(part.mask) for part in parts] == [3, 3, 1]
    assert all(torch.equal(part.rows, draw.rows) for part in parts)
    assert torch.equal(torch.cat([part.shift for part in parts]), draw.mask * draw.effect)


def test_divergence_of_some_rows_is_that_of_these_rows(posterior):
    rows = torch.tensor([2, 0])
    some = posterior.kl(posterior.rsample(rows, 3))
    for found, everything in zip(some, kl_of(posterior), strict=True):
        torch.testing.assert_close(found, everything[rows])


def test_mean_and_spread_of_effects_are_those_of_the_parameters(posterior):
    """Also where the spread is small beside the mean."""
    effects = posterior.effects
    effects.relative_loc.data.mul_(30)
    effects.raw_scale.data.uniform_(-8, 1)
    mean, sd = posterior.effect_mean_and_sd()
    torch.testing.assert_close(mean, effects.relative_loc.detach())
    torch.testing.assert_close(sd, effects.raw_scale.detach().exp().log1p(), rtol=1e-4, atol=1e-5)
