"""What a model does not know, as it learns from its training cells."""

import numpy as np
import pytest
import scvi
import torch
from torch.nn import functional as F

import scvi_sams as sams
from scvi_sams.model._calibration import CalibrationMixin
from tests.conftest import real_valued, trained

SCALES = ("log2_cp10k", "mean")


@pytest.fixture
def no_effects():
    """Cells of 12 perturbations that do nothing: whatever they show is noise."""
    return sams.datasets.simulate(
        12,
        n_cells_per_perturbation=40,
        n_control=150,
        n_genes=30,
        n_latent=3,
        null_fraction=1.0,
        seed=2,
    )


def knows_of_no_effect(adata):
    """A model whose masks are off."""
    model = trained(adata)
    model.module.perturbations.masks.logits.data.fill_(-50.0)
    model._calibrate(np.asarray(model.train_indices))
    return model


def with_own_effects(adata, factor):
    """The counts of one gene per perturbation times a factor."""
    adata = adata.copy()
    x = adata.X.toarray()
    for own, label in enumerate(sorted(set(adata.obs["perturbation"]) - {"control"})):
        x[(adata.obs["perturbation"] == label).to_numpy(), own] *= factor
    adata.X = x.astype(np.float32)
    return adata


def test_screen_without_controls_has_no_misfit(screen):
    perturbed = screen[screen.obs["perturbation"] != "control"].copy()
    model = trained(perturbed, setup={"control": None})
    for name in SCALES:
        np.testing.assert_array_equal(model.uncertainty_["misfit"][name], 0)
        assert (model.uncertainty_["spread"][name] > 0).all()
    found = model.get_average_treatment_effects("pert_0", n_samples=50)
    assert np.isfinite(found.layers["lower"]).all()


def test_screen_of_few_cells_of_each_condition_has_no_misfit(screen):
    few = screen.obs.groupby("perturbation", observed=True).cumcount() < 8
    model = trained(screen[few.to_numpy()].copy())
    for name in SCALES:
        np.testing.assert_array_equal(model.uncertainty_["misfit"][name], 0)
        np.testing.assert_array_equal(model.uncertainty_["spread"][name], 0)


def test_cells_that_show_noise_alone_leave_little_misfit(no_effects):
    model = knows_of_no_effect(no_effects)
    for name in SCALES:
        assert model.uncertainty_["misfit"][name][1] < 0.01


def test_effects_on_own_genes_are_misfit(no_effects):
    factor, n_genes = 6, no_effects.n_vars
    planted = with_own_effects(no_effects, factor)
    model = knows_of_no_effect(planted)
    gamma = model.uncertainty_["misfit"]["log2_cp10k"][1]
    # one gene in each condition is log2(6) off
    spread = model.uncertainty_["spread"]["log2_cp10k"]
    expected = np.mean(np.log2(factor) ** 2 / spread[:12]) / n_genes
    assert 0.3 * expected < gamma < 3 * expected
    assert gamma > 10 * knows_of_no_effect(no_effects).uncertainty_["misfit"]["log2_cp10k"][1]
    found = model.get_average_treatment_effects("pert_00", n_samples=100)
    np.testing.assert_allclose(found.layers["sd"][0], np.sqrt(gamma * spread), rtol=1e-4)


def test_effects_that_masks_leave_open_are_not_taken_for_misfit(no_effects):
    """What is uncertain lets residuals of a model that has seen them vary less."""
    model = knows_of_no_effect(no_effects)
    posterior = model.module.perturbations
    posterior.effects.relative_loc.data.fill_(2.0)
    posterior.masks.logits.data.fill_(-5.0)  # rarely on, and then far away
    model._calibrate(np.asarray(model.train_indices))
    assert model.uncertainty_["misfit"]["log2_cp10k"][1] < 0.05


def test_spread_is_the_variance_within_conditions(screen):
    model = trained(screen)
    cells = np.asarray(model.train_indices)
    x = screen.X[cells].toarray().astype(float)
    # parts of a combination have doses of their own only with their column: here all are 1
    labels = screen.obs["perturbation"].to_numpy()[cells]
    sums, degrees = 0, 0
    for label in np.unique(labels):
        rows = x[labels == label]
        if len(rows) >= 10:
            sums, degrees = sums + ((rows - rows.mean(0)) ** 2).sum(0), degrees + len(rows) - 1
    np.testing.assert_allclose(model.uncertainty_["spread"]["mean"], sums / degrees, rtol=1e-5)


def test_information_on_the_output_layer_is_that_of_all_training_cells(screen):
    model = trained(real_valued(screen), gene_likelihood="normal")
    cells, module = np.asarray(model.train_indices), model.module
    with torch.inference_mode():
        found = model._of_decoder(cells)
    state = torch.as_tensor(model.get_latent_representation(indices=cells)).clone()
    batch = torch.tensor(screen.obs["batch"].cat.codes.to_numpy()[cells]).long()
    with torch.no_grad():
        hidden = module.decoder(state, F.one_hot(batch).float()).double()
        precision = (-2 * module.likelihood.log_dispersion).exp()
    centred = (hidden - hidden.mean(0)).numpy()
    assert found.n_cells == len(cells)
    np.testing.assert_allclose(found.hidden_mean, hidden.mean(0), atol=1e-5)
    rebuilt = found.axes * found.size @ found.axes.T
    np.testing.assert_allclose(rebuilt, centred.T @ centred, atol=1e-3)
    np.testing.assert_allclose(found.information, precision, rtol=1e-3)


@pytest.mark.parametrize("data", ["with", "without"])
def test_loaded_model_has_the_same_intervals(screen, tmp_path, data):
    model = trained(screen)
    expected = model.get_average_treatment_effects(n_samples=60)
    model.save(str(tmp_path / "model"))
    loaded = sams.SAMSVAE.load(
        str(tmp_path / "model"), screen if data == "with" else False, accelerator="cpu"
    )
    found = loaded.get_average_treatment_effects(n_samples=60)
    np.testing.assert_array_equal(found.X, expected.X)
    for layer in ("sd", "lower", "upper", "lfsr"):
        np.testing.assert_array_equal(found.layers[layer], expected.layers[layer])


def test_calibration_leaves_the_global_state_and_repeats_itself(screen):
    model = trained(screen)
    expected = model.uncertainty_
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    model._calibrate(np.asarray(model.train_indices))
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()
    for name in SCALES:
        np.testing.assert_array_equal(model.uncertainty_["misfit"][name], expected["misfit"][name])


def test_training_ends_in_the_same_state_with_and_without_calibration(screen, monkeypatch):
    trained(screen)
    state = torch.get_rng_state()
    monkeypatch.setattr(CalibrationMixin, "_calibrate", lambda *_: None)
    scvi.settings.seed = 0
    trained(screen)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("part", ["likelihood.to_genes", "decoder.from_state"])
@pytest.mark.parametrize("value", [np.nan, np.inf], ids=["nan", "inf"])
def test_model_whose_training_diverged_is_calibrated_without_a_misfit(model, part, value):
    model.module.get_submodule(part).weight.data.fill_(value)
    model._calibrate(np.asarray(model.train_indices))
    for name in SCALES:
        np.testing.assert_array_equal(model.uncertainty_["misfit"][name], 0)
    found = model.get_average_treatment_effects("pert_0", n_samples=50)
    assert np.isnan(found.X).all()


@pytest.mark.parametrize("name", ["CPAVAE", "SVAEPlus", "ConditionalVAE"])
def test_all_models_of_the_family_are_calibrated(screen, name):
    model = trained(screen, cls=getattr(sams, name))
    uncertainty = model.uncertainty_
    assert uncertainty["misfit"].keys() == set(SCALES)
    for value in ("information", "precision", "size"):
        assert (uncertainty[value] >= 0).all()
    found = model.get_average_treatment_effects(n_samples=50)
    assert np.isfinite(found.layers["upper"]).all()
