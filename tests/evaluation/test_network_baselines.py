"""Networks trained on means: against a known truth, and against training on cells."""

import anndata as ad
import numpy as np
import pytest
import torch
from scipy import sparse

import scvi_sams as sams
from scvi_sams.evaluation._latent_sum import LatentSum
from scvi_sams.evaluation._mean_training import Targets, weighted_error

COLUMNS = {"perturbation_key": "perturbation", "control": "control"}
NAMES = [f"P{i}" for i in range(8)]
PAIRS = [f"P{i}+P{j}" for i in range(8) for j in range(i)]
HELD_OUT = PAIRS[::7]
BASELINES = ["DecoderOnly", "LatentAdditive"]
FEW_STEPS = {"n_latent": 4, "n_hidden": 16, "max_epochs": 30}


@pytest.fixture(scope="module")
def screen():
    """Counts of singles and pairs in two lines; log rates add up, and some pairs are for test."""
    rng = np.random.default_rng(0)
    effects = rng.normal(0, 0.7, (8, 40)) * (rng.random((8, 40)) < 0.3)
    labels = np.repeat(["control", "control", *NAMES, *PAIRS], 60)
    received = np.array([[name in label.split("+") for name in NAMES] for label in labels])
    line = np.tile(["x", "y"], len(labels) // 2)
    rate = rng.gamma(2, 6, 40) * np.exp(received @ effects)
    rate[line == "y", :10] *= 2
    adata = ad.AnnData(rng.poisson(rate).astype(np.float32))
    adata.obs["perturbation"], adata.obs["line"] = labels, line
    known = rng.choice(["train", "val"], adata.n_obs, p=[0.8, 0.2])
    adata.obs["split"] = np.where(np.isin(labels, HELD_OUT), "test", known)
    return adata


def log_normalized(adata):
    return np.log1p(1e4 * adata.X / adata.X.sum(1, keepdims=True)).astype(float)


def fitted(adata, name, *, seed=0, columns=None, **settings):
    return getattr(sams.baselines, name)(**settings).fit(
        adata,
        **COLUMNS,
        **({"covariate_keys": "line", "split_key": "split"} if columns is None else columns),
        seed=seed,
    )


def mean_of(baseline, label, line="x"):
    return baseline.predict(label, covariates={"line": line}).X.mean(0, dtype=float)


@pytest.mark.parametrize("name", BASELINES)
def test_effects_that_add_up_are_found_in_unseen_pairs(screen, name):
    baseline, nothing = fitted(screen, name), fitted(screen, "ControlMean")
    y, labels = log_normalized(screen), screen.obs["perturbation"]

    for line in ("x", "y"):
        is_line = screen.obs["line"] == line
        observed = [y[is_line & (labels == pair)].mean(0) for pair in HELD_OUT]
        error, most = (
            np.square([mean_of(of, pair, line) for pair in HELD_OUT] - np.array(observed)).mean()
            for of in (baseline, nothing)
        )
        assert error < 0.2 * most


@pytest.mark.parametrize("name", BASELINES)
def test_the_seed_decides_and_the_random_state_stays(screen, name):
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    n_threads = torch.get_num_threads()
    one, again, other = (fitted(screen, name, seed=seed, **FEW_STEPS) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])
    assert torch.get_num_threads() == n_threads
    torch.rand(1)
    np.testing.assert_array_equal(mean_of(one, PAIRS[0]), mean_of(again, PAIRS[0]))
    assert not np.allclose(mean_of(one, PAIRS[0]), mean_of(other, PAIRS[0]))
    assert one.validation_errors == again.validation_errors


@pytest.mark.parametrize("name", BASELINES)
def test_the_weights_of_the_best_epoch_are_kept(screen, name):
    few = screen[::9].copy()  # so few that training overfits
    few = few[~few.obs["perturbation"].isin(HELD_OUT)].copy()
    baseline = fitted(few, name, columns={"split_key": "split"}, patience=20, dropout_rate=0)
    errors = baseline.validation_errors
    assert len(errors) - 1 - np.argmin(errors) == 20
    is_validation = few.obs["split"] == "val"
    y, labels = log_normalized(few)[is_validation], few.obs["perturbation"][is_validation]
    found = 0.0
    for label in labels.unique():
        of_label = y[labels == label]
        predicted = baseline.predict(label).X.mean(0, dtype=float)
        found += len(of_label) * ((predicted - of_label.mean(0)) ** 2).mean()
    # the error of training is that of the mean over 32 control cells
    tolerance = 1e-4 if name == "DecoderOnly" else 0.02
    assert found / len(y) == pytest.approx(min(errors), rel=tolerance)
    assert errors[-1] > min(errors) * (1 + tolerance)


@pytest.mark.parametrize("encodes_cells", [False, True], ids=["no cell", "control cells"])
def test_means_have_the_gradient_of_cells(encodes_cells):
    torch.manual_seed(0)
    condition = torch.tensor([0, 0, 0, 1, 1, 2])
    indicators = torch.tensor([[0.0, 0], [1, 0], [1, 1]], dtype=torch.float64)
    y = torch.randn(6, 5, dtype=torch.float64)
    network = LatentSum(5, 2, n_latent=3, n_hidden=4, n_layers=2, encodes_cells=encodes_cells)
    network.double()
    torch.nn.init.normal_(network.vectors.weight)
    controls = torch.randn(3, 1, 5, dtype=torch.float64)

    def gradient(loss):
        network.zero_grad()
        loss.backward()
        return torch.cat([p.grad.flatten() for p in network.parameters()])

    def predicted():
        return network(network.origins(controls), indicators)

    of_cells = gradient((predicted()[condition] - y).square().mean())
    means = torch.stack([y[condition == k].mean(0) for k in range(3)])
    weight = torch.tensor([3.0, 2, 1], dtype=torch.float64) / 2
    of_means = gradient(
        weighted_error(predicted(), Targets(indicators, torch.zeros(3), means, weight))
    )
    assert of_cells.abs().max() > 1e-3
    torch.testing.assert_close(of_means, of_cells)


def test_the_change_is_the_mean_over_origins():
    torch.manual_seed(0)
    network = LatentSum(5, 2, n_latent=3, n_hidden=4, n_layers=2, encodes_cells=True)
    origins, indicators = network.origins(torch.randn(1, 7, 5)), torch.tensor([[1.0, 0], [1, 1]])
    each = torch.stack([network(origins[:, [k]], indicators) for k in range(7)])
    torch.testing.assert_close(network(origins, indicators), each.mean(0))


@pytest.mark.parametrize("name", BASELINES)
def test_validation_cells_are_not_trained_on(screen, name):
    other = screen.copy()
    is_changed = (other.obs["split"] == "val") & (other.obs["perturbation"] != "control")
    other.X[is_changed.to_numpy(), :20] *= 3
    one, changed = (
        fitted(data, name, **FEW_STEPS | {"max_epochs": 1}) for data in (screen, other)
    )
    np.testing.assert_array_equal(mean_of(one, "P1"), mean_of(changed, "P1"))
    assert one.validation_errors != changed.validation_errors


@pytest.mark.parametrize("name", BASELINES)
def test_what_no_training_cell_received_does_nothing(screen, name):
    late = screen.copy()
    has_it = late.obs["perturbation"].str.contains("P7") & (late.obs["split"] == "train")
    late.obs.loc[has_it, "split"] = "test"
    baseline = fitted(late, name, **FEW_STEPS)
    np.testing.assert_array_equal(mean_of(baseline, "P7"), mean_of(baseline, "control"))
    np.testing.assert_array_equal(mean_of(baseline, "P1+P7"), mean_of(baseline, "P1"))


@pytest.mark.parametrize("name", BASELINES)
def test_cells_without_a_split_and_sparse_counts_in_a_layer(screen, name):
    other = screen.copy()
    other.layers["counts"] = sparse.csr_matrix(other.X)
    other.X = log_normalized(other)
    dense, in_layer = (
        fitted(data, name, columns=columns, **FEW_STEPS).predict([PAIRS[0], "P0"], n_cells=7)
        for data, columns in ((screen, {}), (other, {"layer": "counts"}))
    )
    assert dense.n_obs == 14
    assert dense.uns["prediction"] == {"units": "log1p counts per 10,000", "by": name}
    np.testing.assert_allclose(in_layer.X, dense.X, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", BASELINES)
def test_unknown_perturbations_are_named(screen, name):
    baseline = fitted(screen, name, **FEW_STEPS)
    with pytest.raises(ValueError, match="'P9' was not in the data"):
        baseline.predict("P0+P9")


def test_a_split_without_training_cells_is_refused(screen):
    only_val = screen.copy()
    only_val.obs["split"] = "val"
    with pytest.raises(ValueError, match="No cell is left to train on"):
        fitted(only_val, "DecoderOnly")


def test_three_cells_are_enough(screen):
    few = screen[:3].copy()
    few.obs["perturbation"] = ["control", "control", "P0"]
    baseline = fitted(few, "LatentAdditive", columns={}, **FEW_STEPS)
    assert np.isfinite(baseline.predict("P0").X).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"n_latent": 0}, "`n_latent` must be at least 1; it is 0", id="size"),
        pytest.param({"patience": 0}, "`patience` must be at least 1; it is 0", id="steps"),
        pytest.param({"dropout_rate": 1}, "`dropout_rate` must be at least 0", id="dropout"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        sams.baselines.LatentAdditive(**settings)
