"""What model and cells say together."""

import numpy as np
import pytest

import scvi_sams as sams
from scvi_sams.model._combined import _discrepancy
from tests.conftest import trained


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
    label = adata.obs["perturbation"].astype(str).to_numpy()[cells]
    return y[label == name].mean(0) - y[label == "control"].mean(0)


def test_discrepancy_has_the_variance_that_was_planted():
    rng = np.random.default_rng(0)
    of_condition, of_gene = rng.gamma(2, 0.5, size=(300, 1)), rng.gamma(2, 0.5, size=(1, 400))
    error = np.full((300, 400), 0.3)
    planted = of_condition * of_gene
    residual = rng.normal(size=error.shape) * np.sqrt(planted + error)
    found = _discrepancy(residual, error)
    assert np.corrcoef(found.ravel(), planted.ravel())[0, 1] > 0.95
    assert found.mean() == pytest.approx(planted.mean(), rel=0.05)


def test_residuals_within_their_errors_leave_no_discrepancy():
    assert (_discrepancy(np.full((3, 4), 0.1), np.ones((3, 4))) == 0).all()
    assert _discrepancy(np.ones((0, 4)), np.ones((0, 4))).shape == (0, 4)


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
    np.testing.assert_allclose(named.X, other.X, atol=1e-5)
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
        pytest.param({"n_samples": 1}, "at least 2", id="n_samples"),
    ],
)
def test_bad_request_names_the_culprit(screen_and_model, kwargs, message):
    with pytest.raises(ValueError, match=message):
        screen_and_model[1].get_combined_effects(**kwargs)
