"""Priors of masks: closed forms against scipy, and posteriors that nothing beats."""

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, stats

from scvi_sams.module._inclusion_priors import (
    BetaInclusion,
    BetaPointInclusion,
    FixedInclusion,
    inclusion_prior,
)

SHAPES = [(1.0, 5.0), (2.5, 0.7), (1.0, 1.0), (0.3, 0.4), (40.0, 2.0)]
Q = [1e-4, 0.1, 0.5, 0.93]


def terms_of(prior, q):
    """The three expectations at one q."""
    values = prior.expected_log_prior(torch.tensor([[q]], dtype=torch.float64))
    return tuple(value.item() for value in values)


def total_of(prior, q):
    """What the bound is charged for π: its divergence and the mask's expected log prior."""
    on, off, divergence = terms_of(prior, q)
    return divergence - q * on - (1 - q) * off


@pytest.mark.parametrize("probability", [1e-6, 0.01, 0.5, 0.999])
def test_known_probability_gives_its_logarithms(probability):
    on, off, divergence = terms_of(FixedInclusion(probability), 0.3)
    assert on == pytest.approx(np.log(probability), rel=1e-9)
    assert off == pytest.approx(np.log1p(-probability), rel=1e-9)
    assert divergence == 0


@pytest.mark.parametrize("q", Q)
@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_expectations_under_the_beta_posterior_equal_scipy(a, b, q):
    on, off, divergence = terms_of(BetaInclusion(a, b), q)
    posterior, prior = stats.beta(a + q, b + 1 - q), stats.beta(a, b)
    # in the logit of π, where nothing has horns
    grid = np.linspace(-120, 40, 200_001)
    pi, rest = 1 / (1 + np.exp(-grid)), 1 / (1 + np.exp(grid))
    log_pi, log_rest = -np.logaddexp(0, -grid), -np.logaddexp(0, grid)

    def log_density(beta):
        a_, b_ = beta.args
        normaliser = stats.beta(a_, b_).logpdf(0.5) + (a_ + b_ - 2) * np.log(2)
        return (a_ - 1) * log_pi + (b_ - 1) * log_rest + normaliser

    weight = np.exp(log_density(posterior)) * pi * rest
    assert integrate.trapezoid(weight, grid) == pytest.approx(1, abs=1e-6)
    ratio = log_density(posterior) - log_density(prior)
    assert on == pytest.approx(integrate.trapezoid(weight * log_pi, grid), rel=1e-4)
    assert off == pytest.approx(integrate.trapezoid(weight * log_rest, grid), rel=1e-4)
    assert divergence == pytest.approx(integrate.trapezoid(weight * ratio, grid), rel=1e-4)


@pytest.mark.parametrize("q", Q)
@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_no_other_beta_posterior_is_better(a, b, q):
    def charge(log_shape):
        shape = torch.tensor(np.exp(log_shape))
        posterior = torch.distributions.Beta(*shape)
        prior = torch.distributions.Beta(*torch.tensor([a, b], dtype=torch.float64))
        divergence = torch.distributions.kl_divergence(posterior, prior).item()
        on, off, both = torch.digamma(torch.stack([*shape, shape.sum()])).tolist()
        return divergence - q * (on - both) - (1 - q) * (off - both)

    found = total_of(BetaInclusion(a, b), q)
    assert charge(np.log([a + q, b + 1 - q])) == pytest.approx(found, rel=1e-9)
    for start in ([0.0, 0.0], [1.0, -1.0], np.log([a + q, b + 1 - q]) + 0.3):
        best = optimize.minimize(charge, start, method="Nelder-Mead", options={"xatol": 1e-8})
        assert best.fun >= found - 1e-9
    assert best.fun == pytest.approx(found, abs=1e-6)


POINT_SHAPES = [(1.0, 5.0), (1.5, 4.0), (1.0, 2.0), (3.0, 1.0), (12.0, 30.0)]


@pytest.mark.parametrize("q", Q)
@pytest.mark.parametrize(("a", "b"), POINT_SHAPES)
def test_no_other_point_is_better(a, b, q):
    def charge(pi):
        return -stats.beta.logpdf(pi, a, b) - q * np.log(pi) - (1 - q) * np.log1p(-pi)

    found = total_of(BetaPointInclusion(a, b), q)
    best = optimize.minimize_scalar(charge, bounds=(1e-12, 1 - 1e-12), method="bounded")
    assert found == pytest.approx(best.fun, abs=1e-3)
    grid = np.concatenate([np.linspace(1e-6, 1 - 1e-6, 20_001), np.geomspace(1e-9, 1e-3, 400)])
    assert (charge(grid) >= found - 1e-9).all()


@pytest.mark.parametrize("q", Q)
@pytest.mark.parametrize(("a", "b"), POINT_SHAPES)
def test_divergence_of_a_point_is_minus_the_log_density_there(a, b, q):
    on, off, divergence = terms_of(BetaPointInclusion(a, b), q)
    assert np.exp(on) + np.exp(off) == pytest.approx(1, abs=1e-12)
    assert divergence == pytest.approx(-stats.beta.logpdf(np.exp(on), a, b), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "prior",
    [
        pytest.param(FixedInclusion(0.01), id="fixed"),
        pytest.param(BetaInclusion(1.0, 5.0), id="beta"),
        pytest.param(BetaPointInclusion(1.0, 5.0), id="point"),
        pytest.param(BetaPointInclusion(1.0, 1.0), id="flat-point"),
    ],
)
def test_values_are_finite_where_the_mask_is_sure(prior, dtype):
    for value in prior.expected_log_prior(torch.tensor([[0.0, 1.0]], dtype=dtype)):
        assert torch.isfinite(value).all()


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_mean_of_an_unknown_probability_is_that_of_its_prior(a, b):
    assert BetaInclusion(a, b).mean == pytest.approx(stats.beta(a, b).mean())


@pytest.mark.parametrize(
    ("mask_prior", "posterior", "kind"),
    [
        pytest.param(0.1, "beta", FixedInclusion, id="probability"),
        pytest.param(0.1, "point", FixedInclusion, id="probability-whatever-the-posterior"),
        pytest.param(("beta", 1, 5), "beta", BetaInclusion, id="beta"),
        pytest.param(["beta", 1, 5], "beta", BetaInclusion, id="list-as-read-from-a-file"),
        pytest.param(("beta", 1, 5), "point", BetaPointInclusion, id="point"),
    ],
)
def test_prior_is_that_which_the_user_writes(mask_prior, posterior, kind):
    assert type(inclusion_prior(mask_prior, posterior)) is kind


@pytest.mark.parametrize(
    ("mask_prior", "posterior", "message"),
    [
        *(
            pytest.param(value, "beta", r"must be a probability in \(0, 1\)", id=str(value))
            for value in (0.0, 1.0, -1.0, 2.0, "0.1", float("nan"), ("beta", 1), ("gamma", 1, 1))
        ),
        pytest.param(("beta", 0, 1), "beta", "positive numbers a and b; got 0, 1", id="a-zero"),
        pytest.param(
            ("beta", 1, -2), "beta", "positive numbers a and b; got 1, -2", id="b-negative"
        ),
        pytest.param(("beta", 0.5, 1), "point", "at least 1.*got 0.5, 1", id="unbounded"),
    ],
)
def test_impossible_prior_raises(mask_prior, posterior, message):
    with pytest.raises(ValueError, match=message):
        inclusion_prior(mask_prior, posterior)
