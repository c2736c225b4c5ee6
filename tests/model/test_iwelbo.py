"""Predictive likelihoods of cells."""

import numpy as np
import pytest
import torch
from scipy import stats

from tests.conftest import offsets_of


def test_predictive_iwelbo_equals_a_direct_computation(model):
    n_particles, rows = 7, [0, 5, 100, 180]
    torch.manual_seed(11)
    found = model.get_predictive_iwelbo(indices=rows, n_particles=n_particles)
    torch.manual_seed(11)
    module = model.module
    with torch.no_grad():
        draw = module.perturbations.rsample(torch.arange(6), n_particles)
        shift = offsets_of(model, draw.shift)[:, rows]
        # a data loader draws a seed of its own
        x = next(iter(model._make_data_loader(model.adata, indices=rows)))["X"]
        qz = module.encoder(x, shift)
        z = qz.rsample()
        batch = torch.tensor(model.adata.obs["_scvi_batch"].to_numpy()[rows]).long()
        hidden = module.decoder(z + shift, torch.eye(2)[batch])
        share = module.likelihood.to_genes(hidden).softmax(-1)
        theta = module.likelihood.log_dispersion.exp()
    mean = share * x.sum(1, keepdim=True)
    log_weight = (
        stats.nbinom.logpmf(x, theta, theta / (theta + mean)).sum(-1)
        + stats.norm.logpdf(z).sum(-1)
        - stats.norm.logpdf(z, qz.loc, qz.scale).sum(-1)
    )
    expected = np.log(np.exp(log_weight - log_weight.max(0)).mean(0)) + log_weight.max(0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert list(found.index) == list(model.adata.obs_names[rows])


def test_predictive_iwelbo_grows_with_particles_on_average(model):
    few = np.mean([model.get_predictive_iwelbo(n_particles=1).mean() for _ in range(5)])
    assert model.get_predictive_iwelbo(n_particles=50).mean() > few


def test_predictive_iwelbo_of_a_boolean_selection(model):
    chosen = (model.adata.obs["perturbation"] == "pert_1").to_numpy()
    values = model.get_predictive_iwelbo(indices=chosen, n_particles=2)
    assert list(values.index) == list(model.adata.obs_names[chosen])


def test_predictive_iwelbo_of_no_cells_raises(model):
    with pytest.raises(ValueError, match="chooses no cells"):
        model.get_predictive_iwelbo(indices=[])


def test_particles_must_be_positive(model):
    with pytest.raises(ValueError, match="at least 1; it is 0"):
        model.get_predictive_iwelbo(n_particles=0)
