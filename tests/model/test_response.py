"""What is measured: against samples of counts and derivatives by autograd."""

import numpy as np
import pytest
import torch

from scvi_sams.model._response import Response
from scvi_sams.module._likelihoods import GENE_LIKELIHOODS

H, G, N = 5, 40, 6
COUNTS = [name for name, cls in GENE_LIKELIHOODS.items() if cls.is_of_counts]


def likelihood_of(name, **kwargs):
    """A likelihood with genes between a few and very many counts."""
    torch.manual_seed(0)
    likelihood = GENE_LIKELIHOODS[name](H, G, **kwargs)
    with torch.no_grad():
        likelihood.start_at(torch.logspace(-3, 0, G) / 10, torch.linspace(0.1, 3, G))
        likelihood.to_genes.weight.mul_(0.5)
    return likelihood.requires_grad_(False)


def cells():
    torch.manual_seed(1)
    return torch.randn(N, H), torch.linspace(3, 9, N)[:, None]


@pytest.mark.parametrize(
    ("name", "normalization", "expected"),
    [
        pytest.param("nb", None, "log2_cp10k", id="counts"),
        pytest.param("normal", None, "mean", id="real-values"),
        pytest.param("poisson", "mean", "mean", id="asked"),
    ],
)
def test_scale_follows_the_likelihood_unless_asked(name, normalization, expected):
    assert Response(normalization, likelihood_of(name)).name == expected


@pytest.mark.parametrize(
    ("name", "normalization", "message"),
    [
        pytest.param("nb", "tpm", "'log2_cp10k' or 'mean'; it is 'tpm'", id="unknown"),
        pytest.param("normal", "log2_cp10k", "real values", id="logs-of-real-values"),
    ],
)
def test_scale_that_cannot_be_is_refused(name, normalization, message):
    with pytest.raises(ValueError, match=message):
        Response(normalization, likelihood_of(name))


def test_observed_response_is_of_shares_of_the_cell_and_empty_cells_are_zero():
    x = torch.tensor([[1.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    logs = Response("log2_cp10k", likelihood_of("nb")).observed(x)
    torch.testing.assert_close(logs[0], torch.tensor([2501.0, 7501.0, 1.0]).log2())
    assert (logs[1] == 0).all()
    assert torch.equal(Response("mean", likelihood_of("nb")).observed(x), x)


@pytest.mark.parametrize("dispersion", ["gene", "gene-cell"])
@pytest.mark.parametrize("sums_to_one", [True, False], ids=["library", "size-factor"])
@pytest.mark.parametrize("name", COUNTS)
def test_expected_response_is_the_mean_over_counts_of_the_expected_total(
    name, sums_to_one, dispersion
):
    likelihood = likelihood_of(name, sums_to_one=sums_to_one, dispersion=dispersion)
    hidden, log_library = cells()
    measured = likelihood(hidden, log_library)
    n = 4_000
    x = measured.sample((n,))
    y = torch.log2(1 + 1e4 * x / measured.mean.sum(-1, keepdim=True))
    found = Response("log2_cp10k", likelihood).expected(hidden, log_library)
    error = y.std(0) / n**0.5
    assert ((found - y.mean(0)).abs() < 5 * error + 3e-3).all()
    means = Response("mean", likelihood).expected(hidden, log_library)
    assert torch.equal(means, measured.mean)


def test_expected_response_of_many_genes_is_near_that_of_measured_cells():
    """Their totals vary, but little."""
    likelihood = likelihood_of("poisson")
    hidden, log_library = cells()
    x = likelihood(hidden, log_library).sample((4_000,)).clone()
    response = Response("log2_cp10k", likelihood)
    difference = response.expected(hidden, log_library) - response.observed(x).mean(0)
    assert difference[2:].abs().max() < 0.15


def slope_by_autograd(likelihood, response, hidden, log_library):
    """Of each gene by itself: the same step in the log mean of all, at a fixed total."""
    total = likelihood(hidden, log_library).mean.sum(-1, keepdim=True)
    step = torch.zeros(N, G, requires_grad=True)
    measured = likelihood(hidden, log_library + step)
    if response.name == "mean":
        (slope,) = torch.autograd.grad(measured.mean.sum(), step)
        return slope
    x = torch.arange(3_000.0)[:, None, None]
    log_p = measured.log_prob(x)
    y = (log_p.exp() * torch.log2(1 + 1e4 * x / total)).sum(0)
    (slope,) = torch.autograd.grad(y.sum(), step)
    return slope


@pytest.mark.parametrize("normalization", ["mean", "log2_cp10k"])
@pytest.mark.parametrize("name", COUNTS)
def test_slope_of_counts_equals_that_of_summation_in_the_log_mean(name, normalization):
    likelihood = likelihood_of(name)
    hidden, _ = cells()
    log_library = torch.linspace(2, 5, N)[:, None]
    response = Response(normalization, likelihood)
    found = response.slope(hidden, log_library)
    expected = slope_by_autograd(likelihood, response, hidden, log_library)
    torch.testing.assert_close(found, expected, rtol=0.01, atol=2e-3)


@pytest.mark.parametrize("normalization", ["mean", "log2_cp10k"])
def test_slope_is_the_derivative_in_the_bias_of_a_gene_of_a_small_share(normalization):
    likelihood = likelihood_of("nb")
    hidden, log_library = cells()
    response = Response(normalization, likelihood)
    slope = response.slope(hidden, log_library)[:, 0]
    step = 0.1
    ends = []
    for sign in (1, -1):
        likelihood.to_genes.bias[0] += sign * step
        ends.append(response.expected(hidden, log_library)[:, 0])
        likelihood.to_genes.bias[0] -= sign * step
    torch.testing.assert_close(slope, (ends[0] - ends[1]) / (2 * step), rtol=0.02, atol=2e-3)


@pytest.mark.parametrize("dispersion", ["gene", "gene-cell"])
def test_real_values_have_the_mean_and_slope_of_the_normal(dispersion):
    likelihood = likelihood_of("normal", dispersion=dispersion)
    hidden, log_library = cells()
    response = Response("mean", likelihood)
    found = response.expected(hidden, log_library)
    torch.testing.assert_close(
        found, likelihood.origin + likelihood.unit * likelihood.to_genes(hidden)
    )
    slope = response.slope(hidden, log_library)
    likelihood.to_genes.bias += 1
    torch.testing.assert_close(response.expected(hidden, log_library) - found, slope)


@pytest.mark.parametrize("name", ["nb", "poisson", "normal"])
def test_information_is_the_variance_of_the_score(name):
    likelihood = likelihood_of(name)
    hidden, log_library = cells()
    x = likelihood(hidden, log_library).sample((4_000,)).clone()
    # derivative of the log density in the linear output, the total aside
    step = torch.zeros(G, requires_grad=True)
    if name == "normal":
        measured = likelihood(hidden, log_library)
        scores = (x - measured.mean) / measured.variance * likelihood.unit
    else:
        expanded = step.expand(*x.shape).clone().requires_grad_()
        density = likelihood(hidden, log_library + expanded).log_prob(x)
        (scores,) = torch.autograd.grad(density.sum(), expanded)
    found = likelihood.information(likelihood(hidden, log_library))
    well_seen = found > 0.3  # scores of rare counts are heavy-tailed
    torch.testing.assert_close(found[well_seen], scores.var(0)[well_seen], rtol=0.3, atol=0)
    assert (scores.var(0) / found)[well_seen].mean().item() == pytest.approx(1, abs=0.03)


def test_numbers_without_end_pass_through():
    """As after a training that diverged."""
    likelihood = likelihood_of("nb")
    hidden, log_library = cells()
    hidden[0] = torch.nan
    found = Response("log2_cp10k", likelihood).expected(hidden, log_library)
    assert torch.isnan(found[0]).all()
    assert torch.isfinite(found[1:]).all()


def test_cells_of_one_count_and_genes_of_none_have_a_finite_response():
    likelihood = likelihood_of("zinb")
    likelihood.to_genes.bias[:3] = -100
    hidden, _ = cells()
    response = Response("log2_cp10k", likelihood)
    for found in (
        response.expected(hidden, torch.zeros(N, 1)),
        response.slope(hidden, torch.zeros(N, 1)),
    ):
        assert torch.isfinite(found).all()
        np.testing.assert_allclose(found[:, :3], 0, atol=1e-5)
