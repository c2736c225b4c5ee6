"""Latent states, effects, bounds, annotation and average treatment effects."""

import anndata as ad
import numpy as np
import pytest
import scvi
import torch
from scipy import stats

import scvi_sams as sams
from scvi_sams.module._perturbations import offset
from tests.conftest import SMALL, set_up, trained


def offsets_of(model, shifts):
    packed = torch.as_tensor(model.adata.obsm["_scvi_perturbations"])
    index, dosage = packed.chunk(2, dim=1)
    return offset(shifts, index.long(), dosage)


def test_latent_state_is_the_encoder_at_the_expected_offset(model):
    module = model.module
    with torch.no_grad():
        shift = offsets_of(model, module.perturbations.expected_shifts())
        state = module.encoder(torch.as_tensor(model.adata.X.toarray()), shift)
    basal = model.get_latent_representation(kind="basal")
    np.testing.assert_allclose(basal, state.loc, atol=1e-5)
    np.testing.assert_allclose(model.get_latent_representation(), state.loc + shift, atol=1e-5)
    mean, variance = model.get_latent_representation(return_dist=True)
    np.testing.assert_allclose(mean, state.loc + shift, atol=1e-5)
    np.testing.assert_allclose(variance, state.variance, atol=1e-5)


def test_samples_of_the_latent_state_vary_around_their_mean(model):
    draws = np.stack([model.get_latent_representation(give_mean=False) for _ in range(60)])
    control = model.adata.obs["perturbation"].to_numpy() == "control"
    mean, variance = model.get_latent_representation(return_dist=True)
    np.testing.assert_allclose(draws[:, control].mean(0).mean(), mean[control].mean(), atol=0.1)
    assert draws[:, control].var(0).mean() == pytest.approx(variance[control].mean(), rel=0.2)


def test_subset_of_cells_and_own_dataloader(model):
    everything = model.get_latent_representation()
    np.testing.assert_allclose(
        model.get_latent_representation(indices=[3, 7]), everything[[3, 7]], atol=1e-6
    )
    loader = model._make_data_loader(model.adata, batch_size=50)
    np.testing.assert_allclose(
        model.get_latent_representation(dataloader=loader), everything, atol=1e-6
    )


def test_unknown_kind_raises(model):
    with pytest.raises(ValueError, match="'perturbed' or 'basal'; it is 'both'"):
        model.get_latent_representation(kind="both")


def test_effects_are_the_posterior(model):
    effects = model.get_perturbation_effects()
    q = effects.layers["inclusion_probability"]
    np.testing.assert_allclose(effects.X, q * effects.layers["effect_mean"], rtol=1e-6)
    draws = model.module.perturbations.rsample_shifts(torch.arange(6), 20_000).detach()
    np.testing.assert_allclose(effects.X, draws.mean(0), atol=0.02)
    assert list(effects.obs_names) == [f"pert_{t}" for t in range(6)]
    assert (effects.layers["effect_sd"] > 0).all()


@pytest.mark.parametrize("guide", ["mean_field", "spike_slab"])
def test_each_guide_trains(screen, guide):
    effects = trained(screen, effect_guide=guide).get_perturbation_effects()
    assert np.isfinite(effects.X).all()


def test_predictive_iwelbo_equals_a_direct_computation(model):
    n_particles, rows = 7, [0, 5, 100, 180]
    torch.manual_seed(11)
    found = model.get_predictive_iwelbo(indices=rows, n_particles=n_particles)
    torch.manual_seed(11)
    module = model.module
    with torch.no_grad():
        shifts = module.perturbations.rsample_shifts(torch.arange(6), n_particles)
        shift = offsets_of(model, shifts)[:, rows]
        # a data loader draws a seed of its own
        x = next(iter(model._make_data_loader(model.adata, indices=rows)))["X"]
        qz = module.encoder(x, shift)
        z = qz.rsample()
        batch = torch.tensor(model.adata.obs["_scvi_batch"].to_numpy()[rows]).long()
        share = module.decoder(z + shift, torch.eye(2)[batch]).exp()
        theta = module.log_theta.exp()
    mean = share * x.sum(1, keepdim=True)
    log_weight = (
        stats.nbinom.logpmf(x, theta, theta / (theta + mean)).sum(-1)
        + stats.norm.logpdf(z).sum(-1)
        - stats.norm.logpdf(z, qz.loc, qz.scale).sum(-1)
    )
    expected = np.log(np.exp(log_weight - log_weight.max(0)).mean(0)) + log_weight.max(0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert list(found.index) == list(model.adata.obs_names[rows])


def test_predictive_iwelbo_grows_with_particles_on_average(model):
    few = np.mean([model.get_predictive_iwelbo(n_particles=1).mean() for _ in range(5)])
    assert model.get_predictive_iwelbo(n_particles=50).mean() > few


def test_predictive_iwelbo_of_a_boolean_selection(model):
    chosen = (model.adata.obs["perturbation"] == "pert_1").to_numpy()
    values = model.get_predictive_iwelbo(indices=chosen, n_particles=2)
    assert list(values.index) == list(model.adata.obs_names[chosen])


def test_predictive_iwelbo_of_no_cells_raises(model):
    with pytest.raises(ValueError, match="chooses no cells"):
        model.get_predictive_iwelbo(indices=[])


def test_particles_must_be_positive(model):
    with pytest.raises(ValueError, match="at least 1; it is 0"):
        model.get_predictive_iwelbo(n_particles=0)


def test_untrained_model_gives_no_results(screen):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    for method in (
        model.get_latent_representation,
        model.get_perturbation_effects,
        model.annotate,
        model.get_average_treatment_effects,
        model.get_predictive_iwelbo,
    ):
        with pytest.raises(RuntimeError, match="untrained model"):
            method()


def test_annotation_survives_writing(model, tmp_path):
    model.annotate()
    path = tmp_path / "screen.h5ad"
    model.adata.write_h5ad(path)
    back = ad.read_h5ad(path)
    np.testing.assert_allclose(back.obsm["X_sams"], model.get_latent_representation(), atol=1e-6)
    np.testing.assert_allclose(
        back.obsm["X_sams_basal"], model.get_latent_representation(kind="basal"), atol=1e-6
    )
    result = back.uns["sams"]
    np.testing.assert_allclose(result["effects"], model.get_perturbation_effects().X)
    assert list(result["perturbation_names"]) == list(model.perturbation_names)
    assert result["settings"]["model"] == "SAMSVAE"
    assert result["settings"]["n_latent"] == 4
    assert (back.obsm["perturbations"] != model.adata.obsm["perturbations"]).nnz == 0


def test_annotation_of_other_data_leaves_the_model_data_alone(model, screen):
    other = screen[:50].copy()
    model.annotate(other)
    assert other.obsm["X_sams"].shape == (50, 4)
    assert "X_sams" not in model.adata.obsm


def test_ate_of_means_equals_a_direct_computation(screen):
    model = trained(screen)
    module = model.module
    # one library size and sure masks leave nothing to chance but the basal states
    module.perturbations.mask.logits.data.fill_(50.0)
    module.perturbations.effects.raw_scale.data.fill_(-30.0)
    module.decoder.from_covariates.weight.data.zero_()
    found = model.get_average_treatment_effects(
        ["pert_0", "pert_0+pert_2"], n_samples=20_000, normalization="mean"
    )
    assert list(found.obs_names) == ["pert_0", "pert_0+pert_2"]
    library = screen.X.sum(1)[model.train_indices].mean()
    shift = module.perturbations.effects.loc.detach()
    torch.manual_seed(1)
    z, nothing = torch.randn(20_000, 4), torch.zeros(20_000, 2)

    def mean(offset):
        with torch.no_grad():
            return module.decoder(z + offset, nothing).exp().mean(0).numpy() * library

    for row, offset_ in enumerate([shift[0], shift[0] + shift[2]]):
        np.testing.assert_allclose(found.X[row], mean(offset_) - mean(0 * offset_), atol=0.05)


def test_ate_of_a_perturbation_without_effect_is_nearly_zero(model):
    model.module.perturbations.mask.logits.data[0] = -50.0
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


def test_recovers_null_perturbations_and_effects_of_an_easy_screen():
    """A trained model finds what was planted, on the whole, and nothing where nothing was."""
    scvi.settings.seed = 0
    adata = sams.datasets.simulate(
        12,
        n_cells_per_perturbation=60,
        n_control=200,
        n_genes=60,
        n_latent=3,
        effect_size=4,
        n_batches=1,
        seed=2,
    )
    set_up(adata)
    model = sams.SAMSVAE(adata, n_latent=3, n_hidden=32)
    model.train(max_epochs=200, batch_size=128, enable_progress_bar=False, accelerator="cpu")
    truth = adata.uns["truth"]
    inclusion = model.get_perturbation_effects().layers["inclusion_probability"]
    null = truth["masks"].sum(1) == 0
    assert (inclusion[null] > 0.5).mean() < 0.1
    ate = model.get_average_treatment_effects()
    r = np.corrcoef(ate.X.ravel(), truth["average_treatment_effects"].ravel())[0, 1]
    assert r > 0.9


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


def test_model_without_data_says_so(model, tmp_path):
    model.save(str(tmp_path / "model"))
    loaded = sams.SAMSVAE.load(str(tmp_path / "model"), False, accelerator="cpu")
    for method in (loaded.annotate, loaded.get_latent_representation, loaded.train):
        with pytest.raises(ValueError, match="loaded without data"):
            method()
