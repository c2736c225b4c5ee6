"""Predicted cells."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from mudata import MuData
from scipy import sparse

import scvi_sams as sams
from tests.conftest import MODELS, SMALL, real_valued, set_up, trained
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
def of_real_values():
    return planted(trained(real_valued(dosed_screen()), gene_likelihood="normal"))


def shifts_of(model, **doses):
    effects = model.get_perturbation_effects()
    return sum(dose * effects[name].X[0] for name, dose in doses.items())


def basal_states(model):
    return model.get_latent_representation(kind="basal")


def rng_states():
    return torch.get_rng_state(), np.random.get_state()[1].copy()


def test_cells_come_condition_after_condition(model):
    found = model.predict(["pert_1", "pert_0+pert_2"], doses=[1, "2+0.5"], n_cells=4)
    assert found.shape == (8, 30)
    assert list(found.var_names) == list(model.adata.var_names)
    assert list(found.obs["perturbation"]) == ["pert_1"] * 4 + ["pert_0+pert_2"] * 4
    np.testing.assert_array_equal(found.obs["dose"], [1] * 4 + [np.nan] * 4)
    assert list(found.obs) == ["perturbation", "dose", "trained", "dose_support", "batch"]
    assert found.obs_names.is_unique
    assert model.predict().n_obs == 6 * 500


@pytest.mark.parametrize(
    ("kind", "units"), [("counts", "counts"), ("mean", "expected counts")], ids=["counts", "mean"]
)
def test_settings_are_kept_with_the_units(model, kind, units):
    uns = model.predict("pert_1", n_cells=2, kind=kind, library_size=10, seed=3).uns["prediction"]
    expected = {"kind": kind, "units": units, "basal": "prior", "library_size": 10, "seed": 3}
    assert uns == expected
    given = model.predict("pert_1", cells=[0], kind=kind).uns["prediction"]
    assert given["basal"] == "cells"
    assert given["library_size"] == "observed"


def test_counts_are_integers_with_the_mean_of_an_independent_simulation(model):
    n = 6_000
    found = model.predict("pert_0+pert_2", n_cells=n)
    assert isinstance(found.X, sparse.csr_matrix)
    assert (found.X.data > 0).all()
    assert (found.X.data == np.round(found.X.data)).all()
    rng = np.random.default_rng(1)
    train = model.adata[rng.choice(model.train_indices, n)]
    z = rng.normal(size=(n, 4)) + shifts_of(model, pert_0=1, pert_2=1)
    mu = totals(train)[:, None] * decoded(model, z, train)
    counts = found.X.toarray()
    error = np.sqrt((mu.var(0) + counts.var(0)) / n)
    assert (np.abs(counts.mean(0) - mu.mean(0)) < 5 * error).all()
    # noise of the negative binomial: its variance given the mean
    theta = model.module.likelihood.log_dispersion.exp().detach().numpy()
    variance = mu.var(0) + (mu + mu**2 / theta).mean(0)
    np.testing.assert_allclose(counts.var(0), variance, rtol=0.25)


def test_library_sizes_are_those_of_training_cells(model):
    found = model.predict("pert_1", n_cells=300, kind="mean").X.sum(1)
    train = np.sort(totals(model.adata)[model.train_indices])
    nearest = np.abs(found[:, None] - train).min(1)
    np.testing.assert_allclose(nearest / found, 0, atol=1e-5)
    assert len(np.unique(np.round(found))) > 100


def test_library_size_can_be_set(model):
    mean = model.predict(["pert_1", "control"], n_cells=9, kind="mean", library_size=123.0).X
    np.testing.assert_allclose(mean.sum(1), 123, rtol=1e-5)
    given = model.predict("pert_1", cells=[0, 1], kind="mean", library_size=123).X
    np.testing.assert_allclose(given.sum(1), 123, rtol=1e-5)


def test_size_factor_can_be_set():
    model = planted_model(setup={"size_factor_key": "depth"})
    one, two = (
        model.predict("pert_1", n_cells=5, kind="mean", library_size=size).X
        for size in (1_000, 2_000)
    )
    np.testing.assert_allclose(two, 2 * one, rtol=1e-5)


def test_mean_is_the_mean_of_counts(model):
    counts = model.predict("pert_1", cells=[3] * 2_000).X.toarray()
    mean = model.predict("pert_1", cells=[3], kind="mean").X
    assert isinstance(mean, np.ndarray)
    error = counts.std(0) / np.sqrt(2_000)
    assert (np.abs(counts.mean(0) - mean[0]) < 5 * error + 1e-3 * mean[0]).all()


def test_zero_inflation_is_in_the_mean():
    model = planted_model(gene_likelihood="zinb")
    model.module.likelihood.to_dropout.weight.data.zero_()
    model.module.likelihood.to_dropout.bias.data.zero_()  # every other count is lost
    found = model.predict("pert_1", n_cells=5, kind="mean", library_size=100).X
    np.testing.assert_allclose(found.sum(1), 50, rtol=1e-5)
    assert (model.predict("pert_1", n_cells=200).X != 0).mean() < 0.55


def test_real_values_have_the_mean_and_spread_of_the_model(of_real_values):
    found = of_real_values.predict("pert_1", cells=[5] * 4_000)
    assert isinstance(found.X, np.ndarray)
    assert found.uns["prediction"]["units"] == "unit of the data"
    mean = of_real_values.predict("pert_1", cells=[5], kind="mean")
    assert mean.uns["prediction"]["units"] == "expected unit of the data"
    likelihood = of_real_values.module.likelihood
    sd = (likelihood.unit * likelihood.log_dispersion.exp()).detach().numpy()
    np.testing.assert_allclose(found.X.std(0), sd, rtol=0.1)
    assert (np.abs(found.X.mean(0) - mean.X[0]) < 5 * sd / np.sqrt(4_000)).all()


def test_noise_is_not_that_of_the_basal_states(of_real_values):
    """Each has random numbers of its own, also in the first condition."""
    likelihood = of_real_values.module.likelihood
    sd = (likelihood.unit * likelihood.log_dispersion.exp()).detach().numpy()
    sample, mean = (
        of_real_values.predict("control", n_cells=200, kind=kind).X for kind in ("counts", "mean")
    )
    noise = ((sample - mean) / sd).ravel()
    torch.manual_seed(0)
    basal = torch.randn(200, 4).numpy().ravel()
    assert np.abs(np.corrcoef(noise[: len(basal)], basal)[0, 1]) < 0.15


@pytest.mark.parametrize(
    ("label", "doses", "received"),
    [
        pytest.param("pert_0", None, {"pert_0": 1}, id="one"),
        pytest.param("pert_0", 2.5, {"pert_0": 2.5}, id="dose"),
        pytest.param("pert_0+pert_5", None, {"pert_0": 1, "pert_5": 1}, id="unseen-combination"),
        pytest.param(
            "pert_5+pert_0", "1.0+0.5", {"pert_5": 1, "pert_0": 0.5}, id="doses-of-parts"
        ),
        pytest.param(
            "pert_0+pert_1+pert_2", 1, {"pert_0": 1, "pert_1": 1, "pert_2": 1}, id="three"
        ),
    ],
)
def test_shifts_of_the_state_add_up_and_are_linear_in_the_dose(model, label, doses, received):
    found = model.predict(label, doses=doses, cells=np.arange(50), kind="mean").X
    some = model.adata[:50]
    z = basal_states(model)[:50] + shifts_of(model, **received)
    np.testing.assert_allclose(found, totals(some)[:, None] * decoded(model, z, some), rtol=1e-3)


@pytest.mark.parametrize("cls", MODELS.values(), ids=MODELS)
def test_every_model_predicts_and_reconstructs_its_control_cells(cls):
    model = planted_model(cls=cls)
    is_control = (model.adata.obs["perturbation"] == "control").to_numpy()
    with left_alone(model.adata):
        found = model.predict("control", cells=is_control, kind="mean")
        counts = model.predict(n_cells=3)
    expected = model.get_normalized_expression(
        indices=np.flatnonzero(is_control), library_size="latent"
    )
    np.testing.assert_allclose(found.X, expected, rtol=0.02)
    assert list(found.obs["cell"]) == list(model.adata.obs_names[is_control])
    assert counts.shape == (3 * len(model.perturbation_names), 30)


def test_cells_under_their_own_condition_are_reconstructed(model):
    chosen = np.flatnonzero(model.adata.obs["perturbation"] == "pert_3")
    found = model.predict("pert_3", cells=chosen, kind="mean").X
    expected = model.get_normalized_expression(indices=chosen, library_size="latent")
    np.testing.assert_allclose(found, expected, rtol=0.02)
    other = model.predict("control", cells=chosen, kind="mean").X
    assert not np.allclose(other, expected, rtol=0.1)


def test_cells_are_chosen_by_positions_mask_or_data(model):
    chosen = np.array([80, 3, 3, 41])
    found = model.predict(["pert_1", "control"], cells=chosen)
    names = model.adata.obs_names[chosen]
    assert list(found.obs["cell"]) == [*names, *names]
    same = model.predict(["pert_1", "control"], cells=list(chosen))
    assert (same.X != found.X).nnz == 0
    once = np.array([3, 41, 80])
    mask = np.isin(np.arange(model.adata.n_obs), once)
    expected = model.predict("pert_1", cells=once, kind="mean")
    for cells in (mask, pd.Series(mask), list(mask), model.adata[once], bare(model.adata[once])):
        found = model.predict("pert_1", cells=cells, kind="mean")
        np.testing.assert_allclose(found.X, expected.X, rtol=1e-5)
        assert list(found.obs["cell"]) == list(expected.obs["cell"])
    last = model.predict("pert_1", cells=[-1]).obs["cell"]
    assert list(last) == [model.adata.obs_names[-1]]


def test_given_cells_need_not_share_an_order_of_names(model):
    """Cells of some perturbations, encoded over all of the model's."""
    other = bare(model.adata[model.adata.obs["perturbation"].isin(["pert_4", "pert_2"])])
    found = model.predict("control", cells=other, kind="mean").X
    positions = model.adata.obs_names.get_indexer(other.obs_names)
    expected = model.predict("control", cells=positions, kind="mean").X
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda adata: adata, id="own"),
        pytest.param(lambda adata: adata.copy(), id="copy"),
        pytest.param(lambda adata: adata[10:40], id="view"),
        pytest.param(bare, id="not-set-up"),
        pytest.param(lambda adata: bare(adata)[10:40], id="view-not-set-up"),
    ],
)
def test_inputs_are_left_alone(model, make):
    cells = make(model.adata)
    names = ["pert_1", "pert_0"]
    covariates = {"batch": ["batch_0"]}
    with left_alone(cells), left_alone(model.adata):
        found = model.predict(names, doses=[1.0, 2.0], cells=cells, covariates=covariates)
        model.get_average_treatment_effects("pert_1", basal=cells, n_samples=5)
        model.get_interactions(["pert_0+pert_1"], adata=cells, n_samples=5)
        found.X.data[:] = -1
        found.obs["batch"] = "other"
    assert names == ["pert_1", "pert_0"]
    assert covariates == {"batch": ["batch_0"]}


def test_data_set_up_for_another_model_stays_set_up_for_it(model):
    other = bare(
        model.adata[model.adata.obs["perturbation"].isin(["control", "pert_2", "pert_4"])]
    )
    own = trained(other)
    expected = own.get_latent_representation()
    with left_alone(other):
        model.predict("pert_1", cells=other)
    np.testing.assert_array_equal(own.get_latent_representation(), expected)


@pytest.mark.parametrize("cells", [None, [5, 4]], ids=["prior", "cells"])
def test_prediction_is_repeatable_and_leaves_the_global_state(model, cells):
    before = rng_states()
    first, second, other = (
        model.predict(["pert_1", "pert_2"], cells=cells, n_cells=3, seed=s).X for s in (0, 0, 1)
    )
    model.get_average_treatment_effects("pert_1", basal="control_cells", n_samples=5)
    model.get_interactions("pert_0+pert_1", n_samples=5)
    for state, expected in zip(rng_states(), before, strict=True):
        np.testing.assert_array_equal(state, expected)
    assert (first != second).nnz == 0
    assert (first != other).nnz > 0
    # common basal states, noise of their own
    same = model.predict(["pert_1", "pert_1"], cells=cells, n_cells=3, kind="mean").X
    np.testing.assert_array_equal(*np.split(same, 2))
    counts = model.predict(["pert_1", "pert_1"], cells=cells, n_cells=3).X.toarray()
    assert not np.array_equal(*np.split(counts, 2))


def test_large_predictions_are_made_in_parts(model, monkeypatch):
    whole = model.predict("pert_1", n_cells=50, kind="mean").X
    monkeypatch.setattr("scvi_sams.model._prediction._ELEMENTS_AT_ONCE", 30 * 7)
    np.testing.assert_allclose(
        model.predict("pert_1", n_cells=50, kind="mean").X, whole, rtol=1e-5
    )
    assert model.predict("pert_1", n_cells=50).shape == (50, 30)


def test_dropout_of_the_encoder_is_off(model):
    assert not model.module.training
    assert model.module.encoder.dropout.dropped > 0
    one, other = (model.predict("pert_1", cells=[1], kind="mean", seed=s).X for s in (0, 1))
    np.testing.assert_allclose(one, other, rtol=0.01)


def test_mudata_gives_what_anndata_gives(model):
    adata = bare(model.adata)
    mdata = MuData({"rna": adata})
    for key in ("perturbation", "batch"):
        mdata.obs[key] = adata.obs[key].astype(str)
    query = mdata[:30].copy()
    sams.SAMSVAE.setup_mudata(
        mdata,
        perturbation_key="perturbation",
        control="control",
        batch_key="batch",
        modalities={"rna_layer": "rna"},
    )
    other = sams.SAMSVAE(mdata, **SMALL)
    other.train(max_epochs=1, enable_progress_bar=False, accelerator="cpu")
    other.module.load_state_dict(model.module.state_dict())
    expected = model.predict("pert_1", cells=np.arange(30), covariates={"batch": "batch_1"})
    before = sorted(query.obs), sorted(query.uns), sorted(query.mod["rna"].obsm)
    for cells in (np.arange(30), query):
        found = other.predict("pert_1", cells=cells, covariates={"batch": "batch_1"})
        np.testing.assert_allclose(found.X.toarray(), expected.X.toarray())
        assert list(found.obs["cell"]) == list(expected.obs["cell"])
        assert set(found.obs["batch"]) == {"batch_1"}
    assert (sorted(query.obs), sorted(query.uns), sorted(query.mod["rna"].obsm)) == before
    ate = other.get_average_treatment_effects("pert_1", basal="control_cells", n_samples=10)
    assert np.isfinite(ate.X).all()


def test_minified_model_predicts_and_gives_effects():
    model = planted_model()
    chosen = np.array([7, 70, 150])
    expected = model.predict("pert_1+pert_2", cells=chosen, kind="mean").X
    prior = model.predict("pert_1", n_cells=5).X
    effects = {
        basal: model.get_average_treatment_effects(["pert_1"], n_samples=30, basal=basal).X
        for basal in ("prior", "control_cells")
    }
    model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = (
        model.get_latent_representation(return_dist=True)
    )
    model.minify_adata()
    np.testing.assert_allclose(
        model.predict("pert_1+pert_2", cells=chosen, kind="mean").X, expected, rtol=1e-2
    )
    assert (prior != model.predict("pert_1", n_cells=5).X).nnz == 0
    for basal, values in effects.items():
        found = model.get_average_treatment_effects(["pert_1"], n_samples=30, basal=basal).X
        np.testing.assert_allclose(found, values, rtol=1e-2, atol=1e-3)
    with pytest.raises(ValueError, match="minified"):
        model.get_interactions()


def test_model_loaded_without_data_predicts(model, tmp_path):
    model.save(str(tmp_path / "model"))

    def loaded():
        return sams.SAMSVAE.load(str(tmp_path / "model"), False, accelerator="cpu")

    for kwargs in ({"n_cells": 4}, {"n_cells": 4, "covariates": {"batch": "batch_1"}}):
        found, expected = (one.predict("pert_0+pert_5", **kwargs) for one in (loaded(), model))
        assert (found.X != expected.X).nnz == 0
        pd.testing.assert_frame_equal(found.obs, expected.obs)
    with pytest.raises(ValueError, match="loaded without data"):
        loaded().predict("pert_1", cells=[0])
    query = bare(model.adata[:20])
    with left_alone(query):
        found = loaded().predict("pert_1", cells=query, kind="mean")
    expected = model.predict("pert_1", cells=np.arange(20), kind="mean")
    np.testing.assert_allclose(found.X, expected.X, rtol=1e-5)


@pytest.mark.parametrize("cells", [None, [5, 4]], ids=["prior", "cells"])
def test_prediction_survives_h5ad(model, tmp_path, cells):
    found = model.predict(
        ["control", "pert_0+pert_5"], doses=[1, "1+2"], cells=cells, n_cells=2, library_size=99.0
    )
    found.copy().write_h5ad(tmp_path / "predicted.h5ad")
    read = ad.read_h5ad(tmp_path / "predicted.h5ad")
    assert (read.X != found.X).nnz == 0
    pd.testing.assert_frame_equal(read.obs, found.obs, check_dtype=False, check_categorical=False)
    assert read.uns["prediction"] == found.uns["prediction"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"perturbations": []}, "`perturbations` is empty", id="no-condition"),
        pytest.param({"perturbations": "pert_9"}, "'pert_9'; nearest: 'pert_", id="unknown"),
        pytest.param({"kind": "median"}, "`kind` must be 'counts' or 'mean'.*'median'", id="kind"),
        pytest.param(
            {"n_cells": 0}, "`n_cells` must be an integer of at least 1; it is 0", id="n_cells"
        ),
        pytest.param({"cells": []}, "`cells` chooses no cells; name some", id="no-cells"),
        pytest.param(
            {"cells": np.zeros(285, dtype=bool)}, "`cells` chooses no cells", id="empty-mask"
        ),
        pytest.param({"cells": [999]}, "`cells` must be .*999 is out of bounds", id="far"),
        pytest.param({"cells": [True, False]}, "`cells` must be .*mask of the 285", id="mask"),
        pytest.param({"cells": ["cell_1"]}, "`cells` must be an AnnData, or positions", id="name"),
        pytest.param({"cells": 7}, "`cells` must be an AnnData, or positions", id="number"),
        pytest.param({"library_size": 0}, "`library_size` must be .*positive.* 0", id="empty"),
        pytest.param({"library_size": "mean"}, "`library_size` must be.*'mean'", id="text"),
        pytest.param({"library_size": np.inf}, "`library_size` must be.* inf", id="infinite"),
        pytest.param({"library_size": None}, "`library_size` must be.* None", id="none"),
    ],
)
def test_bad_prediction_request_names_the_culprit(model, kwargs, message):
    with left_alone(model.adata), pytest.raises(ValueError, match=message):
        model.predict(**kwargs)


def test_size_of_a_library_is_checked_before_cells_are_read(model, monkeypatch):
    monkeypatch.setattr(type(model), "_basal_cells", None)
    with pytest.raises(ValueError, match="`library_size` must be"):
        model.predict("pert_1", cells=[0], library_size=-1)
    with pytest.raises(ValueError, match="`library_size` must be"):
        model.get_average_treatment_effects("pert_1", basal="control_cells", library_size=-1)


def test_cells_that_are_no_cells_of_the_model_are_left_alone(model):
    empty = model.adata[:0]
    with left_alone(empty), pytest.raises(ValueError, match="no cells"):
        model.predict("pert_1", cells=empty)
    unknown = bare(model.adata)
    unknown.obs["perturbation"] = unknown.obs["perturbation"].cat.rename_categories(
        {"pert_2": "pert_22"}
    )
    with left_alone(unknown), pytest.raises(ValueError, match="'pert_22'; nearest"):
        model.predict("pert_1", cells=unknown)
    reversed_genes = bare(model.adata)[:, ::-1]
    with left_alone(reversed_genes), pytest.raises(ValueError, match="Reorder them"):
        model.predict("pert_1", cells=reversed_genes)


@pytest.mark.parametrize(
    "method",
    ["predict", "get_average_treatment_effects", "get_interactions", "get_dimension_responses"],
)
def test_untrained_model_is_refused(method):
    adata = dosed_screen()
    set_up(adata)
    with pytest.raises(RuntimeError, match="train"):
        getattr(sams.SAMSVAE(adata, **SMALL), method)()
