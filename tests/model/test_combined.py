"""What model and cells say together."""

import anndata as ad
import numpy as np
import pytest

import scvi_sams as sams
from tests.conftest import trained
from tests.model.screens import shown_effect


@pytest.fixture(scope="module")
def screen_and_model():
    """A gene of one perturbation's own, which no latent dimension holds."""
    adata = sams.datasets.simulate(
        8, n_cells_per_perturbation=60, n_control=200, n_genes=40, n_latent=3, seed=5
    )
    x = adata.X.toarray()
    x[(adata.obs["perturbation"] == "pert_1").to_numpy(), 7] += 2_000
    adata.X = type(adata.X)(x)
    return adata, trained(adata)


def shown(adata, cells, name):
    counts = adata.X.toarray()[cells]
    y = np.log2(1 + 1e4 * counts / counts.sum(1, keepdims=True))
    obs = adata.obs.iloc[cells]
    return shown_effect(y, obs["perturbation"], obs["batch"], name)


def test_effect_on_one_gene_of_one_perturbation_comes_back(screen_and_model):
    adata, model = screen_and_model
    combined = model.get_combined_effects()
    row, observed = combined["pert_1"], combined["pert_1"].layers["observed"][0]
    cells = np.concatenate([model.train_indices, model.validation_indices])
    np.testing.assert_allclose(observed, shown(adata, cells, "pert_1"), atol=1e-4)
    assert abs(row.X[0, 7] - observed[7]) < 0.25 * abs(row.layers["model"][0, 7] - observed[7])
    assert row.layers["weight"][0, 7] > 0.75
    assert row.layers["lfsr"][0, 7] < 1e-3
    # between the two that were combined, everywhere
    ends = np.stack([combined.layers["model"], combined.layers["observed"]])
    assert (ends.min(0) - 1e-5 <= combined.X).all()
    assert (ends.max(0) + 1e-5 >= combined.X).all()
    assert (combined.layers["lower"] <= combined.X).all()
    assert (combined.layers["upper"] >= combined.X).all()


def test_conditions_without_cells_keep_the_effects_of_the_model(screen_and_model):
    adata, model = screen_and_model
    settings = {"n_samples": 200, "seed": 3}
    ate = model.get_average_treatment_effects(["pert_0", "pert_0+pert_2"], **settings)
    combined = model.get_combined_effects(["pert_0", "pert_0+pert_2"], **settings)
    np.testing.assert_array_equal(combined.X[1], ate.X[1])
    for layer in ("sd", "lower", "upper", "lfsr"):
        np.testing.assert_array_equal(combined.layers[layer][1], ate.layers[layer][1])
    assert np.isnan(combined.layers["observed"][1]).all()
    assert (combined.layers["weight"][1] == 0).all()
    seen = (adata.obs["perturbation"] == "pert_0").to_numpy()
    cells = np.concatenate([model.train_indices, model.validation_indices])
    assert list(combined.obs["n_cells_observed"]) == [seen[cells].sum(), 0]


def test_cells_are_those_that_are_asked_for(screen_and_model):
    adata, model = screen_and_model
    half = np.arange(0, adata.n_obs, 2)
    named = model.get_combined_effects("pert_1", indices=half, n_samples=100)
    other = model.get_combined_effects("pert_1", adata=adata[half].copy(), n_samples=100)
    np.testing.assert_allclose(named.layers["observed"], other.layers["observed"], atol=1e-4)
    # a model that has seen the cells leans on them less than on others like them
    np.testing.assert_allclose(named.X, other.X, atol=0.02)
    np.testing.assert_allclose(
        named.layers["observed"][0], shown(adata, half, "pert_1"), atol=1e-4
    )


def test_data_without_control_cells_corrects_nothing(screen_and_model):
    adata, model = screen_and_model
    alone = adata[adata.obs["perturbation"] == "pert_1"].copy()
    combined = model.get_combined_effects("pert_1", adata=alone, n_samples=100)
    ate = model.get_average_treatment_effects("pert_1", n_samples=100)
    np.testing.assert_array_equal(combined.X, ate.X)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"indices": []}, "chooses no cells", id="no cells"),
        pytest.param({"perturbations": "pert_9"}, "nearest", id="unknown"),
        pytest.param({"n_samples": 1}, "at least 4", id="n_samples"),
    ],
)
def test_bad_request_names_the_culprit(screen_and_model, kwargs, message):
    with pytest.raises(ValueError, match=message):
        screen_and_model[1].get_combined_effects(**kwargs)


def test_a_condition_is_corrected_alike_whatever_else_is_asked(screen_and_model):
    _, model = screen_and_model
    every = model.get_combined_effects(n_samples=100)
    for name in ("pert_1", "pert_3"):
        alone = model.get_combined_effects(name, n_samples=100)
        np.testing.assert_allclose(alone.X, every[name].X, atol=1e-5)
        np.testing.assert_allclose(alone.layers["lfsr"], every[name].layers["lfsr"], atol=1e-5)


@pytest.fixture(scope="module")
def batches_apart():
    """Perturbations without effect, mostly in another batch than the control cells."""
    adata = sams.datasets.simulate(
        6, n_cells_per_perturbation=80, n_control=200, n_genes=40, n_latent=3, null_fraction=1.0
    )
    rng = np.random.default_rng(0)
    is_control = (adata.obs["perturbation"] == "control").to_numpy()
    is_first = (adata.obs["batch"] == "batch_0").to_numpy()
    keep = rng.random(adata.n_obs) < np.where(is_control == is_first, 1.0, 0.2)
    adata = adata[keep].copy()
    return adata, trained(adata)


def test_batches_are_not_taken_for_effects(batches_apart):
    adata, model = batches_apart
    model.module.perturbations.masks.logits.data.fill_(-50.0)
    model._calibrate(np.asarray(model.train_indices))
    combined = model.get_combined_effects()
    inside = (combined.layers["lower"] <= 0) & (combined.layers["upper"] >= 0)
    assert inside.mean() > 0.9
    assert (combined.layers["lfsr"] < 0.05).mean() < 0.05
    # pooled over batches, the same cells show effects many standard errors large
    obs = adata.obs["perturbation"].astype(str)
    counts = adata.X.toarray()
    y = np.log2(1 + 1e4 * counts / counts.sum(1, keepdims=True))
    control = y[obs == "control"]
    scores = [
        (there.mean(0) - control.mean(0))
        / np.sqrt(there.var(0) / len(there) + control.var(0) / len(control))
        for name in combined.obs_names
        for there in [y[obs == name]]
    ]
    assert np.mean(np.abs(scores) > 1.96) > 0.3


def test_cells_of_batches_without_control_cells_tell_nothing(batches_apart):
    _, model = batches_apart
    pair = "pert_0+pert_1"
    first = model.predict([pair, "control"], n_cells=60, covariates={"batch": "batch_0"})
    second = model.predict(pair, n_cells=60, covariates={"batch": "batch_1"})
    cells = ad.concat([first, second], index_unique="-")
    assert (model.get_interactions(adata=cells, n_samples=50)["n_cells"] == 60).all()


def test_cells_at_other_doses_correct_only_where_asked(tmp_path):
    adata = sams.datasets.simulate(
        4,
        n_cells_per_perturbation=60,
        n_control=100,
        n_genes=20,
        n_latent=2,
        doses=(0.5, 2.0),
        seed=3,
    )
    model = trained(adata, setup={"dosage_key": "dosage"})
    with pytest.warns(UserWarning, match="'pert_0', 'pert_1', .* has cells at other doses only"):
        combined = model.get_combined_effects(n_samples=50)
    assert (combined.obs["n_cells_observed"] == 0).all()
    combined = model.get_combined_effects("pert_0", doses=[0.5, 2], n_samples=50)
    assert (combined.obs["n_cells_observed"] > 10).all()
    assert list(combined.obs_names) == ["pert_0 (0.5)", "pert_0 (2)"]


def test_other_data_is_corrected_by_all_of_its_cells(screen_and_model, tmp_path):
    adata, model = screen_and_model
    model.save(str(tmp_path / "model"))
    few = adata[::3].copy()
    loaded = sams.SAMSVAE.load(str(tmp_path / "model"), few, accelerator="cpu")
    combined = loaded.get_combined_effects(n_samples=50)
    n_cells = few.obs["perturbation"].value_counts()
    assert (combined.obs["n_cells_observed"] == n_cells[combined.obs_names]).all()


def n_managers(model):
    mine = model._per_instance_manager_store.get(model.id, {})
    return len(model._setup_adata_manager_store), len(mine)


@pytest.mark.parametrize("data", ["whole", "view"])
def test_a_model_without_data_stays_without(screen_and_model, tmp_path, data):
    adata, model = screen_and_model
    model.save(str(tmp_path / "model"))
    loaded = sams.SAMSVAE.load(str(tmp_path / "model"), False, accelerator="cpu")
    given = adata[np.arange(adata.n_obs)] if data == "view" else adata
    before = n_managers(loaded)
    for _ in range(2):
        loaded.get_combined_effects("pert_1", adata=given, n_samples=20)
        loaded.predict("pert_1", cells=given[:20])
    assert loaded.adata is None
    assert n_managers(loaded) == before
    with pytest.raises(ValueError, match="loaded without data"):
        loaded.get_combined_effects("pert_1", n_samples=20)


@pytest.mark.parametrize("method", ["get_combined_effects", "get_interactions"])
def test_other_data_without_counts_is_refused(screen_and_model, method):
    adata, model = screen_and_model
    small = trained(adata.copy())
    latent = small.get_latent_representation(return_dist=True)
    small.adata.obsm["X_latent_qzm"], small.adata.obsm["X_latent_qzv"] = latent
    small.minify_adata()
    asked = "pert_1" if method == "get_combined_effects" else "pert_1+pert_2"
    with pytest.raises(ValueError, match="minified and has no counts"):
        getattr(model, method)(asked, adata=small.adata, n_samples=20)


def test_conditions_of_few_cells_without_a_fit_have_numbers(screen_and_model):
    """Nothing was learned of discrepancies, and one gene is far off."""
    adata, _ = screen_and_model
    few = adata.obs.groupby("perturbation", observed=True).cumcount() < 9
    model = trained(adata[few.to_numpy()].copy())
    combined = model.get_combined_effects(adata=adata, n_samples=50)
    for values in (combined.X, *(combined.layers[key] for key in ("sd", "lower", "lfsr"))):
        assert np.isfinite(values).all()
    assert combined["pert_1"].layers["lfsr"][0, 7] < 1e-3


@pytest.mark.parametrize("far", [10**6, -(10**6)])
def test_positions_out_of_range_are_named(screen_and_model, far):
    with pytest.raises(ValueError, match=f"`indices` must be .* {far}"):
        screen_and_model[1].get_combined_effects(indices=[far])


@pytest.mark.parametrize("name", ["CPAVAE", "ConditionalVAE"])
def test_results_say_whether_the_model_has_masks(name, screen_and_model):
    adata, model = screen_and_model
    assert model.get_combined_effects("pert_1", n_samples=20).uns["ate"]["has_masks"]
    other = trained(adata.copy(), cls=getattr(sams, name))
    assert not other.get_combined_effects("pert_1", n_samples=20).uns["ate"]["has_masks"]
