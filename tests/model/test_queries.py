"""Other data for a trained model: names, never positions."""

import numpy as np
import pytest

from tests.conftest import losses, set_up, trained
from tests.model.helpers import as_frame, assert_unchanged, snapshot, spoil_obs


def query_of(model, adata):
    return model.get_latent_representation(adata)


def test_permuted_columns_of_a_query_give_the_same_states(plain_screen):
    as_frame(plain_screen)
    model = losses(plain_screen, {"perturbation_obsm_key": "guides"})[1]
    query = plain_screen.copy()
    query.obsm["guides"] = query.obsm["guides"].iloc[:, [1, 3, 0, 2]]
    np.testing.assert_array_equal(query_of(model, query), query_of(model, plain_screen))


def test_query_may_lack_perturbations_and_controls(plain_screen):
    model = trained(plain_screen)
    chosen = (plain_screen.obs["perturbation"] == "pert_2").to_numpy()
    query = plain_screen[chosen].copy()
    np.testing.assert_allclose(
        query_of(model, query), model.get_latent_representation()[chosen], atol=1e-6
    )


def test_unknown_perturbation_of_a_query_raises_with_the_nearest(plain_screen):
    model = trained(plain_screen)
    query = plain_screen.copy()
    query.obs["perturbation"] = query.obs["perturbation"].cat.rename_categories(
        {"pert_2": "pert_22"}
    )
    with pytest.raises(ValueError, match=r"does not know .*'pert_22'.*nearest: .*'pert_2'"):
        query_of(model, query)


def test_batch_that_a_query_does_not_share_raises_and_changes_nothing(plain_screen):
    model = trained(plain_screen)
    query = plain_screen.copy()
    for key in ["perturbations", "_scvi_perturbations"]:
        del query.obsm[key]
    query.obs["batch"] = "elsewhere"
    before = snapshot(query)
    with pytest.raises(ValueError, match="elsewhere"):
        query_of(model, query)
    assert_unchanged(query, before)


def test_genes_of_a_query_are_compared_by_name(plain_screen):
    model = trained(plain_screen)
    with pytest.raises(ValueError, match="Reorder them"):
        query_of(model, plain_screen[:, ::-1].copy())
    renamed = plain_screen.copy()
    renamed.var_names = ["other", *renamed.var_names[1:]]
    with pytest.raises(ValueError, match="lacks 1 of the model's 20 genes, such as 'gene_0'"):
        query_of(model, renamed)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        pytest.param("depth", 0.0, "`size_factor_key`.* must be positive", id="size-factor-0"),
        pytest.param("depth", np.inf, "`size_factor_key`.* finite", id="size-factor-inf"),
        pytest.param("age", np.nan, "`continuous_covariate_keys`.* 1 missing", id="covariate-nan"),
        pytest.param("age", "old", "`continuous_covariate_keys`.*'old'", id="covariate-text"),
        pytest.param("donor", np.nan, "`categorical_covariate_keys`.* 1 missing", id="donor-nan"),
    ],
)
@pytest.mark.parametrize("query", [False, True], ids=["setup", "query"])
def test_covariates_are_checked_wherever_they_come_from(screen, column, value, message, query):
    keys = {
        "size_factor_key": "depth",
        "categorical_covariate_keys": "donor",
        "continuous_covariate_keys": ["age"],
    }
    spoiled = screen.copy()
    spoil_obs(column, value)(spoiled)
    if query:
        model = trained(screen, setup=keys)
        with pytest.raises(ValueError, match=message):
            query_of(model, spoiled)
    else:
        with pytest.raises(ValueError, match=message):
            set_up(spoiled, **keys)


@pytest.mark.parametrize("argument", ["batch_key", "categorical_covariate_keys"])
def test_an_unknown_value_is_named_even_if_it_is_zero(plain_screen, argument):
    plain_screen.obs["plate"] = np.tile([1, 2], plain_screen.n_obs)[: plain_screen.n_obs]
    setup = {"batch_key": None} | {argument: "plate"}
    model = trained(plain_screen, setup=setup)
    query = plain_screen.copy()
    for key in ["perturbations", "_scvi_perturbations"]:
        del query.obsm[key]
    query.obs["plate"] = 0
    before = snapshot(query)
    said = rf"obs\['plate'\] \(`{argument}`\) holds '0', .* It knows '1', '2'"
    with pytest.raises(ValueError, match=said):
        query_of(model, query)
    assert_unchanged(query, before)


@pytest.mark.parametrize(("trained_on", "asked"), [(int, str), (str, int)], ids=["text", "int"])
def test_a_value_of_another_type_is_told_from_an_unknown_one(plain_screen, trained_on, asked):
    plates = np.tile([1, 2], plain_screen.n_obs)[: plain_screen.n_obs]
    plain_screen.obs["plate"] = plates.astype(trained_on)
    model = trained(plain_screen, setup={"batch_key": "plate"})
    query = plain_screen.copy()
    query.obs["plate"] = plates.astype(asked)
    kinds = f"holds '1' as {asked.__name__}.* with it as {trained_on.__name__}"
    with pytest.raises(ValueError, match=rf"{kinds}.*astype"):
        query_of(model, query)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"seed": -1}, "`seed` must be an integer of at least 0; it is -1"),
        ({"seed": 1.5}, "`seed` must be an integer of at least 0; it is 1.5"),
        ({"n_samples": 3}, "`n_samples` must be an integer of at least 4; it is 3"),
    ],
)
def test_what_cannot_be_drawn_is_refused(model, asked, message):
    with pytest.raises(ValueError, match=message):
        model.get_average_treatment_effects(["pert_1"], **asked)
    if "seed" in asked:
        with pytest.raises(ValueError, match=message):
            model.predict(["pert_1"], **asked)
