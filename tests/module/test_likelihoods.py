"""From a hidden state to a distribution."""

import numpy as np
import pytest
import torch
from scipy import stats
from scvi.distributions import Normal

from scvi_sams.module._distributions import (
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
)
from scvi_sams.module._likelihoods import GENE_LIKELIHOODS

H, G = 8, 5
KINDS = {
    "nb": NegativeBinomial,
    "zinb": ZeroInflatedNegativeBinomial,
    "poisson": Poisson,
    "normal": Normal,
}
COUNTS = ["nb", "zinb", "poisson"]
SHARE = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.0])


def likelihood_of(name, n_genes=G, **kwargs):
    torch.manual_seed(0)
    return GENE_LIKELIHOODS[name](H, n_genes, **kwargs)


def hidden(*lead):
    return torch.randn(*lead, H)


@pytest.mark.parametrize("dispersion", ["gene", "gene-cell"])
@pytest.mark.parametrize(("name", "kind"), KINDS.items(), ids=KINDS)
def test_each_name_gives_its_distribution_over_all_particles(name, kind, dispersion):
    px = likelihood_of(name, dispersion=dispersion)(hidden(3, 4), torch.zeros(4, 1))
    assert type(px) is kind
    assert px.mean.shape == (3, 4, G)
    x = torch.ones(4, G)
    assert px.log_prob(x).shape == (3, 4, G)
    assert px.sample().shape == (3, 4, G)


@pytest.mark.parametrize("name", COUNTS)
def test_softmax_shares_sum_to_one_and_start_at_the_data(name):
    likelihood = likelihood_of(name)
    likelihood.start_at(SHARE, torch.ones(G))
    likelihood.to_genes.weight.data.zero_()
    px = likelihood(hidden(7), torch.full((7, 1), np.log(50.0)))
    torch.testing.assert_close(px.scale.sum(-1), torch.ones(7))
    torch.testing.assert_close(px.scale, SHARE.expand(7, G), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(px.get_normalized("mu"), 50 * px.scale)


def test_softplus_shares_start_at_the_data_and_stay_finite():
    likelihood = likelihood_of("nb", 3, sums_to_one=False)
    share = torch.tensor([0.01, 2.0, 50.0])
    likelihood.start_at(share, torch.ones(3))
    likelihood.to_genes.weight.data.zero_()
    torch.testing.assert_close(
        likelihood.log_share(hidden(1)).exp()[0], share, rtol=1e-4, atol=1e-6
    )
    likelihood.to_genes.bias.data = torch.tensor([-200.0, -15.5, 200.0])
    log_share = likelihood.log_share(hidden(1))
    log_share.sum().backward()
    expected = [-200.0, np.log(np.log1p(np.exp(-15.5))), np.log(200.0)]
    np.testing.assert_allclose(log_share[0].detach(), expected, rtol=1e-5)
    assert torch.isfinite(likelihood.to_genes.bias.grad).all()


@pytest.mark.parametrize("name", ["nb", "zinb", "normal"])
def test_dispersion_is_of_genes_or_of_genes_in_cells(name):
    states = hidden(4)
    of_genes = likelihood_of(name).dispersion(states)
    assert of_genes.shape == (G,)
    likelihood = likelihood_of(name, dispersion="gene-cell")
    of_cells = likelihood.dispersion(states)
    assert of_cells.shape == (4, G)
    expected = states @ likelihood.log_dispersion.weight.T + likelihood.log_dispersion.bias
    torch.testing.assert_close(of_cells, expected.exp())
    assert (of_cells > 0).all()


def test_poisson_has_no_dispersion():
    for dispersion in ("gene", "gene-cell"):
        likelihood = likelihood_of("poisson", dispersion=dispersion)
        assert not [name for name, _ in likelihood.named_parameters() if "dispersion" in name]


@pytest.mark.parametrize("dispersion", ["gene", "gene-cell"])
@pytest.mark.parametrize("name", KINDS)
def test_every_parameter_gets_a_gradient(name, dispersion):
    likelihood = likelihood_of(name, dispersion=dispersion)
    x = torch.tensor([[0.0, 1.0, 2.0, 0.0, 7.0]])
    likelihood(hidden(2, 1), torch.zeros(1, 1)).log_prob(x).sum().backward()
    for parameter in likelihood.parameters():
        assert torch.isfinite(parameter.grad).all()
        assert (parameter.grad != 0).any()


def test_zero_inflation_is_read_off_the_hidden_state():
    likelihood, states = likelihood_of("zinb"), hidden(4)
    px = likelihood(states, torch.zeros(4, 1))
    expected = torch.sigmoid(likelihood.to_dropout(states))
    torch.testing.assert_close(px.zi_probs, expected)
    torch.testing.assert_close(px.mean, (1 - expected) * px.mu)


def test_normal_has_mean_and_spread_in_the_unit_of_its_gene():
    likelihood, states = likelihood_of("normal"), hidden(4)
    mean, sd = torch.tensor([-1.0, 0, 5, 2, 3]), torch.tensor([2.0, 0.1, 1, 9, 0])
    likelihood.start_at(mean, sd)
    px = likelihood(states, torch.zeros(4, 1))
    unit = torch.tensor([2.0, 0.1, 1, 9, 1])  # a constant gene keeps its own unit
    output = likelihood.to_genes(states)
    torch.testing.assert_close(px.mean, mean + unit * output)
    torch.testing.assert_close(px.stddev, unit.expand(4, G), rtol=1e-4, atol=1e-5)
    x = torch.randn(4, G)
    expected = stats.norm.logpdf(x, px.mean.detach(), px.stddev.detach())
    np.testing.assert_allclose(px.log_prob(x).detach(), expected, rtol=1e-4)


@pytest.mark.parametrize("dispersion", ["gene", "gene-cell"])
def test_normal_follows_the_unit_of_the_data(dispersion):
    """Data in another unit have the same density, but for the change of measure."""
    states, x = hidden(4), torch.randn(4, G)
    mean, sd = torch.randn(G), torch.rand(G) + 0.5
    factor, shift = torch.tensor([1e-2, 0.1, 1.0, 10.0, 1e3]), torch.randn(G)
    log_prob = []
    for a, b in [(torch.ones(G), torch.zeros(G)), (factor, shift)]:
        likelihood = likelihood_of("normal", dispersion=dispersion)
        likelihood.start_at(a * mean + b, a * sd)
        log_prob.append(likelihood(states, torch.zeros(4, 1)).log_prob(a * x + b))
    torch.testing.assert_close(log_prob[1] + factor.log(), log_prob[0], rtol=1e-3, atol=1e-3)


def test_normal_does_not_read_the_library():
    likelihood, states = likelihood_of("normal"), hidden(4)
    for library in (0.0, 9.0, float("nan")):
        px = likelihood(states, torch.full((4, 1), library))
        torch.testing.assert_close(px.mean, likelihood.to_genes(states))


def test_what_is_of_counts():
    found = {name: kind.is_of_counts for name, kind in GENE_LIKELIHOODS.items()}
    assert found == {"nb": True, "zinb": True, "poisson": True, "normal": False}
