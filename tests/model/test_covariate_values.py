"""Covariates that are set for simulated cells."""

from itertools import product

import numpy as np
import pytest

from tests.conftest import trained
from tests.model.screens import COVARIATES, dosed_screen, left_alone, planted, planted_model


@pytest.fixture(scope="module")
def model():
    model = planted_model(setup=COVARIATES)
    # after a few steps covariates hardly matter
    model.module.decoder.from_covariates.weight.data.mul_(10)
    return model


@pytest.fixture(scope="module")
def without_covariates():
    return planted(trained(dosed_screen(), setup={"batch_key": None}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("batch", "batch_1", id="batch"),
        pytest.param("donor", "d3", id="categorical"),
        pytest.param("plate", 8, id="integers"),
        pytest.param("age", -1.5, id="continuous"),
    ],
)
def test_setting_a_covariate_is_as_having_it(model, key, value):
    moved = model.adata.copy()
    moved.obs[key] = value
    moved.obs[key] = moved.obs[key].astype(model.adata.obs[key].dtype)
    chosen = np.arange(40)
    # the encoder does not read covariates, so the cells' states are the same
    expected = model.predict("pert_1", cells=moved[chosen].copy(), kind="mean")
    found = model.predict("pert_1", cells=chosen, kind="mean", covariates={key: value})
    np.testing.assert_allclose(found.X, expected.X, rtol=1e-5)
    assert set(found.obs[key]) == {value}
    untouched = model.predict("pert_1", cells=chosen, kind="mean")
    assert not np.allclose(found.X, untouched.X, rtol=1e-3)
    for other in {"batch", "donor", "plate", "age"} - {key}:
        np.testing.assert_array_equal(found.obs[other], untouched.obs[other])


def test_covariates_that_are_not_set_are_those_of_the_cells(model):
    chosen = np.array([70, 3, 41])
    obs = model.predict("pert_1", cells=chosen).obs
    for key in ("batch", "donor", "plate"):
        assert list(obs[key]) == list(model.adata.obs[key].iloc[chosen])
    np.testing.assert_allclose(obs["age"], model.adata.obs["age"].iloc[chosen], rtol=1e-6)


def test_each_combination_of_values_makes_cells_of_its_own(model):
    covariates = {"batch": ["batch_0", "batch_1"], "donor": "d2", "age": np.array([0.0, 2.0])}
    found = model.predict(["pert_1", "control"], n_cells=3, covariates=covariates, kind="mean")
    columns = ["batch", "donor", "age", "perturbation"]
    rows = found.obs[columns].drop_duplicates().itertuples(index=False, name=None)
    expected = product(["batch_0", "batch_1"], ["d2"], [0.0, 2.0], ["pert_1", "control"])
    assert list(rows) == list(expected)
    assert found.n_obs == 4 * 2 * 3
    one = model.predict(
        ["pert_1", "control"],
        n_cells=3,
        covariates={"batch": "batch_1", "donor": "d2", "age": 2.0},
        kind="mean",
    )
    np.testing.assert_allclose(found.X[-6:], one.X, rtol=1e-6)


def test_effects_have_one_row_for_each_combination(model):
    found = model.get_average_treatment_effects(
        ["pert_0", "pert_1"], n_samples=30, covariates={"donor": ["d1", "d3"], "plate": 7}
    )
    assert list(found.obs_names) == [
        "pert_0, d1, 7",
        "pert_1, d1, 7",
        "pert_0, d3, 7",
        "pert_1, d3, 7",
    ]
    assert list(found.obs["donor"]) == ["d1", "d1", "d3", "d3"]
    for donor, rows in [("d1", slice(2)), ("d3", slice(2, 4))]:
        alone = model.get_average_treatment_effects(
            ["pert_0", "pert_1"], n_samples=30, covariates={"donor": donor, "plate": 7}
        )
        np.testing.assert_allclose(found.X[rows], alone.X, rtol=1e-5)
    assert not np.allclose(found.X[:2], found.X[2:], atol=1e-4)


@pytest.mark.parametrize(
    ("covariates", "message"),
    [
        pytest.param({"doner": "d1"}, "no covariate 'doner'; nearest: 'donor'; it has", id="key"),
        pytest.param({"Batch": 0}, "nearest: 'batch'", id="case"),
        pytest.param(
            {"donor": "d4"}, "'donor' has no value 'd4'; nearest: .*it has 'd1'", id="value"
        ),
        pytest.param({"donor": ["d1", "D2"]}, "no value 'D2'; nearest: 'd2'", id="one-of-several"),
        pytest.param({"plate": 1}, "'plate' has no value 1", id="integer"),
        pytest.param({"batch": None}, "'batch' has no value None", id="none"),
        pytest.param({"donor": []}, "gives no value of 'donor'", id="empty"),
        pytest.param({"age": "old"}, "'age' takes finite numbers, not 'old'", id="text"),
        pytest.param({"age": np.nan}, "'age' takes finite numbers, not nan", id="nan"),
        pytest.param({"age": None}, "'age' takes finite numbers, not None", id="no-number"),
    ],
)
@pytest.mark.parametrize("method", ["predict", "get_average_treatment_effects"])
def test_unknown_covariate_or_value_raises_with_the_nearest(model, method, covariates, message):
    with left_alone(model.adata), pytest.raises(ValueError, match=message):
        getattr(model, method)("pert_1", covariates=covariates)


def test_model_without_covariates_says_so(without_covariates):
    with pytest.raises(ValueError, match="no covariate 'batch'; it has none"):
        without_covariates.predict(covariates={"batch": "batch_0"})
    found = without_covariates.predict("pert_1", n_cells=2, covariates={})
    assert list(found.obs) == ["perturbation", "dose", "trained", "dose_support"]


def test_covariates_named_like_columns_of_results_stand_beside_them():
    adata = dosed_screen()
    adata.obs["dose"] = adata.obs["age"]
    model = trained(adata, setup={"continuous_covariate_keys": ["dose"]})
    found = model.predict("pert_1", n_cells=3, covariates={"dose": 1.5}, doses=2)
    assert (found.obs["dose"] == 2).all()
    assert (found.obs["covariate_dose"] == 1.5).all()
    ate = model.get_average_treatment_effects("pert_1", covariates={"dose": [0, 1]}, n_samples=10)
    assert list(ate.obs["covariate_dose"]) == [0, 1]
    assert (ate.obs["dose"] == 1).all()


@pytest.mark.parametrize("covariates", ["batch", ["batch"]], ids=["text", "list"])
def test_covariates_without_values_are_refused(model, covariates):
    with pytest.raises(TypeError, match="`covariates` maps names to values"):
        model.predict("pert_1", covariates=covariates)
