"""Average treatment effects."""

import numpy as np
import pytest
import torch

import scvi_sams as sams
from tests.conftest import trained


def test_ate_of_means_equals_a_direct_computation(screen):
    model = trained(screen)
    module = model.module
    # one library size and sure masks leave nothing to chance but the basal states
    module.perturbations.masks.logits.data.fill_(50.0)
    module.perturbations.effects.raw_scale.data.fill_(-30.0)
    module.decoder.from_covariates.weight.data.zero_()
    found = model.get_average_treatment_effects(
        ["pert_0", "pert_0+pert_2"], n_samples=20_000, normalization="mean"
    )
    assert list(found.obs_names) == ["pert_0", "pert_0+pert_2"]
    library = screen.X.sum(1)[model.train_indices].mean()
    shift = module.perturbations.effects.relative_loc.detach()
    torch.manual_seed(1)
    z, nothing = torch.randn(20_000, 4), torch.zeros(20_000, 2)

    def mean(offset):
        with torch.no_grad():
            hidden = module.decoder(z + offset, nothing)
        return module.likelihood.to_genes(hidden).softmax(-1).mean(0).detach().numpy() * library

    for row, offset_ in enumerate([shift[0], shift[0] + shift[2]]):
        np.testing.assert_allclose(found.X[row], mean(offset_) - mean(0 * offset_), atol=0.05)


def test_ate_of_a_perturbation_without_effect_is_nearly_zero(model):
    model.module.perturbations.masks.logits.data[0] = -50.0
    means = model.get_average_treatment_effects(["pert_0"], normalization="mean", n_samples=100)
    np.testing.assert_allclose(means.X, 0, atol=1e-5)
    logs = model.get_average_treatment_effects(["pert_0"], n_samples=5_000)
    assert np.abs(logs.X).max() < 0.3


def test_ate_is_repeatable_and_leaves_the_global_state(model):
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = model.get_average_treatment_effects("pert_1", n_samples=50)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()
    second = model.get_average_treatment_effects("pert_1", n_samples=50)
    np.testing.assert_array_equal(first.X, second.X)
    other = model.get_average_treatment_effects("pert_1", n_samples=50, seed=1)
    assert not np.array_equal(first.X, other.X)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"perturbations": "pert_9"}, "nearest", id="unknown"),
        pytest.param({"perturbations": []}, "is empty", id="none"),
        pytest.param({"perturbations": "PERT_1"}, "nearest: 'pert_1'", id="case"),
        pytest.param({"n_samples": 1}, "at least 2", id="n_samples"),
        pytest.param({"normalization": "tpm"}, "'log2_cp10k' or 'mean'", id="normalization"),
    ],
)
def test_bad_ate_request_names_the_culprit(model, kwargs, message):
    with pytest.raises(ValueError, match=message):
        model.get_average_treatment_effects(**kwargs)


def test_conditions_are_read_like_labels(model):
    single, *same = (
        model.get_average_treatment_effects(name, n_samples=40)
        for name in ["pert_1", "pert_1+control", "pert_1+pert_1", "pert_1 + control"]
    )
    for other in same:
        np.testing.assert_array_equal(other.X, single.X)
    for scale in ("mean", "log2_cp10k"):
        nothing = model.get_average_treatment_effects("control", n_samples=40, normalization=scale)
        np.testing.assert_array_equal(nothing.X, 0)
    one, other = model.get_average_treatment_effects(["pert_0+pert_2", "pert_2+pert_0"]).X
    np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="empty part"):
        model.get_average_treatment_effects("pert_1+")


def test_ate_does_not_depend_on_the_data_at_hand(model, screen, tmp_path):
    expected = model.get_average_treatment_effects("pert_1", n_samples=100).X
    model.save(str(tmp_path / "model"))
    shallow = screen[:40].copy()
    shallow.X = shallow.X.copy()
    shallow.X.data = np.ones_like(shallow.X.data)
    for data in (False, shallow):
        loaded = sams.SAMSVAE.load(str(tmp_path / "model"), data, accelerator="cpu")
        found = loaded.get_average_treatment_effects("pert_1", n_samples=100).X
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("dispersion", ["gene", "gene-cell"])
@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_ate_of_logs_equals_independent_sampling(screen, likelihood, dispersion):
    """Also where the arms differ in their dispersions, or in the share of lost counts."""
    model = trained(screen, gene_likelihood=likelihood, dispersion=dispersion)
    module, n = model.module, 20_000
    module.perturbations.masks.logits.data.fill_(50.0)
    module.perturbations.effects.raw_scale.data.fill_(-30.0)
    module.perturbations.effects.relative_loc.data.normal_(std=4)
    module.decoder.from_covariates.weight.data.zero_()
    if dispersion == "gene-cell":
        module.likelihood.log_dispersion.weight.data.mul_(4)
    found = model.get_average_treatment_effects(["pert_0"], n_samples=n).X[0]

    rng = np.random.default_rng(0)
    shift = module.perturbations.effects.relative_loc.detach()[0]
    libraries = np.asarray(screen.X.sum(1)).ravel()[model.train_indices]
    expected = 0.0
    for sign, offset in [(1, shift), (-1, 0 * shift)]:
        library = rng.choice(libraries, n)[:, None]
        with torch.no_grad():
            z = torch.tensor(rng.normal(size=(n, 4)), dtype=torch.float32) + offset
            hidden = module.decoder(z, torch.zeros(n, 2))
            share = module.likelihood.to_genes(hidden).softmax(-1).double().numpy()
            theta = module.likelihood.dispersion(hidden).double().numpy()
        counts = rng.poisson(rng.gamma(theta, library * share / theta))
        if likelihood == "zinb":
            lost = torch.sigmoid(module.likelihood.to_dropout(hidden)).detach().numpy()
            counts = counts * (rng.random(counts.shape) > lost)
        total = np.maximum(counts.sum(1, keepdims=True), 1)
        expected = expected + sign * np.log2(1 + 1e4 * counts / total).mean(0)
    np.testing.assert_allclose(found, expected, atol=0.2)
    assert np.abs(expected).max() > 0.8
