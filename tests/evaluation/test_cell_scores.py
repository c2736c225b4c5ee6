"""Metrics of cells within an evaluation, against predictions of known quality."""

import anndata as ad
import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist
from sklearn.decomposition import PCA

import scvi_sams as sams
from scvi_sams.evaluation._cell_scores import AGREEMENT, DISTANCES
from scvi_sams.metrics import de_agreement, energy_distance, mmd

COLUMNS = {"perturbation_key": "perturbation", "control": "control"}
METRICS = [*DISTANCES, *AGREEMENT]
LOG = "log1p counts per 10,000"
N, N_GENES = 4, 120


def log_normalized(counts):
    return np.log1p(1e4 * counts / counts.sum(1, keepdims=True))


@pytest.fixture(scope="module")
def screens():
    """Training and test cells of four perturbations that move 40 genes each."""
    rng = np.random.default_rng(0)
    effects = np.exp(rng.normal(0, 1, (N, N_GENES)) * (rng.random((N, N_GENES)) < 1 / 3))
    received = np.append(np.repeat(np.arange(N), 80), np.full(200, -1))
    base = rng.gamma(2, 2, N_GENES)
    adata = ad.AnnData(
        rng.poisson(base * np.where(received[:, None] >= 0, effects[received], 1)).astype(float)
    )
    names = np.array([f"P{i}" for i in range(N)])
    adata.obs["perturbation"] = np.where(received >= 0, names[received], "control")
    is_test = np.arange(len(received)) % 2 == 1
    return adata[~is_test].copy(), adata[is_test].copy()


def as_logs(adata, labels=None, shift=0.0, with_control=True):
    """Cells as a prediction, under other labels if given, all moved by the same."""
    cells = ad.AnnData(log_normalized(adata.X) + shift, adata.obs.copy())
    if labels is not None:
        cells.obs["perturbation"] = cells.obs["perturbation"].replace(labels)
    cells.uns["prediction"] = {"units": LOG}
    return cells if with_control else cells[cells.obs["perturbation"] != "control"].copy()


@pytest.fixture(scope="module")
def found(screens):
    training, test = screens
    profiles = sams.baselines.ControlMean().fit(training, **COLUMNS)
    return sams.evaluate(
        {
            "truth": as_logs(test),
            "replicate": as_logs(training),
            "shuffled": as_logs(training, {f"P{i}": f"P{(i + 1) % N}" for i in range(N)}),
            "profiles": profiles.predict([f"P{i}" for i in range(N)], n_cells=1),
        },
        test,
        **COLUMNS,
        training=training,
        baselines=["PerturbedMean"],
        metrics=METRICS,
        n_bootstrap=20,
    )


def mean(found, metric, model):
    return found.summary.loc[(metric, model), "mean"]


def log_cells(adata, name):
    return log_normalized(adata[adata.obs["perturbation"] == name].X)


def test_the_truth_agrees_with_itself(found, screens):
    training, test = screens
    for metric in ("de_recall", "de_direction", "de_spearman"):
        assert mean(found, metric, "truth") == pytest.approx(1)
    # of n cells with themselves the unbiased estimate is -2/n of their mean distance
    cells = PCA(50, svd_solver="full").fit(log_normalized(training.X))
    expected = [
        -2 / 40 * pdist(cells.transform(log_cells(test, f"P{i}"))).mean() for i in range(N)
    ]
    row = found.per_perturbation.loc["truth", "energy_distance"]
    np.testing.assert_allclose(row, expected, rtol=0.02)


@pytest.mark.parametrize("metric", METRICS)
def test_a_replicate_is_near_the_ceiling_and_far_from_shuffled_labels(found, metric):
    direction = -1 if metric in DISTANCES else 1
    ceiling, replicate, shuffled = (
        direction * mean(found, metric, model) for model in ("ceiling", "replicate", "shuffled")
    )
    # of twice as many cells as the halves of the ceiling, so that its tests may find more
    assert replicate > shuffled + 0.75 * (ceiling - shuffled)


def test_a_replicate_beats_the_mean_of_perturbations(found):
    for metric in METRICS:
        direction = -1 if metric in DISTANCES else 1
        gain = mean(found, metric, "replicate") - mean(found, metric, "PerturbedMean")
        assert direction * gain > 0, metric


def test_profiles_of_one_cell_have_no_scores_of_cells(found):
    assert found.per_perturbation.loc["profiles"].isna().all(axis=None)
    assert (found.summary.xs("profiles", level="model")["n"] == 0).all()
    assert "profiles" not in found.verdict


def test_distances_are_in_components_of_training_cells(found, screens):
    pca = PCA(50, svd_solver="full").fit(log_normalized(screens[0].X))
    a, b = (pca.transform(log_cells(adata, "P2")) for adata in screens)
    row = found.per_perturbation.loc[("replicate", "P2", "")]
    between = 2 * cdist(a, b).mean()
    assert row["energy_distance"] == pytest.approx(
        between - pdist(a).mean() - pdist(b).mean(), rel=0.02
    )
    assert row["energy_distance"] == pytest.approx(energy_distance(a, b), rel=0.02)
    gamma = 1 / np.median(pdist(b, "sqeuclidean"))
    assert row["mmd"] == pytest.approx(mmd(a, b, gamma=gamma), rel=0.02)


def test_agreement_is_that_of_the_metric(found, screens):
    training, test = screens
    expected = de_agreement(as_logs(training), as_logs(test), **COLUMNS)
    row = found.per_perturbation.loc["replicate"].xs("", level="context")
    for name in AGREEMENT:
        np.testing.assert_allclose(row[name], expected[name.removeprefix("de_")])


def test_a_baseline_that_knows_the_means_finds_the_genes_of_sparse_screens():
    rng = np.random.default_rng(0)
    effects = np.exp(rng.normal(0, 1, (N, 300)) * (rng.random((N, 300)) < 0.15))
    received = np.append(np.repeat(np.arange(N), 200), np.full(600, -1))
    folds = np.where(received[:, None] >= 0, effects[received], 1)
    adata = ad.AnnData(rng.poisson((rng.gamma(0.5, 1, 300) + 0.02) * folds).astype(float))
    assert (adata.X == 0).mean() > 0.6
    adata.obs["perturbation"] = np.append(
        np.repeat([f"P{i}" for i in range(N)], 200), ["control"] * 600
    )
    training, test = adata[::2].copy(), adata[1::2].copy()
    found = sams.evaluate(
        as_logs(training),
        test,
        **COLUMNS,
        training=training,
        baselines=["Additive", "ControlMean"],
        metrics=[*AGREEMENT, "cosine_logfc"],
        n_bootstrap=2,
    )
    replicate = mean(found, "cosine_logfc", "model")
    assert mean(found, "cosine_logfc", "Additive") == pytest.approx(replicate, rel=1e-3)
    for metric in ("de_recall", "de_precision"):  # the same means as those cells have
        replicate = mean(found, metric, "model")
        assert mean(found, metric, "Additive") == pytest.approx(replicate, rel=0.1)
        assert mean(found, metric, "ControlMean") == 0


@pytest.mark.filterwarnings("ignore:The prediction 'observed' has no control cells")
def test_predicted_cells_are_tested_against_their_own_controls(screens):
    moved = {
        "own": as_logs(screens[1], shift=np.linspace(0, 3, N_GENES)),
        "observed": as_logs(screens[1], shift=np.linspace(0, 3, N_GENES), with_control=False),
    }
    found = sams.evaluate(
        moved, screens[1], **COLUMNS, metrics=[*AGREEMENT, "ate_r2"], n_bootstrap=5
    )
    for metric in ("de_recall", "de_spearman", "ate_r2"):
        assert mean(found, metric, "own") == pytest.approx(1, abs=1e-4)
        assert mean(found, metric, "observed") < 0.9


def test_some_cells_are_drawn_by_the_seed(screens):
    training, test = screens

    def distance(seed, max_cells=10):
        found = sams.evaluate(
            as_logs(training),
            test,
            **COLUMNS,
            metrics="energy_distance",
            max_cells=max_cells,
            n_bootstrap=2,
            seed=seed,
        )
        return mean(found, "energy_distance", "model")

    assert distance(0) == distance(0)
    assert distance(0) != distance(1)
    assert distance(0, max_cells=40) == distance(1, max_cells=500)


def test_cells_that_are_all_alike_have_no_scale(screens):
    test = screens[1].copy()
    test.X[test.obs["perturbation"] == "P1"] = test.X[0]
    found = sams.evaluate(as_logs(screens[0]), test, **COLUMNS, metrics="mmd", n_bootstrap=2)
    assert found.per_perturbation.loc["model", "mmd"].isna().tolist() == [
        False,
        True,
        False,
        False,
    ]


def test_only_what_is_asked_is_computed(screens, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr("scvi_sams.evaluation._cell_scores.tested", never)
    monkeypatch.setattr("scvi_sams.evaluation._cell_scores.Projection.fit", never)
    found = sams.evaluate(
        as_logs(screens[0]), screens[1], **COLUMNS, metrics="rmse", n_bootstrap=2
    )
    assert list(found.per_perturbation) == ["rmse"]
