"""The networks and the likelihood."""

import numpy as np
import pytest
import torch
from scipy import stats
from scvi.distributions import NegativeBinomial as ScviNegativeBinomial
from torch import nn
from torch.nn import functional as F

from scvi_sams.module._likelihood import NegativeBinomial
from scvi_sams.module._networks import BasalEncoder, Decoder


def test_split_first_layer_equals_concatenation():
    torch.manual_seed(0)
    encoder = BasalEncoder(6, 2, 8, 1, sees_offset=True)
    x, offset = torch.rand(4, 6) * 9, torch.randn(3, 4, 2)
    joint = nn.Linear(8, 8)
    joint.weight.data = torch.cat([encoder.from_counts.weight, encoder.from_offset.weight], 1)
    joint.bias.data = encoder.from_counts.bias
    inputs = torch.cat([torch.log1p(x).expand(3, 4, 6), offset], dim=-1)
    torch.testing.assert_close(
        encoder(x, offset).loc, encoder.loc(F.leaky_relu(joint(inputs))), rtol=1e-5, atol=1e-6
    )


def test_mean_field_encoder_does_not_see_the_offset():
    encoder = BasalEncoder(6, 2, 8, 2, sees_offset=False)
    x = torch.rand(4, 6)
    posterior = encoder(x, torch.randn(3, 4, 2))
    assert posterior.loc.shape == (3, 4, 2)
    torch.testing.assert_close(posterior.loc[0], posterior.loc[2])


def test_constant_gene_reads_as_zero():
    encoder = BasalEncoder(2, 1, 4, 1, sees_offset=False)
    encoder.set_standardisation(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0]))
    assert encoder.inverse_sd.tolist() == [0.0, 0.5]


def test_softmax_shares_sum_to_one_and_start_at_the_data():
    decoder = Decoder(2, 0, 5, 8, 3, sums_to_one=True)
    share = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.0])
    decoder.start_at(share)
    decoder.to_genes.weight.data.zero_()
    log_share = decoder(torch.randn(7, 2), torch.zeros(7, 0))
    torch.testing.assert_close(log_share.exp(), share.expand(7, 5), rtol=1e-4, atol=1e-6)


def test_softplus_shares_start_at_the_data_and_stay_finite():
    decoder = Decoder(2, 0, 3, 8, 1, sums_to_one=False)
    share = torch.tensor([0.01, 2.0, 50.0])
    decoder.start_at(share)
    decoder.to_genes.weight.data.zero_()
    torch.testing.assert_close(
        decoder(torch.randn(1, 2), torch.zeros(1, 0)).exp()[0], share, rtol=1e-4, atol=1e-6
    )
    decoder.to_genes.bias.data = torch.tensor([-200.0, -15.5, 200.0])
    log_share = decoder(torch.randn(1, 2), torch.zeros(1, 0))
    log_share.sum().backward()
    expected = [-200.0, np.log(np.log1p(np.exp(-15.5))), np.log(200.0)]
    np.testing.assert_allclose(log_share[0].detach(), expected, rtol=1e-5)
    assert torch.isfinite(decoder.to_genes.bias.grad).all()


def test_covariates_enter_the_decoder():
    decoder = Decoder(2, 3, 5, 8, 2, sums_to_one=True)
    z = torch.zeros(2, 2)
    log_share = decoder(z, torch.eye(3)[:2])
    assert not torch.allclose(log_share[0], log_share[1])


@pytest.mark.parametrize("given_log", [True, False], ids=["log-mean", "mean"])
def test_negative_binomial_equals_scipy_and_scvi(given_log):
    torch.manual_seed(0)
    x = torch.poisson(torch.full((4, 3), 5.0, dtype=torch.float64))
    x[0, 0] = 0
    mu = torch.rand(2, 4, 3, dtype=torch.float64) * 9 + 0.1
    theta = torch.rand(3, dtype=torch.float64) + 0.2
    log_prob = NegativeBinomial(
        mu=mu, theta=theta, log_mu=mu.log() if given_log else None
    ).log_prob(x)
    expected = stats.nbinom.logpmf(x, theta, theta / (theta + mu))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-8)
    torch.testing.assert_close(
        log_prob, ScviNegativeBinomial(mu=mu, theta=theta).log_prob(x), rtol=1e-5, atol=1e-6
    )


def test_negative_binomial_passes_gradcheck():
    x = torch.tensor([[0.0, 3.0, 11.0]], dtype=torch.float64)

    def density(log_mu, log_theta):
        return NegativeBinomial(mu=log_mu.exp(), theta=log_theta.exp(), log_mu=log_mu).log_prob(x)

    inputs = torch.randn(2, 1, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    assert torch.autograd.gradcheck(density, tuple(i.requires_grad_() for i in inputs))


def test_coupled_samples_have_their_own_distributions_and_little_noise_between():
    torch.manual_seed(0)
    theta = torch.tensor([0.7, 4.0])
    one, other = (
        NegativeBinomial(mu=torch.tensor(mean).expand(100_000, 2), theta=theta)
        for mean in ([3.0, 2.0], [4.0, 2.0])
    )
    x, y = one.sample_coupled(other)
    for sample, px in [(x, one), (y, other)]:
        mean, variance = px.mean[0], px.variance[0]
        torch.testing.assert_close(sample.mean(0), mean, rtol=0.03, atol=0)
        torch.testing.assert_close(sample.var(0), variance, rtol=0.05, atol=0)
        zeros = stats.nbinom.pmf(0, theta, theta / (theta + mean))
        np.testing.assert_allclose((sample == 0).float().mean(0), zeros, atol=0.01)
    assert torch.equal(x[:, 1], y[:, 1])
    assert (y - x)[:, 0].var() < 0.3 * (one.variance + other.variance)[0, 0]
