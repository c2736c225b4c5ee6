"""Scores of predictions with known quality."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scvi_sams as sams

COLUMNS = {"perturbation_key": "perturbation", "control": "control"}
N = 60


@pytest.fixture(scope="module")
def screens():
    """Training and test cells of 60 perturbations in two lines; half of each condition."""
    rng = np.random.default_rng(0)
    base = rng.gamma(2, 4, 40)
    labels = np.array([f"P{i:02}" for i in range(N)])
    effects = np.exp(rng.normal(0, 0.6, (N, 40)) * (rng.random((N, 40)) < 0.3))
    received = np.repeat(np.arange(-1, N), 2 * 40)
    received = np.append(received, np.full(400, -1))
    line = np.tile(["x", "y"], len(received) // 2)
    rate = base * np.where(received[:, None] >= 0, effects[received], 1)
    rate[line == "y", :10] *= 2
    adata = ad.AnnData(rng.poisson(rate).astype(np.float32))
    adata.var_names = [f"g{i}" for i in range(40)]
    adata.obs["perturbation"] = np.where(received >= 0, labels[received], "control")
    adata.obs["line"] = line
    is_test = np.arange(len(received)) // 2 % 2 == 1
    return adata[~is_test].copy(), adata[is_test].copy()


def cells_of(adata, labels=None):
    """Perturbed cells as a prediction, under other labels if given."""
    cells = adata[adata.obs["perturbation"] != "control"].copy()
    if labels is not None:
        cells.obs["perturbation"] = cells.obs["perturbation"].map(labels)
    cells.uns["prediction"] = {"units": "counts"}
    return cells


@pytest.fixture(scope="module")
def found(screens):
    training, test = screens
    names = [f"P{i:02}" for i in range(N)]
    shuffled = dict(zip(names, np.random.default_rng(1).permutation(names), strict=True))
    collapsed = cells_of(test)
    collapsed.X = np.tile(test.X.mean(0), (collapsed.n_obs, 1)).round()
    return sams.evaluate(
        {
            "truth": cells_of(test),
            "replicate": cells_of(training),
            "shuffled": cells_of(training, shuffled),
            "collapsed": collapsed,
        },
        test,
        **COLUMNS,
        covariate_keys="line",
        training=training,
        n_bootstrap=200,
    )


def mean(found, metric, model):
    return found.summary.loc[(metric, model), "mean"]


def test_the_truth_is_perfect(found):
    for metric in ("rmse", "mae", "rank", "rank_of_truth"):
        assert mean(found, metric, "truth") == pytest.approx(0, abs=1e-12)
    for metric in ("r2", "pearson_delta", "cosine_logfc", "ate_pearson", "variance_ratio"):
        assert mean(found, metric, "truth") == pytest.approx(1)


def test_a_collapsed_prediction_ranks_at_chance_and_does_not_vary(found):
    assert (found.per_perturbation.loc["collapsed", "rank"] == 0.5).all()
    within = found.per_perturbation.loc["ControlMean", "rank"]
    assert (within == 0.5).all()
    assert mean(found, "similarity", "ControlMean") == pytest.approx(1)
    assert mean(found, "variance_ratio", "ControlMean") == pytest.approx(0, abs=1e-12)
    assert mean(found, "variance_ratio", "collapsed") == 0


def test_shuffled_labels_are_at_chance_and_below_the_mean_of_perturbations(found):
    assert mean(found, "rank", "shuffled") == pytest.approx(0.5, abs=0.05)
    assert mean(found, "rank_of_truth", "shuffled") == pytest.approx(0.5, abs=0.05)
    for metric in ("pearson_delta", "cosine_delta", "cosine_logfc", "ate_pearson"):
        assert mean(found, metric, "shuffled") < mean(found, metric, "PerturbedMean")


def test_a_replicate_scores_near_the_ceiling(found):
    for metric in ("pearson_delta", "ate_pearson", "rank"):
        # the ceiling is of halves of halves
        ceiling, other = mean(found, metric, "ceiling"), mean(found, metric, "shuffled")
        assert abs(mean(found, metric, "replicate") - ceiling) < 0.25 * abs(other - ceiling)


def test_metrics_are_those_of_the_means_within_contexts(found, screens):
    training, test = screens

    def means(adata):
        y = np.log1p(1e4 * adata.X / adata.X.sum(1, keepdims=True))
        keys = [adata.obs["perturbation"].to_numpy(), adata.obs["line"].to_numpy()]
        return pd.DataFrame(y).groupby(keys).mean()

    true, predicted = means(test), means(training)
    row = found.per_perturbation.loc[("replicate", "P07", "y")]
    delta = true.loc[("P07", "y")] - true.loc[("control", "y")]
    guess = predicted.loc[("P07", "y")] - true.loc[("control", "y")]
    assert row["pearson_delta"] == pytest.approx(np.corrcoef(delta, guess)[0, 1], abs=1e-5)
    error = true.loc[("P07", "y")] - predicted.loc[("P07", "y")]
    assert row["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-4)
    assert len(found.per_perturbation.loc["replicate"]) == 2 * N


def test_intervals_hold_the_mean_and_the_verdict_names_winners(found):
    known = found.summary.dropna()
    is_mean = ~known.index.get_level_values("metric").isin(["variance_ratio", "similarity"])
    inside = (known["lower"] <= known["mean"] + 1e-9) & (known["mean"] <= known["upper"] + 1e-9)
    assert inside[is_mean].mean() > 0.97
    assert (known["n"] == 2 * N).all()
    verdict = dict(line.split(": ", 1) for line in found.verdict.splitlines())
    assert verdict["pearson_delta"].startswith("truth 1, beats ")
    assert "(ceiling 0." in verdict["pearson_delta"]
    assert found.baselines == ("ControlMean", "PerturbedMean", "Additive", "LinearAdditive")


def test_the_winning_baseline_is_named(screens):
    training, test = screens
    names = [f"P{i:02}" for i in range(N)]
    wrong = cells_of(training, dict(zip(names, names[::-1], strict=True)))
    found = sams.evaluate({"mine": wrong}, test, **COLUMNS, training=training, n_bootstrap=10)
    assert "mine" in found.verdict
    assert "loses to Additive" in found.verdict


def test_labels_are_compared_as_conditions(screens):
    _, test = screens
    test = test[test.obs["perturbation"].isin(["P00", "P01", "control"])].copy()
    predicted = cells_of(test, {"P00": "P01+P02", "P01": "P03"})
    test.obs["perturbation"] = test.obs["perturbation"].map(
        {"P00": "P02+P01", "P01": "P03+control", "control": "control"}
    )
    found = sams.evaluate(predicted, test, **COLUMNS, n_bootstrap=10)
    assert list(found.per_perturbation.loc["model"].index) == [("P01+P02", ""), ("P03", "")]
    assert (found.per_perturbation.loc["model", "rmse"] < 1e-9).all()


def test_log_values_are_compared_as_they_are(screens):
    _, test = screens
    predicted = cells_of(test)
    predicted.X = np.log1p(1e4 * predicted.X / predicted.X.sum(1, keepdims=True))
    predicted.uns["prediction"] = {"units": "log1p counts per 10,000"}
    found = sams.evaluate(predicted, test, **COLUMNS, n_bootstrap=10)
    assert (found.per_perturbation.loc["model", "rmse"] < 1e-5).all()


def drop_controls(test):
    return test[test.obs["perturbation"] != "control"].copy()


def rename_genes(test):
    test = test.copy()
    test.var_names = [f"h{i}" if i < 3 else f"g{i}" for i in range(40)]
    return test


def as_logs(test):
    test = test.copy()
    test.X = np.log1p(test.X)
    return test


def lacking(test):
    return test[test.obs["perturbation"] != "P01"].copy()


@pytest.mark.parametrize(
    ("of_predicted", "of_test", "arguments", "message"),
    [
        pytest.param(None, drop_controls, {}, "No cell has the control 'control'", id="control"),
        pytest.param(rename_genes, None, {}, "share 37 genes and differ in 6", id="genes"),
        pytest.param(None, as_logs, {}, "X of `observed` does not hold counts", id="logs"),
        pytest.param(as_logs, None, {}, "X of `predicted` does not hold counts", id="predicted"),
        pytest.param(lacking, None, {}, "'model' lacks 1 condition.*'P01'", id="condition"),
        pytest.param(
            None, None, {"predicted_units": "tpm"}, "`predicted_units` is 'tpm'", id="units"
        ),
        pytest.param(None, None, {"min_cells": 10**6}, "No perturbed condition", id="few"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* is left out, with fewer")
def test_bad_input_is_named(screens, of_predicted, of_test, arguments, message):
    _, test = screens
    predicted = cells_of(test if of_predicted is None else of_predicted(test))
    with pytest.raises(ValueError, match=message):
        sams.evaluate(predicted, test if of_test is None else of_test(test), **COLUMNS | arguments)


def test_units_must_be_stated(screens):
    predicted = cells_of(screens[1])
    del predicted.uns["prediction"]
    with pytest.raises(ValueError, match="state it by `predicted_units=`"):
        sams.evaluate(predicted, screens[1], **COLUMNS)


def test_common_genes_are_compared_if_asked(screens):
    predicted = cells_of(rename_genes(screens[1]))
    found = sams.evaluate(predicted, screens[1], **COLUMNS, intersect_genes=True, n_bootstrap=10)
    assert (found.per_perturbation.loc["model", "rmse"] < 1e-9).all()


def test_a_condition_of_one_cell_is_left_out_and_named(screens):
    _, test = screens
    keep = (test.obs["perturbation"] != "P03").to_numpy().copy()
    keep[np.flatnonzero(~keep)[:1]] = True
    with pytest.warns(UserWarning, match="'P03' is left out, with fewer than 2 cells"):
        found = sams.evaluate(cells_of(test), test[keep].copy(), **COLUMNS, n_bootstrap=10)
    assert "P03" not in found.per_perturbation.index.get_level_values("perturbation")


def test_one_condition_has_no_rank(screens):
    _, test = screens
    test = test[test.obs["perturbation"].isin(["P00", "control"])].copy()
    found = sams.evaluate(cells_of(test), test, **COLUMNS, n_bootstrap=10)
    assert found.per_perturbation["rank"].isna().all()
    assert np.isnan(mean(found, "variance_ratio", "model"))


def test_the_names_of_baselines_are_taken(screens):
    training, test = screens
    with pytest.raises(ValueError, match="'Additive' names a baseline"):
        sams.evaluate({"Additive": cells_of(test)}, test, **COLUMNS, training=training)
