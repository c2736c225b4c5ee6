"""Effects of perturbations on latent dimensions."""

import numpy as np
import pytest
import scvi
import torch

import scvi_sams as sams
from tests.conftest import set_up, trained


def test_effects_are_the_posterior(model):
    effects = model.get_perturbation_effects()
    q = effects.layers["inclusion_probability"]
    np.testing.assert_allclose(effects.X, q * effects.layers["effect_mean"], rtol=1e-6)
    draws = model.module.perturbations.rsample(torch.arange(6), 20_000).shift.detach()
    np.testing.assert_allclose(effects.X, draws.mean(0), atol=0.02)
    assert list(effects.obs_names) == [f"pert_{t}" for t in range(6)]
    assert (effects.layers["effect_sd"] > 0).all()


@pytest.mark.parametrize("guide", ["mean_field", "spike_slab", "correlated"])
def test_each_guide_trains(screen, guide):
    effects = trained(screen, effect_guide=guide).get_perturbation_effects()
    assert np.isfinite(effects.X).all()


@pytest.mark.slow
def test_recovers_null_perturbations_and_effects_of_an_easy_screen():
    """A trained model finds what was planted, on the whole, and nothing where nothing was."""
    scvi.settings.seed = 0
    adata = sams.datasets.simulate(
        12,
        n_cells_per_perturbation=60,
        n_control=200,
        n_genes=60,
        n_latent=3,
        effect_size=4,
        n_batches=1,
        seed=2,
    )
    set_up(adata)
    model = sams.SAMSVAE(adata, n_latent=3, n_hidden=32)
    model.train(max_epochs=200, batch_size=128, enable_progress_bar=False, accelerator="cpu")
    truth = adata.uns["truth"]
    inclusion = model.get_perturbation_effects().layers["inclusion_probability"]
    null = truth["masks"].sum(1) == 0
    assert (inclusion[null] > 0.5).mean() < 0.1
    ate = model.get_average_treatment_effects()
    r = np.corrcoef(ate.X.ravel(), truth["average_treatment_effects"].ravel())[0, 1]
    assert r > 0.9
