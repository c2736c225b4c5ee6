"""The global variables and their shares."""

import numpy as np
import pytest
import torch

from scvi_sams.module._mask import BernoulliMask
from scvi_sams.module._perturbations import PerturbationPosterior, offset
from scvi_sams.module._spike_slab import SpikeSlabEffects


@pytest.fixture
def posterior():
    torch.manual_seed(0)
    posterior = PerturbationPosterior(
        BernoulliMask(4, 3, prior=0.1), SpikeSlabEffects(4, 3, prior_scale=1.0)
    )
    posterior.mask.logits.data.normal_()
    posterior.effects.loc.data.normal_()
    return posterior


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
    kl_mask, kl_effects = posterior.kl(torch.arange(4))
    np.testing.assert_allclose((kl_mask + kl_effects)[2].item(), 0, atol=1e-6)
    assert (kl_mask + kl_effects)[[0, 1, 3]].min() > 0.1
    assert posterior.shares(torch.tensor([[2]]), torch.tensor([[1.0]])).item() == 0


def test_expected_shift_is_the_mean_of_samples(posterior):
    samples = posterior.rsample_shifts(torch.arange(4), 50_000)
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
