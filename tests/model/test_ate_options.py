"""Average treatment effects in chosen cells, covariates, libraries and doses."""

import anndata as ad
import numpy as np
import pytest
import torch

from tests.conftest import MODELS, trained
from tests.model.screens import (
    bare,
    decoded,
    dosed_screen,
    left_alone,
    planted,
    planted_model,
    totals,
)


@pytest.fixture(scope="module")
def model():
    return planted_model()


@pytest.fixture(scope="module")
def without_controls():
    adata = dosed_screen()
    adata = adata[adata.obs["perturbation"] != "control"].copy()
    return planted(trained(adata, setup={"control": None}))


def effects(model, perturbations="pert_1", **kwargs):
    kwargs = {"n_samples": 40} | kwargs
    return model.get_average_treatment_effects(perturbations, **kwargs)


def controls(model):
    return model.adata[model.adata.obs["perturbation"] == "control"]


def test_effect_in_one_given_cell_is_that_of_its_state(model):
    cell = model.adata[[100]].copy()
    found = effects(model, ["pert_0", "pert_0+pert_2"], basal=bare(cell), normalization="mean")
    assert found.uns["ate"]["basal"] == "cells"
    z = model.get_latent_representation(cell, kind="basal")
    shifts = model.get_perturbation_effects()[["pert_0", "pert_2"]].X
    base = decoded(model, z, cell)
    for row, shift in enumerate([shifts[0], shifts[0] + shifts[1]]):
        expected = totals(cell) * (decoded(model, z + shift, cell) - base)[0]
        np.testing.assert_allclose(found.X[row], expected, rtol=0.01, atol=0.02)


def test_effects_in_control_cells_are_those_in_an_anndata_of_them(model):
    found = effects(model, ["pert_1", "pert_3"], basal="control_cells")
    assert found.uns["ate"]["basal"] == "control_cells"
    with left_alone(controls(model)):
        expected = effects(model, ["pert_1", "pert_3"], basal=controls(model))
    np.testing.assert_allclose(found.X, expected.X, rtol=1e-4, atol=1e-6)
    assert not np.allclose(found.X, effects(model, ["pert_1", "pert_3"]).X, atol=1e-3)


def test_effects_in_control_cells_average_over_all_of_them(model):
    found = effects(model, basal="control_cells", normalization="mean", n_samples=10_000).X[0]
    cells = controls(model).copy()
    z = model.get_latent_representation(cells, kind="basal")
    shift = model.get_perturbation_effects()["pert_1"].X
    moves = decoded(model, z + shift, cells) - decoded(model, z, cells)
    each = totals(cells)[:, None] * moves
    error = each.std(0) / np.sqrt(10_000)
    assert (np.abs(found - each.mean(0)) < 5 * error + 1e-3 * np.abs(each).max(0)).all()


@pytest.mark.parametrize("cls", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("basal", ["prior", "control_cells"])
def test_every_model_has_effects_in_both_populations(cls, basal):
    model = planted(trained(dosed_screen(), cls=cls))
    found = effects(model, None, basal=basal, n_samples=10)
    assert np.isfinite(found.X).all()
    assert (found.layers["lower"] <= found.layers["upper"]).all()


def test_effects_on_means_are_in_proportion_to_the_library(model):
    one, two = (
        effects(model, library_size=size, normalization="mean").X for size in (1_000, 2_000)
    )
    np.testing.assert_allclose(two, 2 * one, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(one.sum(1), 0, atol=0.05)  # shares sum to one in either arm


def test_library_size_replaces_that_of_given_cells(model):
    cell = model.adata[[100]].copy()
    own = effects(model, basal=cell, normalization="mean").X
    same = effects(model, basal=cell, normalization="mean", library_size=totals(cell)[0]).X
    np.testing.assert_allclose(same, own, rtol=1e-4, atol=1e-4)


def test_size_factors_are_in_the_unit_of_the_user():
    model = planted_model(setup={"size_factor_key": "depth"})
    mean = float(model.module.mean_size_factor)
    one, three = (
        effects(model, library_size=factor * mean, normalization="mean").X for factor in (1, 3)
    )
    np.testing.assert_allclose(three, 3 * one, rtol=1e-3, atol=1e-3)


def test_covariates_replace_those_of_given_cells(model):
    found = effects(model, basal="control_cells", covariates={"batch": ["batch_0", "batch_1"]})
    assert list(found.obs_names) == ["pert_1, batch_0", "pert_1, batch_1"]
    assert list(found.obs["batch"]) == ["batch_0", "batch_1"]
    moved = controls(model).copy()
    for row, batch in enumerate(["batch_0", "batch_1"]):
        moved.obs["batch"] = batch
        expected = effects(model, basal=bare(moved)).X[0]
        np.testing.assert_allclose(found.X[row], expected, rtol=1e-4, atol=1e-5)


def test_doses_of_one_condition_are_rows_that_equal_those_alone(model):
    found = effects(model, "pert_1", doses=[0, 0.5, 1, 2])
    np.testing.assert_array_equal(found.obs["dose"], [0, 0.5, 1, 2])
    for row, dose in enumerate([0, 0.5, 1, 2]):
        np.testing.assert_array_equal(found.X[row], effects(model, doses=dose).X[0])
    size = np.abs(found.X).sum(1)
    assert size[0] == 0
    assert (np.diff(size) > 0).all()


def test_effects_against_another_condition_are_differences(model):
    found = effects(model, "pert_0", control="pert_3", normalization="mean", n_samples=500)
    one, other = effects(model, ["pert_0", "pert_3"], normalization="mean", n_samples=500).X
    np.testing.assert_allclose(found.X[0], one - other, rtol=1e-3, atol=0.01)
    assert found.uns["ate"]["control"] == "pert_3"
    swapped = effects(model, "pert_3", control="pert_0", normalization="mean", n_samples=500)
    np.testing.assert_allclose(swapped.X, -found.X, rtol=1e-3, atol=1e-3)
    nothing = effects(model, "pert_3", control="pert_3")
    np.testing.assert_array_equal(nothing.X, 0)
    np.testing.assert_array_equal(nothing.layers["lfsr"], 1)


def test_results_of_all_options_survive_h5ad(model, tmp_path):
    found = effects(
        model,
        ["pert_1", "pert_0+pert_5"],
        doses=[1, "1+2"],
        basal=controls(model),
        library_size=500.0,
        covariates={"batch": ["batch_0", "batch_1"]},
    )
    found.write_h5ad(tmp_path / "ate.h5ad")
    back = ad.read_h5ad(tmp_path / "ate.h5ad")
    assert list(back.obs_names) == list(found.obs_names)
    np.testing.assert_array_equal(back.layers["lower"], found.layers["lower"])
    assert back.uns["ate"] == found.uns["ate"]


@pytest.mark.parametrize("basal", ["prior", "control_cells"])
def test_options_leave_the_global_state(model, basal):
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    effects(model, basal=basal, n_samples=5, library_size=10, covariates={"batch": "batch_0"})
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()


def test_screen_without_controls_has_no_control_cells(without_controls):
    assert np.isfinite(effects(without_controls).X).all()
    with pytest.raises(ValueError, match=r"no control cells. Use `basal='prior'`, or pass"):
        effects(without_controls, basal="control_cells")
    cells = without_controls.adata[:5].copy()
    assert np.isfinite(effects(without_controls, basal=cells).X).all()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"basal": "control"}, "`basal` must be 'prior', .*'control'", id="basal"),
        pytest.param({"basal": None}, "`basal` must be .* an AnnData; it is None", id="no-basal"),
        pytest.param({"basal": [1, 2]}, "`basal` must be .* an AnnData", id="positions"),
        pytest.param({"library_size": -1}, "`library_size` must be .*-1", id="library"),
        pytest.param({"library_size": "all"}, "`library_size` must be .*'all'", id="library-text"),
        pytest.param({"library_size": True}, "`library_size` must be .*True", id="library-bool"),
        pytest.param(
            {"n_samples": 1}, "`n_samples` must be an integer of at least 4", id="n_samples"
        ),
        pytest.param({"credible_mass": 1}, r"`credible_mass` must lie in \(0, 1\)", id="mass-1"),
        pytest.param({"credible_mass": 0.0}, "`credible_mass` must lie", id="mass-0"),
        pytest.param({"normalization": "cpm"}, "`normalization` must be.*'cpm'", id="scale"),
        pytest.param({"control": "ctrl"}, "'ctrl'", id="control"),
        pytest.param({"control": "pert_11"}, "'pert_11'; nearest: 'pert_1'", id="other-arm"),
        pytest.param({"perturbations": ()}, "`perturbations` is empty", id="none"),
    ],
)
def test_bad_option_names_the_culprit(model, kwargs, message):
    with left_alone(model.adata), pytest.raises(ValueError, match=message):
        model.get_average_treatment_effects(**kwargs)


def test_cells_without_any_are_refused(model):
    empty = model.adata[:0]
    with left_alone(empty), pytest.raises(ValueError, match="no cells"):
        effects(model, basal=empty)
