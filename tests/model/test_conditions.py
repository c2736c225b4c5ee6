"""Conditions that are asked of a model are read as its setup reads labels."""

import numpy as np
import pandas as pd
import pytest

import scvi_sams as sams
from tests.conftest import trained
from tests.model.screens import dosed_screen, model_of_letters, planted


def untrained_c():
    return pytest.warns(UserWarning, match="have no training cell: 'C'")


@pytest.fixture(scope="module")
def model():
    return planted(model_of_letters(warns=untrained_c, dosage_key="dose_given"))


@pytest.fixture(scope="module")
def whole_labels():
    return planted(model_of_letters(warns=untrained_c, delimiter=None))


@pytest.fixture(scope="module")
def from_matrix():
    return planted(model_of_letters(warns=untrained_c, perturbation_obsm_key="guides"))


def effects(model, perturbations=None, **kwargs):
    return model.get_average_treatment_effects(perturbations, n_samples=20, **kwargs)


@pytest.mark.parametrize(
    ("label", "same"),
    [
        pytest.param("B+A", "A+B", id="order-is-free"),
        pytest.param("A+ctrl", "A", id="with-control"),
        pytest.param(" A + B ", "A+B", id="spaces"),
        pytest.param("ctrl+ctrl", "ctrl", id="controls"),
    ],
)
def test_labels_are_read_as_the_setup_reads_them(model, label, same):
    found, expected = effects(model, [label]), effects(model, [same])
    np.testing.assert_array_equal(found.X, expected.X)
    np.testing.assert_array_equal(found.layers["sd"], expected.layers["sd"])
    assert list(found.obs["perturbation"]) == [label]
    columns = ["dose", "trained", "n_cells", "dose_support"]
    pd.testing.assert_frame_equal(
        found.obs[columns].reset_index(drop=True), expected.obs[columns].reset_index(drop=True)
    )


def test_control_has_no_effect_and_no_dose(model):
    found = effects(model, ["ctrl"], doses=[3.0])
    np.testing.assert_array_equal(found.X, 0)
    assert np.isnan(found.obs["dose"]).all()
    assert list(found.obs["dose_support"]) == ["seen"]


def test_every_perturbation_at_dose_1_by_default(model):
    assert list(effects(model).obs_names) == ["A", "B", "C"]
    assert list(effects(model).obs["dose"]) == [1, 1, 1]


@pytest.mark.parametrize(
    "container",
    [
        pytest.param(list, id="list"),
        pytest.param(tuple, id="tuple"),
        pytest.param(np.array, id="array"),
        pytest.param(pd.Index, id="index"),
        pytest.param(pd.Series, id="series"),
        pytest.param(pd.Categorical, id="categorical"),
        pytest.param(iter, id="iterator"),
    ],
)
def test_any_container_of_labels_is_taken(model, container):
    names = ["B", "A+B"]
    assert list(effects(model, container(names)).obs_names) == names


@pytest.mark.parametrize(
    ("labels", "doses", "expected"),
    [
        pytest.param(["A", "B"], 2, [2, 2], id="one-for-all"),
        pytest.param(["A", "B"], [0.5], [0.5, 0.5], id="list-of-one"),
        pytest.param(["A", "B"], [0.5, 2], [0.5, 2], id="one-each"),
        pytest.param(["A", "B"], np.array([0.5, 2]), [0.5, 2], id="array"),
        pytest.param(["A", "B"], ["0.5", "1e+0"], [0.5, 1], id="text"),
        pytest.param("A", [0.5, 1, 2], [0.5, 1, 2], id="several-of-one"),
        pytest.param("A+B", "2.0+2.0", [2], id="text-of-equal-parts"),
        pytest.param("A+B", "1.0+0.5", [np.nan], id="text-of-parts"),
        pytest.param(["A", "A+B"], [2, "1.0+0.5"], [2, np.nan], id="number-and-text"),
    ],
)
def test_doses_are_numbers_or_text(model, labels, doses, expected):
    np.testing.assert_array_equal(effects(model, labels, doses=doses).obs["dose"], expected)


def test_doses_of_parts_go_with_their_parts(model):
    one, other = effects(model, ["A+B", "B+A"], doses=["1.0+0.5", "0.5+1.0"]).X
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, effects(model, "A+B", doses="0.5+1.0").X[0])
    np.testing.assert_array_equal(
        effects(model, "A+ctrl+B", doses="1+9+0.5").X[0], effects(model, "A+B", doses="1+0.5").X[0]
    )


def test_dose_of_zero_is_as_none(model):
    found = effects(model, "A", doses=0)
    np.testing.assert_array_equal(found.X, 0)
    np.testing.assert_array_equal(found.layers["lfsr"], 1)
    np.testing.assert_array_equal(
        effects(model, "A+B", doses="1+0").layers["sd"], effects(model, "A").layers["sd"]
    )


@pytest.mark.parametrize(
    ("labels", "doses", "names"),
    [
        pytest.param(["A", "B"], [1, 2], ["A", "B (2)"], id="doses-other-than-1"),
        pytest.param("A", [0.5, 2], ["A (0.5)", "A (2)"], id="several-doses"),
        pytest.param(["A", "B", "A"], [0.5, 1, 1], ["A (0.5)", "B", "A"], id="several-of-one"),
        pytest.param("B+A", ["1+2", "2+1"], ["A (2)+B (1)", "A (1)+B (2)"], id="doses-of-parts"),
        pytest.param("A+B", [1, 2], ["A+B", "A+B (2)"], id="shared-doses"),
        pytest.param(["A", "A"], None, ["A", "A-1"], id="the-same-twice"),
        pytest.param("ctrl", [1, 2], ["ctrl", "ctrl-1"], id="controls"),
    ],
)
def test_names_are_unique(model, labels, doses, names):
    assert list(effects(model, labels, doses=doses).obs_names) == names


@pytest.mark.parametrize(
    ("label", "dose", "support"),
    [
        pytest.param("A", 2, "seen", id="seen"),
        pytest.param("A", 1 + 1e-7, "seen", id="rounding"),
        pytest.param("A", 1.5, "between", id="between"),
        pytest.param("A", 0.25, "beyond", id="below"),
        pytest.param("A", 3, "beyond", id="above"),
        pytest.param("B", 2, "beyond", id="one-dose-seen"),
        pytest.param("C", 1, "untrained", id="untrained"),
        pytest.param("A+B", "2+1", "seen", id="parts-seen"),
        pytest.param("A+B", "1.5+1", "between", id="one-part-between"),
        pytest.param("A+B", "1.5+9", "beyond", id="the-worst-part-counts"),
        pytest.param("A+C", 1, "untrained", id="one-part-untrained"),
        pytest.param("ctrl", 1, "seen", id="control"),
    ],
)
def test_doses_are_seen_between_beyond_or_untrained(model, label, dose, support):
    found = effects(model, label, doses=dose).obs["dose_support"]
    assert list(found) == [support]
    assert list(model.predict(label, doses=dose, n_cells=2).obs["dose_support"]) == [support] * 2


def test_training_cells_are_counted_at_all_doses(model):
    obs = model.adata.obs
    labels = ["ctrl", "A", "B", "A+B", "C", "A+C"]
    found = effects(model, labels, doses=0.7).obs
    train = obs["label"][obs["split"] == "train"].value_counts()
    assert list(found["n_cells"]) == [train.get(label, 0) for label in labels]
    assert list(found["trained"]) == [True, True, True, True, False, False]


def test_labels_are_never_split_without_a_delimiter(whole_labels):
    assert list(whole_labels.perturbation_names) == ["A", "A+B", "B", "C"]
    found = effects(whole_labels, ["A+B"], doses=2)
    assert found.obs.loc["A+B (2)", "trained"]
    assert found.obs.loc["A+B (2)", "dose"] == 2
    with pytest.raises(ValueError, match=r"does not know .*'B\+A'; nearest: 'B', 'A'"):
        effects(whole_labels, ["B+A"])
    with pytest.raises(ValueError, match=r"'1\+2'.*beside the label 'A\+B'"):
        effects(whole_labels, ["A+B"], doses="1+2")


def test_combinations_of_columns_of_a_matrix_are_read(from_matrix):
    found = effects(from_matrix, ["A", "B+A", "A+C"])
    assert list(found.obs["trained"]) == [True, True, False]
    one, other = effects(from_matrix, ["A+B", "B+A"]).X
    np.testing.assert_array_equal(one, other)


def test_a_matrix_names_no_controls_and_control_is_understood(from_matrix):
    np.testing.assert_array_equal(effects(from_matrix, "control").X, 0)
    obs = from_matrix.adata.obs
    is_control = (obs["label"] == "ctrl") & (obs["split"] == "train")
    assert effects(from_matrix, "control").obs["n_cells"].item() == is_control.sum()
    np.testing.assert_array_equal(effects(from_matrix, "A+control").X, effects(from_matrix, "A").X)


def test_models_of_one_perturbation_per_cell_refuse_combinations(model):
    adata = model.adata[~model.adata.obs["label"].isin(["A+B", "C"])].copy()
    sams.SVAEPlus.setup_anndata(adata, perturbation_key="label", control="ctrl")
    single = sams.SVAEPlus(adata, n_latent=2, n_hidden=8)
    single.train(max_epochs=1, enable_progress_bar=False, accelerator="cpu")
    assert list(effects(single, ["A+ctrl"]).obs["trained"]) == [True]
    with pytest.raises(ValueError, match=r"'A\+B' is a combination.*`delimiter=None`"):
        effects(single, ["A+B"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"perturbations": []}, "`perturbations` is empty; None takes", id="none"),
        pytest.param({"perturbations": "a"}, "does not know .*'a'; nearest: 'A'", id="case"),
        pytest.param({"perturbations": "ctrll"}, "'ctrll'; nearest: 'ctrl'", id="control"),
        pytest.param({"perturbations": ["A", "A+Bb"]}, "'Bb'; nearest: 'B'", id="part"),
        pytest.param({"perturbations": "A++B"}, r"'A\+\+B'.* has an empty part", id="empty-part"),
        pytest.param({"perturbations": ""}, "a name such as 'A'; one is ''", id="empty-text"),
        pytest.param({"doses": []}, "`doses` is empty; None takes", id="no-doses"),
        pytest.param(
            {"perturbations": "A", "doses": []}, "`doses` is empty", id="no-doses-of-one"
        ),
        pytest.param(
            {"doses": [1, 2]}, "2 entries for 3 conditions. Give one for all, or", id="too-few"
        ),
        pytest.param({"doses": "high"}, "'high' in `doses` beside the label 'A'", id="word"),
        pytest.param({"doses": np.nan}, "nan in `doses` .*not a finite", id="nan"),
        pytest.param({"doses": np.inf}, "inf in `doses`", id="infinite"),
        pytest.param({"doses": True}, "True in `doses`", id="boolean"),
        pytest.param({"doses": [None]}, "None in `doses`", id="no-dose"),
        pytest.param(
            {"perturbations": "A+B", "doses": "1+2+3"}, r"'1\+2\+3' .*nor 2 of them", id="three"
        ),
    ],
)
@pytest.mark.parametrize("method", ["predict", "get_average_treatment_effects"])
def test_bad_condition_names_the_culprit(model, method, kwargs, message):
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(**kwargs)


def test_control_is_understood_beside_several_labels_of_controls():
    adata = dosed_screen()
    label = adata.obs["perturbation"].astype(str)
    is_control = (label == "control").to_numpy()
    label[is_control] = np.resize(["NT1", "NT2"], is_control.sum())
    adata.obs["perturbation"] = label
    model = trained(adata, setup={"control": ["NT1", "NT2"]})
    for name in ("control", "NT1", "NT2"):
        np.testing.assert_array_equal(effects(model, name).X, 0)
    expected = effects(model, "pert_1", control="NT1").X
    np.testing.assert_array_equal(effects(model, "pert_1", control="control").X, expected)


def test_one_name_stands_for_one_condition():
    """Names of results and of what cells received say doses alike."""
    adata = dosed_screen()
    model = trained(adata, setup={"dosage_key": "dosage"})
    model.annotate()
    named = {}
    columns = ["sams_condition", "perturbation", "dosage"]
    for name, label, dose in adata.obs[columns].astype(str).to_numpy():
        if label != "control":
            asked = effects(model, label, doses=dose).obs_names[0]
            named.setdefault(name, set()).add(asked)
    assert len(named) > 15
    assert all(asked == {name} for name, asked in named.items())
