"""Expected logarithms against sums over the counts' probabilities by scipy."""

import numpy as np
import pytest
import torch
from scipy import stats

from scvi_sams.module._distributions import (
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
)
from scvi_sams.module._expected_log import expected_log1p

MEANS = np.geomspace(1e-3, 1e3, 13)
SCALES = np.geomspace(0.3, 100, 11)
LOST = 0.4


def of_counts(kind, theta, dtype=torch.float32):
    """Counts of all means, 1 x means."""
    mu = torch.as_tensor(MEANS, dtype=dtype)[None]
    inverse = torch.full((len(MEANS),), theta, dtype=dtype)
    if kind == "poisson":
        return Poisson(mu)
    if kind == "nb":
        return NegativeBinomial(mu=mu, theta=inverse)
    logits = torch.full_like(mu, np.log(LOST / (1 - LOST)))
    return ZeroInflatedNegativeBinomial(mu=mu, theta=inverse, zi_logits=logits)


def exact(kind, theta):
    """Expectation of log(1 + c x) of all scales and means by summation; scales x means."""
    columns = []
    for mean in MEANS:
        px = (
            stats.poisson(mean)
            if kind == "poisson"
            else stats.nbinom(theta, theta / (theta + mean))
        )
        x = np.arange(max(px.isf(1e-13), 20) + 2)
        columns.append(np.log1p(SCALES[:, None] * x) @ px.pmf(x))
    return np.stack(columns, axis=1) * (1 - LOST if kind == "zinb" else 1)


def largest_of(counts, scale):
    """Largest c E[x²] / E[x]."""
    return float((scale * (counts.mean + counts.variance / counts.mean)).max())


DISTRIBUTIONS = [
    *(pytest.param("nb", theta, id=f"nb-{theta}") for theta in (0.3, 1.0, 5.0, 50.0)),
    *(pytest.param("zinb", theta, id=f"zinb-{theta}") for theta in (0.3, 50.0)),
    pytest.param("poisson", 1.0, id="poisson"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("kind", "theta"), DISTRIBUTIONS)
def test_expectation_of_a_batch_equals_summation(kind, theta, dtype):
    """Most entries are far from the one that sets the nodes."""
    counts = of_counts(kind, theta, dtype)
    scale = torch.as_tensor(SCALES, dtype=dtype)[:, None]
    found = expected_log1p(counts, scale, largest_of(counts, scale))
    assert found.shape == (len(SCALES), len(MEANS))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, exact(kind, theta), rtol=0, atol=5e-4)


@pytest.mark.parametrize("looseness", [1.0, 1.4, 2.2, 1e3, 1e8])
@pytest.mark.parametrize(("kind", "theta"), DISTRIBUTIONS[3:])
def test_expectation_does_not_depend_on_how_loose_the_bound_is(kind, theta, looseness):
    """Each scale by itself, where the bound is that of its own largest mean or looser."""
    counts = of_counts(kind, theta)
    for scale, expected in zip(SCALES, exact(kind, theta), strict=True):
        scale = torch.tensor([[scale]], dtype=torch.float32)
        found = expected_log1p(counts, scale, looseness * largest_of(counts, scale))
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=5e-4)


def test_differences_of_near_means_are_far_more_exact_than_either():
    """Errors of the arms of a comparison cancel."""
    theta, scale = torch.tensor([2.0]).double(), torch.tensor([[2.0]]).double()
    low, high = (
        NegativeBinomial(mu=torch.tensor([[mean]]).double(), theta=theta) for mean in (3.0, 3.3)
    )
    largest = largest_of(high, scale)
    found = expected_log1p(high, scale, largest) - expected_log1p(low, scale, largest)
    x = np.arange(1000)
    pmfs = [stats.nbinom.pmf(x, 2, 2 / (2 + mean)) for mean in (3.3, 3.0)]
    assert found.item() == pytest.approx((pmfs[0] - pmfs[1]) @ np.log1p(2 * x), abs=5e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_counts_that_never_come_have_a_logarithm_of_zero(dtype):
    counts = NegativeBinomial(
        mu=torch.zeros(1, 2, dtype=dtype), theta=torch.tensor([0.1, 10], dtype=dtype)
    )
    scale = torch.full((1, 1), 100.0, dtype=dtype)
    torch.testing.assert_close(expected_log1p(counts, scale, 0.0), torch.zeros_like(counts.mean))


def test_small_means_keep_their_relative_accuracy():
    """Where at most one count falls the expectation is the mean times log(1 + c)."""
    mean, scale = torch.tensor([[1e-6, 1e-9]]), torch.tensor([[20.0]])
    found = expected_log1p(Poisson(mean), scale, 20.0)
    torch.testing.assert_close(found, mean * np.log(21), rtol=2e-3, atol=0)
