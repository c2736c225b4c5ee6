"""Latent states of cells."""

import numpy as np
import pytest
import torch

from tests.conftest import offsets_of


def test_latent_state_is_the_encoder_at_the_expected_offset(model):
    module = model.module
    with torch.no_grad():
        shift = offsets_of(model, module.perturbations.expected_shifts())
        state = module.encoder(torch.as_tensor(model.adata.X.toarray()), shift)
    basal = model.get_latent_representation(kind="basal")
    np.testing.assert_allclose(basal, state.loc, atol=1e-5)
    np.testing.assert_allclose(model.get_latent_representation(), state.loc + shift, atol=1e-5)
    mean, variance = model.get_latent_representation(return_dist=True)
    np.testing.assert_allclose(mean, state.loc + shift, atol=1e-5)
    np.testing.assert_allclose(variance, state.variance, atol=1e-5)


def test_samples_of_the_latent_state_vary_around_their_mean(model):
    draws = np.stack([model.get_latent_representation(give_mean=False) for _ in range(60)])
    control = model.adata.obs["perturbation"].to_numpy() == "control"
    mean, variance = model.get_latent_representation(return_dist=True)
    np.testing.assert_allclose(draws[:, control].mean(0).mean(), mean[control].mean(), atol=0.1)
    assert draws[:, control].var(0).mean() == pytest.approx(variance[control].mean(), rel=0.2)


def test_subset_of_cells_and_own_dataloader(model):
    everything = model.get_latent_representation()
    np.testing.assert_allclose(
        model.get_latent_representation(indices=[3, 7]), everything[[3, 7]], atol=1e-6
    )
    loader = model._make_data_loader(model.adata, batch_size=50)
    np.testing.assert_allclose(
        model.get_latent_representation(dataloader=loader), everything, atol=1e-6
    )


def test_unknown_kind_raises(model):
    with pytest.raises(ValueError, match="'perturbed' or 'basal'; it is 'both'"):
        model.get_latent_representation(kind="both")
