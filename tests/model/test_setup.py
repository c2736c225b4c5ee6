"""Setting up: one screen in many representations, and bad input."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import scvi_sams as sams
from tests.conftest import dosages_of, losses, set_up, trained
from tests.model.helpers import as_frame, assert_unchanged, snapshot, spoil_obs


def as_matrix(kind):
    def put(adata):
        table = dosages_of(adata).iloc[:, [2, 0, 3, 1]]
        adata.obsm["guides"] = kind(table.to_numpy())
        adata.uns["guides_names"] = table.columns.to_numpy(dtype=object)
        return {"perturbation_obsm_key": "guides"}

    return put


REPRESENTATIONS = {
    "frame-permuted": as_frame,
    "ndarray": as_matrix(np.asarray),
    "csr-matrix": as_matrix(sparse.csr_matrix),
    "csr-array": as_matrix(sparse.csr_array),
}


@pytest.mark.parametrize("put", REPRESENTATIONS.values(), ids=REPRESENTATIONS)
def test_representations_give_bit_equal_losses(plain_screen, put):
    labels = {"perturbation_key": "perturbation", "control": "control"}
    expected, reference = losses(plain_screen.copy(), labels)
    other = plain_screen.copy()
    found, model = losses(other, put(other))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        model.get_latent_representation(), reference.get_latent_representation()
    )


def test_encoded_matrix_stands_in_obsm_and_can_be_set_up_again(plain_screen):
    set_up(plain_screen)
    table = dosages_of(plain_screen)
    assert sparse.issparse(plain_screen.obsm["perturbations"])
    np.testing.assert_array_equal(plain_screen.obsm["perturbations"].toarray(), table)
    assert list(plain_screen.uns["perturbations_names"]) == list(table.columns)
    sams.SAMSVAE.setup_anndata(plain_screen, perturbation_obsm_key="perturbations")
    np.testing.assert_array_equal(plain_screen.obsm["perturbations"].toarray(), table)


def test_dosages_reach_the_model(screen):
    set_up(screen, dosage_key="dosage")
    packed = screen.obsm["_scvi_perturbations"]
    first = np.flatnonzero(screen.obs["perturbation"].str.contains(r"\+"))[0]
    doses = [float(dose) for dose in screen.obs["dosage"].iloc[first].split("+")]
    np.testing.assert_allclose(sorted(packed[first, 2:]), sorted(doses))


def test_several_controls_are_one_state(plain_screen):
    labels = plain_screen.obs["perturbation"].astype(str).to_numpy(dtype=object)
    labels[np.flatnonzero(labels == "control")[::2]] = "NT2"
    plain_screen.obs["perturbation"] = labels
    set_up(plain_screen, control=["control", "NT2"])
    control = np.isin(labels, ["control", "NT2"])
    assert plain_screen.obsm["perturbations"][control].nnz == 0


@pytest.mark.parametrize(
    "name",
    [
        "control",
        "Ctrl",
        "NT",
        "non-targeting_3",
        "non-targeting control",
        "negative control",
        "no_guide",
        "AAVS1",
        "WT",
        "DMSO",
        "untreated",
    ],
)
def test_a_forgotten_control_is_told(plain_screen, name):
    labels = plain_screen.obs["perturbation"].astype(str).replace("control", name)
    plain_screen.obs["perturbation"] = labels
    with pytest.warns(UserWarning, match=f"{name}' reads like a control.*control='{name}'"):
        set_up(plain_screen, control=None)


def test_all_forgotten_controls_are_named(plain_screen):
    labels = plain_screen.obs["perturbation"].astype(str).to_numpy(dtype=object)
    controls = np.flatnonzero(labels == "control")
    labels[controls[::2]], labels[controls[1::2]] = "NT_1", "NT_2"
    plain_screen.obs["perturbation"] = labels
    with pytest.warns(UserWarning, match=r"read like controls.*control=\['NT_1', 'NT_2'\]"):
        set_up(plain_screen, control=None)


@pytest.mark.parametrize("name", ["NTRK1", "CTRL2GENE", "DMSO-resistant", "mocked", "TNT", "WT1"])
def test_names_that_are_no_controls_are_not_taken_for_some(plain_screen, name):
    labels = plain_screen.obs["perturbation"].astype(str).replace("control", name)
    plain_screen.obs["perturbation"] = labels
    set_up(plain_screen, control=None)  # a warning would be an error
    assert name in plain_screen.uns["perturbations_names"]


def test_screen_without_controls_trains(plain_screen):
    screen = plain_screen[plain_screen.obs["perturbation"] != "control"].copy()
    assert trained(screen, setup={"control": None}).is_trained


@pytest.mark.parametrize(
    "kind",
    [sparse.csr_matrix, sparse.csr_array, np.asarray, lambda x: np.asarray(x, dtype=np.int64)],
    ids=["csr-matrix", "csr-array", "dense", "int64"],
)
def test_counts_of_any_kind_train(plain_screen, kind):
    plain_screen.X = kind(plain_screen.X.toarray())
    assert np.isfinite(trained(plain_screen).get_latent_representation()).all()


def test_covariates_and_layer_and_size_factor_train(screen):
    screen.layers["counts"] = screen.X.copy()
    screen.X = screen.X * 0.5
    model = trained(
        screen,
        setup={
            "layer": "counts",
            "size_factor_key": "depth",
            "dosage_key": "dosage",
            "categorical_covariate_keys": ["donor"],
            "continuous_covariate_keys": ["age"],
        },
    )
    assert model.module.decoder.from_covariates.in_features == 2 + 3 + 1
    assert model.module.use_size_factor
    assert np.isfinite(model.get_normalized_expression().to_numpy()).all()


def test_setup_can_be_viewed(model, capsys):
    model.view_anndata_setup()
    printed = capsys.readouterr().out
    assert "perturbations State Registry" in printed
    assert "pert_0" in printed


BAD = {
    "control-not-there": ({"control": "ctrl"}, ValueError, "'ctrl' does not occur"),
    "column-missing": ({"perturbation_key": "perturbatio"}, KeyError, "nearest: 'perturbation'"),
    "neither": ({"perturbation_key": None}, ValueError, "neither was given"),
    "both": ({"perturbation_obsm_key": "x"}, ValueError, "both were given"),
    "obsm-missing": (
        {"perturbation_key": None, "perturbation_obsm_key": "x", "control": None},
        KeyError,
        "adata.obsm has no 'x'",
    ),
    "obsm-dosage": (
        {"perturbation_key": None, "perturbation_obsm_key": "z_true", "dosage_key": "dosage"},
        ValueError,
        "Leave one of the two out",
    ),
    "obsm-unnamed": (
        {"perturbation_key": None, "perturbation_obsm_key": "z_true", "control": None},
        KeyError,
        "have no names",
    ),
    "dosage-missing": ({"dosage_key": "doses"}, KeyError, "nearest: 'dosage'"),
    "batch-missing": ({"batch_key": "bacth"}, KeyError, "nearest: 'batch'"),
    "layer-missing": ({"layer": "raw"}, KeyError, "no 'raw'"),
    "covariate-missing": ({"continuous_covariate_keys": ["agee"]}, KeyError, "nearest: 'age'"),
    "size-factor-missing": ({"size_factor_key": "dept"}, KeyError, "nearest: 'depth'"),
}


@pytest.mark.parametrize(("kwargs", "error", "message"), BAD.values(), ids=BAD)
def test_bad_setup_names_the_culprit_and_changes_nothing(screen, kwargs, error, message):
    before = snapshot(screen)
    with pytest.raises(error, match=message):
        set_up(screen, **kwargs)
    assert_unchanged(screen, before)


def spoil_label(value):
    def spoil(adata):
        labels = adata.obs["perturbation"].astype(object)
        labels.iloc[5] = value
        adata.obs["perturbation"] = labels

    return spoil


def spoil_count(value):
    def spoil(adata):
        adata.X[3, 2] = value

    return spoil


def empty_cell(adata):
    adata.X = sparse.csr_matrix(adata.X.toarray() * (np.arange(adata.n_obs) != 7)[:, None])


def one_perturbation(adata):
    adata.obs["perturbation"] = np.where(np.arange(adata.n_obs) % 2, "control", "A")


SPOILED = {
    "label-nan": (spoil_label(np.nan), {}, "no value for 1 cell"),
    "label-empty": (spoil_label(""), {}, "empty part"),
    "label-A++B": (spoil_label("A++B"), {}, "'A\\+\\+B'.*empty part"),
    "negative": (spoil_count(-1.0), {}, "adata.X holds negative"),
    "nan-count": (spoil_count(np.nan), {}, "adata.X holds missing or infinite"),
    "empty-cell": (empty_cell, {}, "cells without any count, first 'cell_7'"),
    "one-perturbation": (one_perturbation, {}, "fewer than two perturbations: 'A'"),
    "batch-nan": (spoil_obs("batch", np.nan), {}, "1 missing"),
    "dosage": (
        spoil_obs("dosage", "much"),
        {"dosage_key": "dosage", "control": None},
        "dosage 'much'",
    ),
    "size-factor": (spoil_obs("depth", -1.0), {"size_factor_key": "depth"}, "must be positive"),
}


@pytest.mark.parametrize(("spoil", "kwargs", "message"), SPOILED.values(), ids=SPOILED)
def test_bad_data_names_the_culprit_and_changes_nothing(screen, spoil, kwargs, message):
    spoil(screen)
    before = snapshot(screen)
    with pytest.raises(ValueError, match=message):
        set_up(screen, **kwargs)
    obs, obsm, uns, _, layers = before
    pd.testing.assert_frame_equal(screen.obs, obs)
    assert (sorted(screen.obsm), sorted(screen.uns), sorted(screen.layers)) == (obsm, uns, layers)


def test_late_error_takes_back_what_was_written(screen, monkeypatch):
    set_up(screen)
    before = snapshot(screen)
    dosages = screen.obsm["perturbations"]
    screen.obs["donor"] = screen.obs["donor"].astype(object)
    before = snapshot(screen)

    def fail(self, adata):
        raise ValueError("late")

    monkeypatch.setattr("scvi.data.fields.CategoricalJointObsField.register_field", fail)
    screen.obs["perturbation"] = screen.obs["perturbation"].cat.rename_categories(
        {"pert_0": "renamed"}
    )
    before[0]["perturbation"] = screen.obs["perturbation"]
    with pytest.raises(ValueError, match="late"):
        set_up(screen, categorical_covariate_keys=["donor"])
    assert_unchanged(screen, before)
    assert screen.obsm["perturbations"] is dosages


def test_fractional_counts_warn(screen):
    screen.X = screen.X * 0.5
    with pytest.warns(UserWarning, match="no integers"):
        set_up(screen)


def test_empty_cell_is_fine_with_size_factors(screen):
    empty_cell(screen)
    screen.obs["depth"] = screen.obs["depth"].clip(lower=1)
    assert trained(screen, setup={"size_factor_key": "depth"}).is_trained


def test_constant_gene_gives_no_nan(screen):
    x = screen.X.toarray()
    x[:, 0], x[:, 1] = 0, 3
    screen.X = sparse.csr_matrix(x)
    model = trained(screen)
    assert all(torch.isfinite(p).all() for p in model.module.parameters())
    assert torch.isfinite(model.get_elbo())


def test_matrix_under_our_own_key_can_be_set_up_twice(plain_screen):
    table = dosages_of(plain_screen)
    table["control"] = (plain_screen.obs["perturbation"] == "control").to_numpy(dtype=float)
    plain_screen.obsm["perturbations"] = table
    for _ in range(2):
        sams.SAMSVAE.setup_anndata(
            plain_screen, perturbation_obsm_key="perturbations", control="control"
        )
        assert list(plain_screen.uns["perturbations_names"]) == sorted(table.columns)[1:]


def test_matrix_with_nan_raises_and_changes_nothing(plain_screen):
    as_frame(plain_screen)
    plain_screen.obsm["guides"].iloc[3, 1] = np.nan
    before = snapshot(plain_screen)
    with pytest.raises(ValueError, match=r"'guides'.* not finite.*row 3"):
        sams.SAMSVAE.setup_anndata(plain_screen, perturbation_obsm_key="guides")
    assert_unchanged(plain_screen, before)


@pytest.mark.parametrize("delimiter", ["", 3], ids=repr)
def test_a_delimiter_is_text(plain_screen, delimiter):
    with pytest.raises(ValueError, match="`delimiter` must be text that is not empty"):
        set_up(plain_screen, delimiter=delimiter)


def test_library_sizes_beyond_half_precision_are_sums(screen):
    screen.X = np.full(screen.shape, 6e4, dtype=np.float16)  # the sum is no float16
    set_up(screen)  # a sum that overflows would warn
    manager = sams.SAMSVAE._get_most_recent_anndata_manager(screen, required=True)
    assert manager.summary_stats.n_cells == screen.n_obs
    np.testing.assert_array_equal(manager.get_from_registry("X"), screen.X)


def test_a_view_is_refused(screen):
    with pytest.raises(ValueError, match=r"`adata = adata.copy\(\)`"):
        set_up(screen[:100])
