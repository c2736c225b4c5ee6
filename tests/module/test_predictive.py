"""Importance-weighted likelihoods."""

import numpy as np
import pytest
import torch
from scipy import stats

from scvi_sams.module._perturbations import unpack
from scvi_sams.module._predictive import log_mean_exp
from tests.module.helpers import VARIANTS, cells, module_of
from tests.module.toys import LinearGaussian


def test_importance_weights_equal_a_direct_computation():
    module, tensors = module_of(), cells()
    posterior = module.perturbations
    draw = posterior.rsample(posterior.everything, 2)
    shifts = draw.shift.detach()
    torch.manual_seed(7)
    weights = module.log_importance_weights(tensors, 2, draw)
    index, dosage = unpack(tensors["perturbations"])
    torch.manual_seed(7)
    shift = torch.stack([sum(dosage[:, [d]] * s[index[:, d]] for d in range(2)) for s in shifts])
    qz = module.encoder(tensors["X"], shift)
    z = qz.rsample().detach()
    logits = module.likelihood.to_genes(module.decoder(z + shift, torch.zeros(12, 0)))
    share = logits.softmax(-1).detach()
    theta = module.likelihood.log_dispersion.exp().detach()
    mean = share * tensors["X"].sum(1, keepdim=True)
    expected = (
        stats.nbinom.logpmf(tensors["X"], theta, theta / (theta + mean)).sum(-1)
        + stats.norm.logpdf(z).sum(-1)
        - stats.norm.logpdf(z, qz.loc.detach(), qz.scale.detach()).sum(-1)
    )
    np.testing.assert_allclose(weights, expected, rtol=1e-4)


def test_marginal_likelihood_of_a_linear_model_is_the_closed_form():
    toy = LinearGaussian()
    found = toy.module.marginal_ll(toy.tensors(), 200_000, n_mc_samples_per_pass=100_000)
    # z^b and e are Gaussian, so cells are Gaussian given their mask; e is not scored
    off = stats.norm.pdf(toy.x, 0, np.hypot(toy.a, toy.s))
    spread = np.sqrt(toy.a**2 * (1 + toy.sd**2) + toy.s**2)
    on = stats.norm.pdf(toy.x, toy.a * toy.mu, spread)
    q = toy.q * toy.received
    np.testing.assert_allclose(found, np.log(q * on + (1 - q) * off), atol=0.05)
    mean = toy.module.marginal_ll(
        toy.tensors(), 50_000, return_mean=True, n_mc_samples_per_pass=50_000
    )
    assert mean == pytest.approx(found.mean().item(), abs=0.05)


def test_log_mean_exp_of_equal_values_is_that_value():
    torch.testing.assert_close(log_mean_exp(torch.full((7, 2), -900.0)), torch.full((2,), -900.0))


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_marginal_likelihood_is_above_the_bound_without_global_terms(settings):
    module, tensors = module_of(**settings), cells()
    with torch.no_grad():
        losses = module(tensors, inference_kwargs={"n_samples": 500})[2]
    bound = -(losses.reconstruction_loss["reconstruction_loss"] + losses.kl_local["kl_z"])
    estimate = module.marginal_ll(tensors, 400, n_mc_samples_per_pass=200)
    assert estimate.shape == (12,)
    assert (estimate > bound).all()
