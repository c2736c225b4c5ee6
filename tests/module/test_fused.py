"""Log likelihoods in one pass, against densities gene by gene."""

import copy

import pytest
import torch
from scipy import stats
from torch.distributions import Normal
from torch.nn import functional as F

from scvi_sams.module import _fused
from scvi_sams.module._distributions import (
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
)
from scvi_sams.module._fused import fused_log_likelihood
from scvi_sams.module._likelihoods import GENE_LIKELIHOODS

P, B, G, H = 3, 7, 11, 4
DISPERSIONS = ["gene", "gene-cell"]
KINDS = [
    pytest.param((name, dispersion, sums), id=f"{name}-{dispersion}-{'share' if sums else 'size'}")
    for name in GENE_LIKELIHOODS
    for dispersion in DISPERSIONS
    for sums in (True, False)
    if not (name == "poisson" and dispersion == "gene-cell") and (sums or name != "normal")
]


@pytest.fixture(params=[1, 2**20], ids=["cell-by-cell", "all-at-once"])
def at_once(request, monkeypatch):
    monkeypatch.setitem(_fused._AT_ONCE, "cpu", request.param)


def likelihood_of(kind, dtype=torch.float64, n_genes=G):
    name, dispersion, sums_to_one = kind
    torch.manual_seed(0)
    made = GENE_LIKELIHOODS[name](H, n_genes, dispersion=dispersion, sums_to_one=sums_to_one).to(
        dtype
    )
    if name == "normal":
        made.start_at(torch.randn(n_genes, dtype=dtype), torch.rand(n_genes, dtype=dtype) + 0.1)
    for parameter in made.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return made


def cells(dtype=torch.float64, shape=(P, B, H), n_genes=G):
    generator = torch.Generator().manual_seed(1)
    x = torch.poisson(3 * torch.rand(B, n_genes, generator=generator).square(), generator)
    x[0] = 0
    library = torch.rand(B, 1, generator=generator) * 100 + 1
    hidden = torch.randn(shape, generator=generator, dtype=dtype)
    return x.to(dtype), torch.log(library).to(dtype), hidden


def log_density(kind, likelihood, x, log_library, hidden):
    """Sum over genes of the density of torch or scvi-tools, from the definition of the mean."""
    name, _, sums_to_one = kind
    y = likelihood.to_genes(hidden)
    if name == "normal":
        mean = likelihood.origin + likelihood.unit * y
        sd = likelihood.unit * likelihood.dispersion(hidden) + 1e-6
        return Normal(mean, sd).log_prob(x).sum(-1)
    share = F.softmax(y, -1) if sums_to_one else F.softplus(y)
    mu = torch.exp(log_library) * share
    if name == "poisson":
        return Poisson(mu).log_prob(x).sum(-1)
    theta = likelihood.dispersion(hidden)
    if name == "nb":
        return NegativeBinomial(mu, theta).log_prob(x).sum(-1)
    return (
        ZeroInflatedNegativeBinomial(mu, theta, likelihood.to_dropout(hidden)).log_prob(x).sum(-1)
    )


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_the_densities(kind):
    likelihood, (x, log_library, hidden) = likelihood_of(kind), cells()
    hidden.requires_grad_()
    found = likelihood.log_likelihood(x, hidden, log_library)
    expected = log_density(kind, likelihood, x, log_library, hidden)
    torch.testing.assert_close(found, expected)
    inputs = [hidden, *likelihood.parameters()]
    upstream = torch.rand(P, B, dtype=torch.float64)  # particles differ, as in an IWELBO
    for one, other in zip(
        torch.autograd.grad(found, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_differences(kind):
    likelihood, (x, log_library, hidden) = likelihood_of(kind), cells()
    names = [name for name, _ in likelihood.named_parameters()]

    def values(hidden, *parameters):
        given = dict(zip(names, parameters, strict=True))
        with torch.nn.utils.stateless._reparametrize_module(likelihood, given):
            return likelihood.log_likelihood(x, hidden, log_library)

    inputs = (hidden, *(p.detach().clone() for p in likelihood.parameters()))
    assert torch.autograd.gradcheck(values, tuple(each.requires_grad_() for each in inputs))


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_agrees_with_densities_to_1e_5(kind):
    likelihood = likelihood_of(kind, torch.float32)
    x, log_library, hidden = cells(torch.float32)
    hidden.requires_grad_()
    found = likelihood.log_likelihood(x, hidden, log_library)
    expected = log_density(kind, likelihood, x, log_library, hidden)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    one, other = (torch.autograd.grad(each.sum(), hidden)[0] for each in (found, expected))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_probabilities_are_those_of_scipy():
    likelihood, (x, log_library, hidden) = likelihood_of(("nb", "gene", True)), cells()
    mu = (torch.exp(log_library) * F.softmax(likelihood.to_genes(hidden), -1)).detach().numpy()
    theta = likelihood.log_dispersion.exp().detach().numpy()
    expected = stats.nbinom.logpmf(x.numpy(), theta, theta / (theta + mu)).sum(-1)
    found = likelihood.log_likelihood(x, hidden, log_library).detach()
    torch.testing.assert_close(found, torch.as_tensor(expected))


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_need_no_particles(kind):
    likelihood, (x, log_library, hidden) = likelihood_of(kind), cells()
    all_of_them = likelihood.log_likelihood(x, hidden, log_library)
    one = likelihood.log_likelihood(x, hidden[1], log_library)
    assert one.shape == (B,)
    torch.testing.assert_close(one, all_of_them[1])


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_outputs_stay_finite(kind):
    likelihood = likelihood_of(kind, torch.float32)
    x, log_library, hidden = cells(torch.float32)
    x[1, 0] = 1e6
    hidden.requires_grad_()
    likelihood.to_genes.weight.data *= 900
    found = likelihood.log_likelihood(x, hidden, log_library)
    gradients = torch.autograd.grad(found.sum(), [hidden, likelihood.to_genes.weight])
    assert torch.isfinite(found).all()
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_backward_within_autocast_sums_in_the_precision_of_the_parameters():
    likelihood = likelihood_of(("nb", "gene", True), torch.float32)
    x, log_library, hidden = cells(torch.float32)
    found = []
    for is_on in (True, False):
        with torch.autocast("cpu", torch.bfloat16):
            value = likelihood.log_likelihood(x, hidden, log_library).sum()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_on):
            found.append(torch.autograd.grad(value, list(likelihood.parameters())))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("log_theta", [-20.0, 0.0, 2.9, 3.1, 6.0, 10.0, 16.0])
@pytest.mark.parametrize("name", ["nb", "zinb"])
def test_single_precision_is_exact_to_1e_5_whatever_the_dispersion(name, log_theta):
    """Thousands of genes, whose large inverse dispersions must not cancel."""
    torch.manual_seed(0)
    n_genes = 1_500
    single = GENE_LIKELIHOODS[name](H, n_genes, sums_to_one=True)
    single.log_dispersion.data.normal_(log_theta, 0.5)
    exact = copy.deepcopy(single).double()
    hidden = torch.randn(P, B, H)
    x = torch.poisson(torch.rand(B, n_genes) * 2)
    log_library = x.sum(-1, keepdim=True).log()
    found = single.log_likelihood(x, hidden, log_library)
    inputs = (x.double(), log_library.double(), hidden.double())
    # of torch in double precision, where what cancels is no larger than 1e-9 of a cell
    expected = log_density((name, "gene", True), exact, *inputs)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    gradients = [
        torch.autograd.grad(each.sum(), part.log_dispersion)[0].double()
        for each, part in ((found, single), (expected, exact))
    ]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


def test_one_array_of_particles_by_cells_by_genes_is_kept_for_the_gradient():
    sizes = []
    likelihood, (x, log_library, hidden) = likelihood_of(("nb", "gene", True)), cells()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        fused_log_likelihood(
            likelihood.kernel,
            x,
            log_library,
            hidden.requires_grad_(),
            likelihood.heads,
            [likelihood.log_dispersion],
        )
    assert sum(size == P * B * G for size in sizes) == 1
    assert sum(sizes) <= P * B * G + P * B * H + B * (G + 1) + G * (H + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_rounds_the_outputs_of_layers_and_nothing_else(kind):
    likelihood = likelihood_of(kind, torch.float32)
    x, log_library, hidden = cells(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = likelihood.log_likelihood(x, hidden, log_library)
        rounded = [head(hidden).float() for head in likelihood.heads]
    assert found.dtype == torch.float32
    for head, output in zip(likelihood.heads, rounded, strict=True):
        head.forward = lambda _, output=output: output
    expected = log_density(kind, likelihood, x, log_library, hidden)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_autocast_sums_in_the_precision_of_the_parameters():
    likelihood = likelihood_of(("nb", "gene", True), torch.float32)
    x, log_library, hidden = cells(torch.float32)
    x = x * 301  # a number that bfloat16 does not have
    hidden.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = likelihood.log_likelihood(x, hidden, log_library)
        y = likelihood.to_genes(hidden).float()
    mu = torch.exp(log_library) * F.softmax(y, -1)
    expected = NegativeBinomial(mu, likelihood.dispersion(hidden)).log_prob(x).sum(-1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)
    # backward, the products are in bfloat16 too, but not what is multiplied
    inputs = [hidden, likelihood.to_genes.weight, likelihood.log_dispersion]
    for one, other in zip(
        torch.autograd.grad(found.sum(), inputs),
        torch.autograd.grad(expected.sum(), inputs),
        strict=True,
    ):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.02 * float(other.abs().max()))
