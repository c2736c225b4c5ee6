"""What scvi-tools' mixins compute, against direct computations for this model."""

import numpy as np
import pytest
import torch
from scipy import stats

from scvi_sams.module._perturbations import offset
from tests.conftest import real_valued, trained


@pytest.fixture
def sure(model):
    """A model whose latent states have almost no posterior spread."""
    posterior = model.module.perturbations
    posterior.masks.logits.data = (
        torch.where(torch.arange(4) < 2, 50.0, -50.0).expand(6, 4).clone()
    )
    posterior.effects.raw_scale.data.fill_(-30.0)
    posterior.effects.relative_loc.data.normal_()
    model.module.encoder.raw_scale.weight.data.zero_()
    model.module.encoder.raw_scale.bias.data.fill_(-30.0)
    return model


def share_of(module, z, covariates):
    """Decoded share of each gene."""
    return module.likelihood.to_genes(module.decoder(z, covariates)).softmax(-1).numpy()


def decoded(model, batch=None):
    """Share of each gene in each cell at the expected latent state."""
    module, adata = model.module, model.adata
    index, dosage = torch.as_tensor(adata.obsm["_scvi_perturbations"]).chunk(2, dim=1)
    codes = torch.tensor(adata.obs["_scvi_batch"].to_numpy()).long()
    if batch is not None:
        codes = torch.full_like(codes, batch)
    with torch.no_grad():
        shift = offset(module.perturbations.expected_shifts(), index.long(), dosage)
        z = module.encoder(torch.as_tensor(adata.X.toarray()), shift).loc + shift
        return share_of(module, z, torch.eye(2)[codes])


def test_normalized_expression_is_the_decoded_share(sure):
    expression = sure.get_normalized_expression()
    assert list(expression.columns) == list(sure.adata.var_names)
    assert list(expression.index) == list(sure.adata.obs_names)
    np.testing.assert_allclose(expression, decoded(sure), rtol=2e-3)
    np.testing.assert_allclose(
        sure.get_normalized_expression(library_size=1e4, n_samples=3),
        1e4 * decoded(sure),
        rtol=2e-3,
    )


def test_normalized_expression_in_another_batch(sure):
    found = sure.get_normalized_expression(transform_batch="batch_1")
    np.testing.assert_allclose(found, decoded(sure, batch=1), rtol=2e-3)


def test_normalized_expression_at_the_own_library_size_is_the_mean(sure):
    library = np.asarray(sure.adata.X.sum(1))
    found = sure.get_normalized_expression(library_size="latent")
    np.testing.assert_allclose(found, decoded(sure) * library, rtol=2e-3)


def test_normalized_expression_of_genes_cells_and_samples(model):
    subset = model.get_normalized_expression(indices=[4, 9], gene_list=["gene_2", "gene_7"])
    assert subset.shape == (2, 2)
    assert list(subset.columns) == ["gene_2", "gene_7"]
    assert list(subset.index) == ["cell_4", "cell_9"]
    samples = model.get_normalized_expression(indices=[4, 9], n_samples=3, return_mean=False)
    assert samples.shape == (3, 2, 30)
    positional = model.get_normalized_expression(None, [4, 9], None, ["gene_2", "gene_7"])
    assert positional.shape == (2, 2)
    overall = model.get_normalized_expression(indices=[4, 9], n_samples_overall=5)
    assert overall.shape == (5, 30)
    assert isinstance(model.get_normalized_expression(return_numpy=True), np.ndarray)


def test_normalized_expression_averages_over_masks_and_effects(sure):
    """With an undecided mask a cell's expression is a mixture, not the decoded mean state."""
    module = sure.module
    module.perturbations.masks.logits.data.fill_(-50.0)
    module.perturbations.masks.logits.data[0, 0] = 0.0
    module.perturbations.effects.relative_loc.data[0, 0] = 20.0
    label = sure.adata.obs["perturbation"].to_numpy()
    cell = np.flatnonzero((label == "pert_0") & (sure.adata.obs["batch"] == "batch_0"))[:1]
    samples = sure.get_normalized_expression(indices=cell, n_samples=4_000, return_mean=False)
    x = torch.as_tensor(sure.adata.X.toarray()[cell])
    mixture = np.zeros((1, 30))
    for on in (0.0, 20.0):
        shift = torch.tensor([[on, 0, 0, 0]])
        with torch.no_grad():
            z = module.encoder(x, shift).loc + shift
            mixture += share_of(module, z, torch.tensor([[1.0, 0.0]])) / 2
    assert np.abs(np.log(mixture / decoded(sure)[cell])).max() > 0.2
    np.testing.assert_allclose(samples.mean(0), mixture, rtol=0.05)


def test_importance_weights_are_refused(model):
    with pytest.raises(NotImplementedError, match="standard normal prior"):
        model.get_normalized_expression(weights="importance", n_samples_overall=10)


def test_elbo_equals_its_direct_computation(sure):
    """Also the global terms, which scvi-tools leaves out of ``get_elbo`` if they are global."""
    module, rows = sure.module, np.sort(sure.train_indices)
    x = sure.adata.X.toarray()[rows]
    mean = decoded(sure)[rows] * x.sum(1, keepdims=True)
    theta = module.likelihood.log_dispersion.exp().detach().numpy()
    log_likelihood = stats.nbinom.logpmf(x, theta, theta / (theta + mean)).sum(1)
    basal, variance = sure.get_latent_representation(kind="basal", return_dist=True)
    basal, variance = basal[rows], variance[rows]
    kl_z = 0.5 * (variance + basal**2 - 1 - np.log(variance)).sum(1)
    # masks are sure, so each costs -log of its prior, and effects only where they are on
    raw_scale = module.perturbations.effects.raw_scale.detach().numpy().astype(float)[:, :2]
    scale = np.logaddexp(0, raw_scale)
    loc = module.perturbations.effects.relative_loc.detach().numpy()[:, :2]
    kl_effects = 0.5 * (scale**2 + loc**2 - 1) - np.log(scale)
    kl_masks = 6 * (2 * -np.log(0.01) + 2 * -np.log(0.99))
    kl_global = (kl_effects.sum() + kl_masks) / len(rows)
    expected = (log_likelihood - kl_z).mean() - kl_global
    assert sure.get_elbo(indices=rows).item() == pytest.approx(expected, rel=1e-4)
    assert kl_global > 1e-3 * abs(expected)


def test_elbo_per_cell_averages_to_the_mean(model):
    torch.manual_seed(0)
    per_cell = model.get_elbo(return_mean=False)
    torch.manual_seed(0)
    assert model.get_elbo().item() == pytest.approx(per_cell.mean().item(), rel=1e-4)
    assert per_cell.shape == (model.adata.n_obs,)


def test_reconstruction_error_and_marginal_likelihood_are_consistent(model):
    error = -model.get_reconstruction_error()["reconstruction_loss"]
    elbo = model.get_elbo()
    marginal = model.get_marginal_ll(n_mc_samples=50)
    assert elbo < error
    assert marginal > elbo
    iwelbo = model.get_predictive_iwelbo(n_particles=50).mean()
    assert marginal == pytest.approx(iwelbo, abs=1.0)


def test_differential_expression_finds_the_planted_change(sure):
    label = sure.adata.obs["perturbation"].to_numpy()
    result = sure.differential_expression(
        groupby="perturbation",
        group1="pert_0",
        group2="control",
        mode="change",
        silent=True,
    )
    share = decoded(sure)
    one, two = share[label == "pert_0"], share[label == "control"]
    # every pair of cells is equally likely in the estimator
    expected = np.log2(one).mean(0) - np.log2(two).mean(0)
    found = result.loc[sure.adata.var_names, "lfc_mean"]
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert {"raw_mean1", "bayes_factor", "proba_de"} <= set(result.columns)


def test_library_sizes_are_observed_not_latent(model):
    with pytest.raises(RuntimeError, match="library size"):
        model.get_latent_library_size()


def test_differential_expression_of_indices(model):
    label = model.adata.obs["perturbation"].to_numpy()
    result = model.differential_expression(
        idx1=label == "pert_1", idx2=label == "pert_2", silent=True
    )
    assert sorted(result.index) == sorted(model.adata.var_names)


def test_replicated_counts_have_the_decoded_mean(sure):
    samples = sure.posterior_predictive_sample(n_samples=100)
    assert samples.shape == (*sure.adata.shape, 100)
    mean = decoded(sure) * np.asarray(sure.adata.X.sum(1))
    np.testing.assert_allclose(samples.todense().mean(-1).mean(0), mean.mean(0), rtol=0.05)
    some = sure.posterior_predictive_sample(gene_list=["gene_4", "gene_1"])
    assert some.shape == (sure.adata.n_obs, 2)


def fitted(screen, likelihood):
    return trained(
        real_valued(screen) if likelihood == "normal" else screen, gene_likelihood=likelihood
    )


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
@pytest.mark.parametrize("n_samples", [1, 3])
def test_parameters_of_a_negative_binomial_are_given(screen, likelihood, n_samples):
    model = fitted(screen, likelihood)
    found = model.get_likelihood_parameters(n_samples=n_samples, give_mean=True)
    assert set(found) == {"mean", "dispersions"} | ({"dropout"} if likelihood == "zinb" else set())
    assert all(value.shape == screen.shape for value in found.values())
    theta = model.module.likelihood.log_dispersion.exp().detach().numpy()
    np.testing.assert_allclose(found["dispersions"][0], theta, rtol=1e-5)
    library = np.asarray(screen.X.sum(1))
    np.testing.assert_allclose(found["mean"].sum(1, keepdims=True), library, rtol=1e-4)


@pytest.mark.parametrize("likelihood", ["poisson", "normal"])
@pytest.mark.parametrize("method", ["get_likelihood_parameters", "get_feature_correlation_matrix"])
def test_what_needs_a_negative_binomial_says_so(screen, likelihood, method):
    model = fitted(screen, likelihood)
    message = f"`{method}` means nothing with gene_likelihood='{likelihood}'.*`get_normalized_"
    with pytest.raises(NotImplementedError, match=message):
        getattr(model, method)()


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_correlations_of_genes_are_given(screen, likelihood):
    found = fitted(screen, likelihood).get_feature_correlation_matrix(n_samples=2)
    np.testing.assert_allclose(np.diag(found), 1)


@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson"])
def test_counts_of_any_likelihood_are_compared(screen, likelihood):
    model = fitted(screen, likelihood)
    shares = model.get_normalized_expression().to_numpy()
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-4)
    result = model.differential_expression(
        groupby="perturbation", group1="pert_0", group2="control", mode="change", silent=True
    )
    assert np.isfinite(result.loc[screen.var_names, "lfc_mean"]).all()
    samples = model.posterior_predictive_sample(n_samples=2).todense()
    assert (samples >= 0).all()
    assert (samples == samples.round()).all()


def test_expression_of_real_values_is_in_their_unit(screen):
    model = fitted(screen, "normal")
    expression = model.get_normalized_expression(n_samples=20)
    assert list(expression.columns) == list(screen.var_names)
    assert (expression.to_numpy() < 0).any()
    latent = model.get_normalized_expression(n_samples=20, library_size="latent")
    np.testing.assert_allclose(expression.mean(), latent.mean(), atol=0.03)
    samples = model.posterior_predictive_sample(n_samples=20).todense()
    np.testing.assert_allclose(samples.mean((0, 2)), expression.mean(), atol=0.06)
    # at first the noise of each gene is about its standard deviation
    sd = model.adata.X.std(0)
    np.testing.assert_allclose(samples.std((0, 2)) / sd, 1.1, atol=0.3)


def test_what_needs_counts_says_so_of_real_values(screen):
    model = fitted(screen, "normal")
    with pytest.raises(NotImplementedError, match="`library_size` means nothing"):
        model.get_normalized_expression(library_size=1e4)
    with pytest.raises(NotImplementedError, match="`differential_expression` means nothing"):
        model.differential_expression(groupby="perturbation", silent=True)
