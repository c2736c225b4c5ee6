"""Baselines by hand and against regressions, on small screens."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scvi_sams as sams

COLUMNS = {"perturbation_key": "perturbation", "control": "control"}
BASELINES = ["ControlMean", "PerturbedMean", "Additive", "LinearAdditive"]


@pytest.fixture
def screen():
    """Counts of A, B, C and pairs in two lines; B+C is for test, and C is not in line y."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["control", "A", "B", "C", "A+B", "B+C"], 40)
    adata = ad.AnnData(rng.poisson(rng.gamma(2, 3, 12), (240, 12)).astype(np.float32))
    adata.obs["perturbation"] = labels
    adata.obs["line"] = np.tile(["x", "y"], 120)
    adata.obs["split"] = np.where(labels == "B+C", "test", "train")
    adata = adata[(labels != "C") | (adata.obs["line"] == "x").to_numpy()].copy()
    adata.X[(adata.obs["perturbation"].str.contains("A")).to_numpy(), 3] *= 4
    return adata


def means_of(adata):
    """Mean log1p counts per 10,000 by label and line, by pandas."""
    x = np.asarray(adata.X.todense() if sparse.issparse(adata.X) else adata.X, dtype=float)
    y = np.log1p(1e4 * x / x.sum(1, keepdims=True))
    keys = [adata.obs["perturbation"].astype(str).to_numpy(), adata.obs["line"].to_numpy()]
    return pd.DataFrame(y).groupby(keys).mean()


def predicted(adata, name, label, line, **fit):
    baseline = getattr(sams.baselines, name)().fit(
        adata, **COLUMNS, covariate_keys="line", split_key="split", **fit
    )
    cells = baseline.predict(label, covariates={"line": line}, n_cells=10)
    assert cells.n_obs == 10
    return np.asarray(cells.X, dtype=float).mean(0)


@pytest.mark.parametrize("label", ["B", "B+C", "control"])
def test_control_mean_says_that_nothing_happens(screen, label):
    expected = means_of(screen).loc[("control", "y")]
    np.testing.assert_allclose(
        predicted(screen, "ControlMean", label, "y"), expected, rtol=1e-4, atol=1e-5
    )


def test_perturbed_mean_says_the_same_of_all(screen):
    means = means_of(screen)
    trained = ["A", "B", "A+B"]
    effects = [means.loc[(name, "y")] - means.loc[("control", "y")] for name in trained]
    expected = means.loc[("control", "y")] + np.mean(effects, axis=0)
    for label in ("C", "B+C", "A"):
        found = predicted(screen, "PerturbedMean", label, "y")
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("line", ["x", "y"])
def test_additive_adds_effects_up_and_takes_them_from_other_contexts(screen, line):
    means = means_of(screen)

    def effect(name, where):
        return means.loc[(name, where)] - means.loc[("control", where)]

    expected = means.loc[("control", line)] + effect("B", line) + effect("C", "x")
    found = predicted(screen, "Additive", "B+C", line)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("label", ["A+B", "B+A", "A+B+control"])
def test_additive_predicts_what_was_trained_on_by_its_mean(screen, label):
    expected = means_of(screen).loc[("A+B", "x")]
    found = predicted(screen, "Additive", label, "x")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_additive_of_one_known_part_is_that_part(screen):
    only_pairs = screen[screen.obs["perturbation"] != "C"].copy()
    only_pairs.obs["split"] = "train"
    only_pairs.obs.loc[only_pairs.obs["perturbation"] == "B", "split"] = "test"
    found = predicted(only_pairs, "Additive", "A+C", "y")
    np.testing.assert_allclose(found, means_of(screen).loc[("A", "y")], rtol=1e-4, atol=1e-5)


def test_linear_additive_is_ridge_regression_of_cells(screen):
    learned = screen[screen.obs["split"] == "train"]
    y = np.log1p(1e4 * learned.X / learned.X.sum(1, keepdims=True)).astype(float)
    labels, line = learned.obs["perturbation"].to_numpy(), learned.obs["line"].to_numpy()
    received = np.array([[part in label.split("+") for part in "ABC"] for label in labels])
    design = np.c_[received, line == "x", line == "y"].astype(float)
    centred = design - design.mean(0)
    weights = np.linalg.solve(centred.T @ centred + np.eye(5), centred.T @ (y - y.mean(0)))
    expected = y.mean(0) + (np.array([0, 1, 1, 0, 1]) - design.mean(0)) @ weights
    found = predicted(screen, "LinearAdditive", "B+C", "y")
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_linear_additive_without_a_penalty_is_least_squares(screen):
    baseline = sams.baselines.LinearAdditive(alpha=0).fit(screen, **COLUMNS, covariate_keys="line")
    means = means_of(screen)
    n = screen.obs.groupby(["perturbation", "line"]).size()
    # an intercept and both lines: one more column than can be told apart
    design = np.array(
        [
            [p in label.split("+") for p in "ABC"] + [line == "x", line == "y", 1]
            for label, line in means.index
        ],
        dtype=float,
    )
    root = np.sqrt(n.loc[means.index].to_numpy())[:, None]
    weights = np.linalg.lstsq(design * root, means.to_numpy() * root, rcond=None)[0]
    for (label, line), expected in zip(means.index, design @ weights, strict=True):
        parts = () if label == "control" else tuple(label.split("+"))
        np.testing.assert_allclose(baseline.mean(parts, (line,)), expected, rtol=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_cells_say_what_they_are(screen, name):
    before = screen.copy()
    baseline = getattr(sams.baselines, name)().fit(
        screen, **COLUMNS, covariate_keys="line", split_key="split"
    )
    cells = baseline.predict(["A", "B+C"], n_cells=7)
    assert cells.uns["prediction"] == {"units": "log1p counts per 10,000", "by": name}
    sizes = cells.obs.groupby(["perturbation", "line"]).size()
    assert sizes.to_dict() == {(p, c): 7 for p in ("A", "B+C") for c in ("x", "y")}
    assert list(cells.var_names) == list(screen.var_names)
    np.testing.assert_array_equal(screen.X, before.X)
    pd.testing.assert_frame_equal(screen.obs, before.obs)
    again = baseline.predict(["A", "B+C"], n_cells=7)
    np.testing.assert_array_equal(again.X, cells.X)


@pytest.mark.parametrize("name", BASELINES)
def test_sparse_and_dense_counts_and_layers_give_the_same(screen, name):
    other = screen.copy()
    other.layers["counts"] = sparse.csr_matrix(other.X)
    other.X = np.log1p(other.X)
    one = predicted(screen, name, "A+B", "x")
    np.testing.assert_allclose(predicted(other, name, "A+B", "x", layer="counts"), one, rtol=1e-5)


def test_without_covariates_there_is_one_context(screen):
    baseline = sams.baselines.ControlMean().fit(screen, **COLUMNS)
    cells = baseline.predict("A", n_cells=1000)
    assert cells.n_obs == 40
    assert list(cells.obs) == ["perturbation"]


@pytest.mark.parametrize(
    ("change", "arguments", "error", "message"),
    [
        pytest.param(np.log1p, {}, ValueError, "X does not hold counts", id="log"),
        pytest.param(None, {"split_key": "spilt"}, KeyError, "nearest: 'split'", id="split"),
        pytest.param(None, {"control": "NT"}, ValueError, "No cell has the control", id="control"),
        pytest.param(None, {"control": ()}, ValueError, "No cell is a control", id="no control"),
        pytest.param(
            None, {"covariate_keys": "own"}, ValueError, "no control cells in 'no'", id="context"
        ),
    ],
)
def test_bad_data_is_named(screen, change, arguments, error, message):
    screen.obs["own"] = np.where(screen.obs["perturbation"] == "control", "yes", "no")
    if change is not None:
        screen.X = change(screen.X)
    with pytest.raises(error, match=message):
        sams.baselines.Additive().fit(screen, **COLUMNS | arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"perturbations": "A+D"}, "'D' was not in the data", id="unknown"),
        pytest.param({"perturbations": []}, "`perturbations` is empty", id="empty"),
        pytest.param({"perturbations": "A", "n_cells": 0}, "`n_cells`", id="no cells"),
        pytest.param(
            {"perturbations": "A", "covariates": {"lime": "x"}}, "nearest: 'line'", id="covariate"
        ),
        pytest.param(
            {"perturbations": "A", "covariates": {"line": "z"}}, "has no value 'z'", id="value"
        ),
    ],
)
def test_bad_requests_are_named(screen, arguments, message):
    baseline = sams.baselines.Additive().fit(screen, **COLUMNS, covariate_keys="line")
    with pytest.raises(ValueError, match=message):
        baseline.predict(**arguments)


def test_a_baseline_that_is_not_fitted_says_so():
    with pytest.raises(RuntimeError, match="ControlMean is not fitted"):
        sams.baselines.ControlMean().predict("A")


def test_negative_penalties_are_refused():
    with pytest.raises(ValueError, match="`alpha` must not be negative"):
        sams.baselines.LinearAdditive(alpha=-1)
