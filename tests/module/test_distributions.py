"""Distributions of counts against scipy and Monte Carlo."""

import numpy as np
import pytest
import torch
from scipy import special, stats
from scvi.distributions import NegativeBinomial as ScviNegativeBinomial

from scvi_sams.module._distributions import (
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
)

LOGITS = torch.tensor([-1.0, 0.5, 3.0], dtype=torch.float64)
COUNTS = torch.tensor([[0.0, 3.0, 11.0]], dtype=torch.float64)


def negative_binomial(log_mu, log_theta, **_):
    return NegativeBinomial(mu=log_mu.exp(), theta=log_theta.exp(), log_mu=log_mu)


def zero_inflated(log_mu, log_theta, logits=LOGITS, **_):
    return ZeroInflatedNegativeBinomial(
        mu=log_mu.exp(), theta=log_theta.exp(), zi_logits=logits, log_mu=log_mu
    )


def poisson(log_mu, *_, **__):
    return Poisson(mu=log_mu.exp(), log_mu=log_mu)


DISTRIBUTIONS = [
    pytest.param(negative_binomial, id="nb"),
    pytest.param(zero_inflated, id="zinb"),
    pytest.param(poisson, id="poisson"),
]


def density(make, x, mu, theta, logits=LOGITS):
    """The log density by scipy."""
    x, mu, theta = (np.asarray(value) for value in (x, mu, theta))
    if make is poisson:
        return stats.poisson.logpmf(x, mu)
    counted = stats.nbinom.logpmf(x, theta, theta / (theta + mu))
    if make is negative_binomial:
        return counted
    lost = 1 / (1 + np.exp(-np.asarray(logits)))
    return np.log(lost * (x == 0) + (1 - lost) * np.exp(counted))


@pytest.mark.parametrize("given_log", [True, False], ids=["log-mean", "mean"])
@pytest.mark.parametrize("make", DISTRIBUTIONS)
def test_log_density_equals_scipy(make, given_log):
    torch.manual_seed(0)
    x = torch.poisson(torch.full((4, 3), 5.0, dtype=torch.float64))
    x[0, 0], x[1, 2] = 0, 0
    mu = torch.rand(2, 4, 3, dtype=torch.float64) * 9 + 0.1
    theta = torch.rand(3, dtype=torch.float64) + 0.2
    px = make(mu.log(), theta.log())
    if not given_log:
        px._log_mu = None
    np.testing.assert_allclose(px.log_prob(x), density(make, x, mu, theta), rtol=1e-8)


@pytest.mark.parametrize("make", DISTRIBUTIONS)
def test_densities_of_all_counts_sum_to_one(make):
    x = torch.arange(400.0, dtype=torch.float64).unsqueeze(-1)
    log_mu, log_theta = (torch.tensor(value).double() for value in ([0.1, 1.0, 2.0], [0, 1.0, 2]))
    total = make(log_mu.expand(400, 3), log_theta).log_prob(x).exp().sum(0)
    torch.testing.assert_close(total, torch.ones(3, dtype=torch.float64))


def test_negative_binomial_equals_that_of_scvi():
    torch.manual_seed(0)
    x = torch.poisson(torch.full((4, 3), 5.0, dtype=torch.float64))
    mu = torch.rand(2, 4, 3, dtype=torch.float64) * 9 + 0.1
    theta = torch.rand(3, dtype=torch.float64) + 0.2
    torch.testing.assert_close(
        NegativeBinomial(mu=mu, theta=theta).log_prob(x),
        ScviNegativeBinomial(mu=mu, theta=theta).log_prob(x),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("per_cell", [False, True], ids=["gene", "gene-cell"])
@pytest.mark.parametrize("make", DISTRIBUTIONS)
def test_log_density_passes_gradcheck(make, per_cell):
    torch.manual_seed(0)
    shape = (2, 1, 3) if per_cell else (3,)

    def log_prob(log_mu, log_theta, logits):
        return make(log_mu, log_theta, logits=logits).log_prob(COUNTS)

    inputs = [torch.randn(size, dtype=torch.float64) for size in ((2, 1, 3), shape, (2, 1, 3))]
    assert torch.autograd.gradcheck(log_prob, tuple(i.requires_grad_() for i in inputs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("count", [0.0, 1.0, 1e5])
@pytest.mark.parametrize("log_mu", [-60.0, -1.0, 12.0])
@pytest.mark.parametrize("log_theta", [-8.0, 8.0])
@pytest.mark.parametrize("make", DISTRIBUTIONS)
def test_density_and_gradient_are_finite_and_right_at_extremes(
    make, log_theta, log_mu, count, dtype
):
    values = [torch.tensor([value] * 3, dtype=dtype) for value in (log_mu, log_theta)]
    logits = torch.tensor([-80.0, 0.0, 80.0], dtype=dtype)
    inputs = [value.requires_grad_() for value in (*values, logits)]
    log_prob = make(*inputs[:2], logits=inputs[2]).log_prob(torch.full((1, 3), count, dtype=dtype))
    log_prob.sum().backward()
    assert torch.isfinite(log_prob).all()
    for value in inputs:
        assert value.grad is None or torch.isfinite(value.grad).all()
    if make is not zero_inflated:  # whose direct form is not finite here
        mu, theta = np.exp(log_mu), np.exp(log_theta)
        if make is poisson:
            expected = stats.poisson.logpmf(count, mu)
        else:  # scipy's own is -inf once its probability rounds to one
            expected = special.gammaln(count + theta) - special.gammaln(theta)
            expected += count * (log_mu - np.log(theta + mu)) - special.gammaln(count + 1)
            expected -= theta * np.log1p(mu / theta)
        rtol = 1e-6 if dtype == torch.float64 else 1e-3
        np.testing.assert_allclose(log_prob.detach()[0, 0], expected, rtol=rtol, atol=rtol * 1e3)


def test_zero_inflation_that_never_or_always_loses_counts():
    log_mu, log_theta = torch.tensor([1.0]).double(), torch.tensor([0.3]).double()
    never = zero_inflated(log_mu, log_theta, logits=torch.tensor([-50.0]).double())
    plain = negative_binomial(log_mu, log_theta)
    torch.testing.assert_close(never.log_prob(COUNTS.T), plain.log_prob(COUNTS.T))
    always = zero_inflated(log_mu, log_theta, logits=torch.tensor([50.0]).double())
    assert always.log_prob(torch.zeros(1, 1).double()).item() == pytest.approx(0, abs=1e-12)


def laplace(make, s, mu, theta, logits=LOGITS):
    """E[exp(-s x)] by summation over the counts."""
    x = np.arange(500.0)[:, None]
    return (np.exp(density(make, x, mu, theta, logits)) * np.exp(-s * x)).sum(0)


@pytest.mark.parametrize("s", [1e-3, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("make", DISTRIBUTIONS)
def test_laplace_transform_equals_summation_over_counts(make, s):
    mu, theta = (torch.tensor(value).double() for value in ([0.2, 3.0, 40.0], [0.3, 2.0, 20.0]))
    found = make(mu.log()[None], theta.log()).log_laplace(torch.tensor(s).double())
    assert found.shape == (1, 3)
    np.testing.assert_allclose(found.exp()[0], laplace(make, s, mu, theta), rtol=1e-7)


@pytest.mark.parametrize("make", DISTRIBUTIONS)
def test_laplace_transform_is_one_at_zero_and_the_share_of_zeros_far_out(make):
    mu, theta = (torch.tensor(value).double() for value in ([0.2, 3.0, 40.0], [0.3, 2.0, 20.0]))
    px = make(mu.log()[None], theta.log())
    torch.testing.assert_close(px.log_laplace(torch.zeros(())), torch.zeros(1, 3).double())
    torch.testing.assert_close(px.log_laplace(torch.tensor(80.0)), px.log_prob(torch.zeros(1, 3)))


@pytest.mark.parametrize("make", DISTRIBUTIONS)
def test_slope_of_the_laplace_transform_at_zero_is_the_mean(make):
    mu, theta = (torch.tensor(value).double() for value in ([0.2, 3.0, 40.0], [0.3, 2.0, 20.0]))
    px = make(mu.log()[None], theta.log())
    s = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(px.log_laplace(s).sum(), s)
    torch.testing.assert_close(-slope, px.mean)


@pytest.mark.parametrize("make", DISTRIBUTIONS)
def test_laplace_transform_has_a_value_for_each_cell_and_follows_samples(make):
    torch.manual_seed(0)
    log_mu = torch.tensor([[0.1, 1.0, 2.0], [1.0, 2.0, 0.3]]).double()
    px = make(log_mu, torch.tensor([-0.5, 0.5, 1.0]).double())
    s = torch.tensor([[0.05], [0.4]])  # of each cell
    samples = px.sample((50_000,))
    found = px.log_laplace(s).exp()
    torch.testing.assert_close(found, (-s * samples).exp().mean(0).double(), rtol=0, atol=0.008)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("log_mu", [-60.0, 12.0])
@pytest.mark.parametrize("make", DISTRIBUTIONS)
def test_laplace_transform_is_finite_and_falls_at_extremes(make, log_mu, dtype):
    values = [torch.full((1, 3), value, dtype=dtype) for value in (log_mu, -8.0)]
    logits = torch.tensor([-80.0, 0.0, 80.0], dtype=dtype)
    px = make(*values, logits=logits)
    found = torch.stack([px.log_laplace(torch.tensor(s, dtype=dtype)) for s in (1e-6, 1.0, 1e3)])
    assert torch.isfinite(found).all()
    assert (found <= 1e-6).all()
    assert (found.diff(dim=0) <= 1e-6).all()
