"""Scores of predictions with known quality."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scvi_sams as sams
from scvi_sams.evaluation._cell_scores import AGREEMENT, DISTANCES
from scvi_sams.evaluation._means import check_counts
from scvi_sams.evaluation._scores import DIRECTION

pytestmark = pytest.mark.filterwarnings("ignore:The prediction .* has no control cells")

COLUMNS = {"perturbation_key": "perturbation", "control": "control"}
OF_MEANS = [name for name in DIRECTION if name not in {*DISTANCES, *AGREEMENT, "coverage"}]
METRICS = [*OF_MEANS, *DISTANCES]
LOG = "log1p counts per 10,000"
FAST = {"metrics": OF_MEANS, "n_bootstrap": 10}
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
    cells.obs_names = "predicted " + cells.obs_names
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
        metrics=OF_MEANS,
        n_bootstrap=200,
    )


def mean(found, metric, model):
    return found.summary.loc[(metric, model), "mean"]


def test_the_truth_is_perfect(found):
    for metric in ("rmse", "mae", "weighted_mse", "rank", "rank_of_truth"):
        assert mean(found, metric, "truth") == pytest.approx(0, abs=1e-12)
    of_one = ("r2", "weighted_r2_delta", "pearson_delta", "cosine_logfc")
    for metric in (*of_one, "ate_pearson", "ate_r2_top20", "variance_ratio"):
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
    of_one = ("pearson_delta", "cosine_delta", "cosine_logfc", "weighted_r2_delta")
    for metric in (*of_one, "ate_pearson"):
        assert mean(found, metric, "shuffled") < mean(found, metric, "PerturbedMean")


def test_a_replicate_scores_near_the_ceiling(found):
    for metric in ("pearson_delta", "weighted_r2_delta", "weighted_mse", "ate_pearson", "rank"):
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


def test_without_covariates_cells_are_pooled(screens):
    training, test = screens
    found = sams.evaluate(cells_of(training), test, **COLUMNS, **FAST)

    def mean_of(adata, label):
        x = adata.X[(adata.obs["perturbation"] == label).to_numpy()]
        return np.log1p(1e4 * x / x.sum(1, keepdims=True)).mean(0)

    row = found.per_perturbation.loc[("model", "P07", "")]
    guess, true = (mean_of(adata, "P07") - mean_of(test, "control") for adata in screens)
    assert row["pearson_delta"] == pytest.approx(np.corrcoef(guess, true)[0, 1], abs=1e-5)
    assert len(found.per_perturbation.loc["model"]) == N


def test_treatment_effects_are_from_the_controls_of_each_side(screens):
    training, test = screens
    with_control = training.copy()
    with_control.uns["prediction"] = {"units": "counts"}
    found = sams.evaluate(
        {"own": with_control, "observed": cells_of(training)},
        test,
        **COLUMNS,
        training=training,
        baselines="Additive",
        **FAST,
    )

    def effects(adata, control):
        y = np.log2(1 + 1e4 * adata.X / adata.X.sum(1, keepdims=True))
        means = pd.DataFrame(y).groupby(adata.obs["perturbation"].to_numpy()).mean()
        own = y[(adata.obs["perturbation"] == "control").to_numpy()].mean(0)
        return (means.drop(index="control") - (own if control is None else control)).to_numpy()

    y = np.log2(1 + 1e4 * test.X / test.X.sum(1, keepdims=True))
    shared = y[(test.obs["perturbation"] == "control").to_numpy()].mean(0)
    true = effects(test, None)
    for model, predicted in (
        ("own", effects(training, None)),
        ("observed", effects(training, shared)),
        ("Additive", effects(training, None)),
    ):
        expected = sams.metrics.ate_pearson(predicted, true)
        assert mean(found, "ate_pearson", model) == pytest.approx(expected, abs=1e-5)
        expected = sams.metrics.ate_r2(predicted, true, n_top=20)
        assert mean(found, "ate_r2_top20", model) == pytest.approx(expected, abs=1e-5)


def test_metrics_are_those_asked_for(screens):
    found = sams.evaluate(
        cells_of(screens[0]), screens[1], **COLUMNS, metrics=["ate_r2", "rmse"], n_bootstrap=5
    )
    assert list(found.per_perturbation) == ["rmse"]
    assert list(found.summary.index.unique("metric")) == ["rmse", "ate_r2"]
    joint = sams.evaluate(cells_of(screens[0]), screens[1], **COLUMNS, metrics="similarity")
    assert list(joint.summary.index.unique("metric")) == ["similarity"]


def test_baselines_are_those_asked_for(screens):
    training, test = screens
    arguments = COLUMNS | {"training": training, "metrics": "pearson_delta_perturbed"}
    alone = sams.evaluate({}, test, **arguments, baselines=())
    assert list(alone.summary.loc["pearson_delta_perturbed"].index) == ["ceiling"]
    assert alone.verdict == "Nothing was predicted; the ceiling is in `summary`."
    assert mean(alone, "pearson_delta_perturbed", "ceiling") > 0.5
    two = sams.evaluate({}, test, **arguments, baselines=["Additive", "ControlMean"])
    assert two.baselines == ("Additive", "ControlMean")
    assert two.verdict.startswith("pearson_delta_perturbed: the best baseline is Additive 0.")


def test_the_arguments_are_not_changed(screens):
    training, test = (adata.copy() for adata in screens)
    predicted = cells_of(training)
    before = [adata.copy() for adata in (predicted, test, training)]
    sams.evaluate(predicted, test, **COLUMNS, training=training, **FAST)
    for adata, copy in zip((predicted, test, training), before, strict=True):
        np.testing.assert_array_equal(adata.X, copy.X)
        pd.testing.assert_frame_equal(adata.obs, copy.obs)


@pytest.mark.parametrize("of", ["the prediction 'mine'", "`observed`", "`training`"])
def test_what_is_no_cells_is_refused(screens, of):
    training, test = screens
    given = {"the prediction 'mine'": cells_of(test), "`observed`": test, "`training`": training}
    given[of] = object()
    predicted, observed, training = given.values()
    with pytest.raises(TypeError, match=f"For {of} give an AnnData .* type object.*predict"):
        sams.evaluate({"mine": predicted}, observed, training=training, **COLUMNS, **FAST)


@pytest.mark.parametrize("lacks", ["X", "cells"])
@pytest.mark.parametrize("of", ["the prediction 'mine'", "`observed`", "`training`"])
def test_empty_data_is_refused(screens, of, lacks):
    training, test = screens
    given = {"the prediction 'mine'": cells_of(test), "`observed`": test, "`training`": training}
    given[of] = given[of][:0].copy() if lacks == "cells" else ad.AnnData(obs=given[of].obs)
    predicted, observed, training = given.values()
    with pytest.raises(ValueError, match=f"The AnnData for {of} has no {lacks}"):
        sams.evaluate({"mine": predicted}, observed, training=training, **COLUMNS, **FAST)


def test_intervals_hold_the_mean_and_the_verdict_names_winners(found):
    known = found.summary.dropna()
    inside = (known["lower"] <= known["mean"] + 1e-9) & (known["mean"] <= known["upper"] + 1e-9)
    assert inside.mean() > 0.97
    assert (known["n"] == 2 * N).all()
    verdict = dict(line.split(": ", 1) for line in found.verdict.splitlines())
    assert verdict["pearson_delta"].startswith("truth 1, beats ")
    assert "(ceiling 0." in verdict["pearson_delta"]
    assert found.baselines == ("ControlMean", "PerturbedMean", "Additive", "LinearAdditive")


def test_the_winning_baseline_is_named(screens):
    training, test = screens
    names = [f"P{i:02}" for i in range(N)]
    wrong = cells_of(training, dict(zip(names, names[::-1], strict=True)))
    found = sams.evaluate({"mine": wrong}, test, **COLUMNS, training=training, **FAST)
    assert "mine" in found.verdict
    assert "loses to Additive" in found.verdict


def test_the_verdict_names_every_model_and_says_what_collapsed(found):
    lines = dict(line.split(": ", 1) for line in found.verdict.splitlines())
    models = found.per_perturbation.index.unique("model")
    for name in set(models) - {"ceiling", *found.baselines}:
        assert f"{name} " in lines["rmse"]
    assert "collapsed 0" in lines["variance_ratio"]
    assert lines["variance_ratio"].endswith("(far below 1 is collapse)")


def test_logs_that_no_counts_could_have_are_refused(screens):
    training, test = screens
    wrong = cells_of(training)
    with pytest.raises(ValueError, match=r"goes up to .*: all values of those are from 0 to"):
        sams.evaluate({"mine": wrong}, test, **COLUMNS, observed_units=LOG, **FAST)


def test_what_differs_less_than_resamples_do_is_level(screens):
    training, test = screens
    rng = np.random.default_rng(0)
    mine = sams.baselines.Additive().fit(training, **COLUMNS)
    cells = mine.predict([f"P{i:02}" for i in range(N)])
    names = cells.obs["perturbation"].unique()
    noise = dict(zip(names, rng.normal(scale=1e-4, size=(len(names), cells.n_vars)), strict=True))
    cells.X += np.stack(cells.obs["perturbation"].map(noise).to_list())
    metrics = {"metrics": ["rmse", "pearson_delta"], "baselines": ["Additive"]}
    found = sams.evaluate({"mine": cells}, test, **COLUMNS, training=training, **metrics)
    assert found.verdict.count("is level with Additive") == 2
    paired = found.resampled.loc[("rmse", "mine")] - found.resampled.loc[("rmse", "Additive")]
    assert paired.abs().max() < 1e-3 < found.resampled.loc[("rmse", "mine")].std()


def test_labels_are_compared_as_conditions(screens):
    _, test = screens
    test = test[test.obs["perturbation"].isin(["P00", "P01", "control"])].copy()
    predicted = cells_of(test, {"P00": "P01+P02", "P01": "P03"})
    test.obs["perturbation"] = test.obs["perturbation"].map(
        {"P00": "P02+P01", "P01": "P03+control", "control": "control"}
    )
    found = sams.evaluate(predicted, test, **COLUMNS, **FAST)
    assert list(found.per_perturbation.loc["model"].index) == [("P01+P02", ""), ("P03", "")]
    assert (found.per_perturbation.loc["model", "rmse"] < 1e-9).all()


def test_labels_of_predictions_may_stand_where_predict_puts_them(screens):
    training, test = screens
    other = test.copy()
    other.obs = other.obs.rename(columns={"perturbation": "guide"})
    predicted = cells_of(training)
    expected = sams.evaluate(predicted, test, **COLUMNS, **FAST)
    found = sams.evaluate(predicted, other, perturbation_key="guide", control="control", **FAST)
    pd.testing.assert_frame_equal(found.per_perturbation, expected.per_perturbation)
    del predicted.uns["prediction"]
    with pytest.raises(KeyError, match="no column 'guide'"):
        sams.evaluate(
            predicted,
            other,
            perturbation_key="guide",
            control="control",
            predicted_units="counts",
        )


def test_controls_may_be_parts_of_labels(screens):
    screens = [
        adata[adata.obs["perturbation"].isin(["P00", "P01", "control"])] for adata in screens
    ]
    expected = sams.evaluate({}, screens[1], **COLUMNS, training=screens[0], **FAST)
    pairs = []
    for adata in screens:
        pair = adata.copy()
        names = {"control": "N1+N2", "P00": "N1+P00", "P01": "P01"}
        pair.obs["perturbation"] = pair.obs["perturbation"].map(names)
        pairs.append(pair)
    found = sams.evaluate(
        {},
        pairs[1],
        perturbation_key="perturbation",
        control=["N1", "N2"],
        training=pairs[0],
        **FAST,
    )
    pd.testing.assert_frame_equal(found.per_perturbation, expected.per_perturbation)


def test_log_values_are_compared_as_they_are(screens):
    _, test = screens
    predicted = cells_of(test)
    predicted.X = np.log1p(1e4 * predicted.X / predicted.X.sum(1, keepdims=True))
    predicted.uns["prediction"] = {"units": "log1p counts per 10,000"}
    found = sams.evaluate(predicted, test, **COLUMNS, **FAST)
    assert (found.per_perturbation.loc["model", "rmse"] < 1e-5).all()


@pytest.mark.parametrize("is_same", [True, False], ids=["same-values", "other-values"])
def test_cells_that_are_to_be_predicted_predict_nothing(screens, is_same):
    _, test = screens
    cells = test.copy()
    cells.uns["prediction"] = {"units": "counts"}
    if is_same:
        cells.X[7:] = np.random.default_rng(0).permutation(cells.X[7:])  # of which some are copied
        with pytest.warns(UserWarning, match=r"^7 cell.*n 'model'.* are cells of `observed`"):
            sams.evaluate(cells, test, **COLUMNS, **FAST)
    else:  # simulated for the same cells
        cells.X = np.random.default_rng(0).permutation(cells.X)
        sams.evaluate(cells, test, **COLUMNS, **FAST)


@pytest.mark.filterwarnings("error:The prediction .* has no control cells")
def test_effects_from_shared_controls_are_warned_of(screens):
    training, test = screens
    with pytest.warns(UserWarning, match="'model' has no control cells.*on both sides"):
        sams.evaluate(cells_of(training), test, **COLUMNS, metrics=["ate_r2"], n_bootstrap=2)
    in_y = training[(training.obs["perturbation"] != "control") | (training.obs["line"] == "x")]
    in_y = in_y.copy()
    in_y.uns["prediction"] = {"units": "counts"}
    by_line = {"covariate_keys": "line", "n_bootstrap": 2}
    with pytest.warns(UserWarning, match="'model' has no control cells in 'y'"):
        sams.evaluate(in_y, test, **COLUMNS, **by_line, metrics="ate_pearson")
    sams.evaluate(in_y, test, **COLUMNS, **by_line, metrics=["rmse"])


def test_contexts_of_a_transfer_split_are_not_pooled_unnoticed(screens):
    training, test = screens
    test = test.copy()
    sams.splits.transfer(test, **COLUMNS, covariate_keys="line")
    with pytest.warns(UserWarning, match=r"held out within 'line', whose values are pooled"):
        sams.evaluate(cells_of(training), test, **COLUMNS, **FAST)
    sams.evaluate(cells_of(training), test, **COLUMNS, covariate_keys="line", **FAST)
    only = test[test.obs["line"] == "x"].copy()
    only.uns["other"] = {"method": np.array(["transfer", "other"])}
    sams.evaluate(cells_of(training), only, **COLUMNS, **FAST)


def test_an_evaluation_prints_as_its_verdict(found):
    first, *verdict = repr(found).splitlines()
    assert first.startswith(f"Evaluation of 4 model(s) and 4 baseline(s) on {2 * N} conditions by")
    assert verdict == found.verdict.splitlines()


def test_the_verdict_says_of_how_many_conditions_and_by_whose_definitions(screens):
    training, test = screens
    metrics = {"metrics": ["rmse", "rank"], "n_bootstrap": 2}
    found = sams.evaluate(cells_of(training), test, **COLUMNS, **metrics, compat="perturbench")
    first, *lines = found.verdict.splitlines()
    assert "perturbench" in first
    assert not any("conditions" in line for line in lines)
    only = test[(test.obs["perturbation"] != "P00") | (test.obs["line"] == "x")].copy()
    keep = only.obs["perturbation"].isin(["control", "P00", "P01"]) | (only.obs["line"] == "y")
    # in line x two conditions can be ranked, in y the others
    few = only[keep & ((only.obs["line"] == "y") | (only.obs["perturbation"] != "P01"))].copy()
    found = sams.evaluate(cells_of(training), few, **COLUMNS, covariate_keys="line", **metrics)
    rank = next(line for line in found.verdict.splitlines() if line.startswith("rank"))
    assert rank.endswith(f", of {N - 1} of {N} conditions")


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
        pytest.param(None, drop_controls, {}, "No cell of `observed` has the con", id="control"),
        pytest.param(rename_genes, None, {}, "share 37 genes and differ in 6", id="genes"),
        pytest.param(None, as_logs, {}, "X of `observed` does not hold counts", id="logs"),
        pytest.param(as_logs, None, {}, "X of `predicted` does not hold counts", id="predicted"),
        pytest.param(lacking, None, {}, "'model' lacks 1 condition.*'P01'", id="condition"),
        pytest.param(None, None, {"min_cells": 10**6}, "No perturbed condition", id="few"),
        pytest.param(
            None,
            None,
            {"metrics": ["rsme"]},
            "No metric is called 'rsme'; near.*'rmse'",
            id="metric",
        ),
        pytest.param(None, None, {"metrics": []}, "`metrics` is empty", id="no-metric"),
        pytest.param(
            None,
            None,
            {"baselines": "Aditive"},
            "No baseline is called 'Aditive'; nearest: 'Additive'",
            id="baseline",
        ),
        pytest.param(
            None, None, {"baselines": "Additive"}, "give `training=`", id="baseline-of-nothing"
        ),
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
    with pytest.raises(ValueError, match="`predicted_units` is 'tpm'"):
        sams.evaluate(predicted, screens[1], **COLUMNS, predicted_units="tpm")


@pytest.mark.parametrize(
    ("own", "asked", "message"),
    [
        pytest.param("counts", LOG, "says that X is 'counts' and `predicted_units`", id="other"),
        pytest.param("expected counts", None, "'expected counts', which is not", id="unknown"),
    ],
)
def test_units_that_a_prediction_says_hold(screens, own, asked, message):
    predicted = cells_of(screens[1])
    predicted.uns["prediction"]["units"] = own
    with pytest.raises(ValueError, match=message):
        sams.evaluate(predicted, screens[1], **COLUMNS, predicted_units=asked)


def twice(adata):
    adata = adata.copy()
    adata.var_names = ["g1", *adata.var_names[1:]]
    return adata


@pytest.mark.parametrize("side", ["observed", "training", "the prediction 'model'"])
def test_genes_of_one_name_are_named(screens, side):
    training, test = screens
    cells = {"training": training, "the prediction 'model'": cells_of(training), "observed": test}
    cells[side] = twice(cells[side])
    with pytest.raises(ValueError, match=f"Genes of `?{side}`? have one name, 'g1'"):
        sams.evaluate(
            cells["the prediction 'model'"],
            cells["observed"],
            **COLUMNS,
            training=cells["training"],
            intersect_genes=True,
        )


def test_training_cells_must_have_the_genes_and_may_have_more(screens):
    training, test = screens
    with pytest.raises(ValueError, match=r"`training` lacks 2 gene\(s\).*'g38', 'g39'"):
        sams.evaluate({}, test, **COLUMNS, training=training[:, :38].copy(), **FAST)
    some = test[:, 5:][:, ::-1].copy()
    found, expected = (
        sams.evaluate({}, some, **COLUMNS, training=cells, **FAST).summary
        for cells in (training, training[:, 5:].copy())
    )
    pd.testing.assert_frame_equal(found, expected)


def test_test_cells_among_training_cells_are_named(screens):
    training, test = screens
    both = ad.concat([training, test[:7]])
    both.obs_names_make_unique()
    with pytest.warns(UserWarning, match=r"7 cell\(s\) of `observed` are in `training` too"):
        sams.evaluate({}, test, **COLUMNS, training=both, **FAST)
    # other cells of the same names; warnings are errors
    again = training[: test.n_obs].copy()
    again.obs_names = test.obs_names[: again.n_obs]
    sams.evaluate({}, test, **COLUMNS, training=again, **FAST)


def test_common_genes_are_compared_if_asked(screens):
    predicted = cells_of(rename_genes(screens[1]))
    with pytest.warns(UserWarning, match="37 of the 40 genes of `observed` are compared"):
        found = sams.evaluate(predicted, screens[1], **COLUMNS, intersect_genes=True, **FAST)
    assert (found.per_perturbation.loc["model", "rmse"] < 1e-9).all()


def test_logs_that_lose_genes_are_not_on_the_scale_of_counts(screens):
    predicted = cells_of(screens[1])
    predicted.X = np.log1p(1e4 * predicted.X / predicted.X.sum(1, keepdims=True))
    predicted.uns["prediction"] = {"units": LOG}
    arguments = COLUMNS | FAST | {"intersect_genes": True}
    with pytest.warns(
        UserWarning, match="Logs of 'model' were normalised with genes that are not"
    ):
        sams.evaluate(predicted, screens[1][:, :30].copy(), **arguments)
    both = screens[1].copy()  # of one normalisation; warnings are errors
    both.X = np.log1p(1e4 * both.X / both.X.sum(1, keepdims=True))
    both = both[:, :30].copy()
    found = sams.evaluate(predicted, both, **arguments, observed_units=LOG)
    assert (found.per_perturbation.loc["model", "rmse"] < 1e-5).all()


def test_a_condition_of_one_cell_is_left_out_and_named(screens):
    _, test = screens
    keep = (test.obs["perturbation"] != "P03").to_numpy().copy()
    keep[np.flatnonzero(~keep)[:1]] = True
    with pytest.warns(UserWarning, match="'P03' is left out, with fewer than 2 cells"):
        found = sams.evaluate(cells_of(test), test[keep].copy(), **COLUMNS, **FAST)
    assert "P03" not in found.per_perturbation.index.get_level_values("perturbation")


def test_conditions_of_one_cell_are_scored_if_asked(screens):
    _, test = screens
    keep = (test.obs["perturbation"] != "P03").to_numpy().copy()
    keep[np.flatnonzero(~keep)[:1]] = True
    found = sams.evaluate(
        cells_of(test), test[keep].copy(), **COLUMNS, min_cells=1, metrics=METRICS, n_bootstrap=5
    )
    row = found.per_perturbation.loc[("model", "P03", "")]
    assert np.isfinite(row[["rmse", "pearson_delta", "rank"]]).all()
    # neither a variance nor a half of a lone cell is known
    assert row[["weighted_mse", "energy_distance"]].isna().all()
    assert found.per_perturbation.loc[("ceiling", "P03", "")].isna().all()
    assert found.summary.loc[("rmse", "ceiling"), "n"] == N - 1


def test_baselines_know_what_was_never_trained_on(screens):
    training, test = screens
    training = training[training.obs["perturbation"] != "P05"].copy()
    found = sams.evaluate({}, test, **COLUMNS, training=training, **FAST)
    error = found.per_perturbation["rmse"].xs("P05", level="perturbation").droplevel("context")
    assert error["LinearAdditive"] == pytest.approx(error["ControlMean"], rel=0.2)
    assert error["Additive"] == error["PerturbedMean"]


def test_saying_nothing_of_a_condition_does_not_leave_it_out(screens):
    training, test = screens
    training = training[training.obs["perturbation"] != "P05"].copy()
    arguments = COLUMNS | {"training": training, "baselines": ["Additive", "PerturbedMean"]}
    found = sams.evaluate({}, test, **arguments, **FAST)
    scores = found.per_perturbation["pearson_delta_perturbed"].droplevel("context")
    assert scores["Additive", "P05"] == 0  # the reference itself
    assert found.summary.loc[("pearson_delta_perturbed", "Additive"), "n"] == N
    assert (scores["PerturbedMean"] == 0).all()


def test_one_condition_has_no_rank(screens):
    _, test = screens
    test = test[test.obs["perturbation"].isin(["P00", "control"])].copy()
    found = sams.evaluate(cells_of(test), test, **COLUMNS, **FAST)
    assert found.per_perturbation["rank"].isna().all()
    assert np.isnan(mean(found, "variance_ratio", "model"))


def test_one_perturbation_has_no_interval(screens):
    _, test = screens
    test = test[test.obs["perturbation"].isin(["P00", "control"])].copy()
    found = sams.evaluate(cells_of(test), test, **COLUMNS, covariate_keys="line", **FAST)
    assert (found.summary["n"].loc["rmse"] == 2).all()  # in two contexts, drawn together
    assert found.summary[["lower", "upper"]].isna().all(axis=None)


def test_the_interval_of_similarity_is_around_it(screens):
    _, test = screens
    few = test[test.obs["perturbation"].isin(["P00", "P01", "P02", "P03", "control"])].copy()
    found = sams.evaluate(cells_of(few), few, **COLUMNS, metrics="similarity")
    row = found.summary.loc[("similarity", "model")]
    assert row["lower"] < row["mean"] < row["upper"] < 0.9


def test_contexts_must_have_been_trained_on(screens):
    training, test = screens
    training = training[training.obs["line"] == "x"].copy()
    with pytest.raises(ValueError, match="`training` has no control cells in 'y'"):
        sams.evaluate({}, test, **COLUMNS, covariate_keys="line", training=training, **FAST)


def test_the_names_of_baselines_are_taken(screens):
    training, test = screens
    with pytest.raises(ValueError, match="'Additive' names a baseline"):
        sams.evaluate({"Additive": cells_of(test)}, test, **COLUMNS, training=training)


def few_cells(values, names, genes=("A", "B")):
    """Cells of one label each."""
    index = [f"cell {i}" for i in range(len(names))]
    adata = ad.AnnData(values, obs=pd.DataFrame({"perturbation": names}, index=index))
    adata.var_names = genes
    return adata


@pytest.mark.filterwarnings("ignore:.* cells of `observed`")
def test_logs_in_a_sparse_matrix_stay_as_they_are():
    values = sparse.csr_matrix(np.array([[1.0, 2], [2, 1], [3, 0], [0, 3]], np.float32))
    values.indices[:2] = values.indices[:2][::-1]
    values.data[:2] = values.data[:2][::-1]
    values.has_sorted_indices = False
    test = few_cells(values, ["control", "control", "x", "x"])
    before = test.X.indices.copy()
    sams.evaluate({}, test, **COLUMNS, observed_units=LOG, metrics="rmse", n_bootstrap=5)
    np.testing.assert_array_equal(test.X.indices, before)


@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN or infinite"), (-1.0, "down to -1")])
def test_logs_that_are_none_are_refused(value, said):
    test = few_cells(np.array([[1, 2], [2, value], [3, 1.0]]), ["control", "x", "x"])
    with pytest.raises(ValueError, match=f"X of `observed` .*{said}"):
        sams.evaluate({}, test, **COLUMNS, observed_units=LOG, metrics="rmse")


def test_infinite_counts_are_refused():
    test = few_cells(np.array([[1, 2], [2, np.inf], [3, 1]]), ["control", "x", "x"])
    with pytest.raises(ValueError, match="X of `observed` does not hold counts: inf is none"):
        sams.evaluate({}, test, **COLUMNS, metrics="rmse")


def test_the_last_of_many_values_is_looked_at():
    counts = np.ones((3, 400_000), dtype=np.float32)
    check_counts(counts, "X", "")
    counts[-1, -1] = 0.5
    with pytest.raises(ValueError, match=r"X does not hold counts: 0[.]5 is none"):
        check_counts(counts, "X", "")


@pytest.mark.parametrize(
    ("argument", "value"), [("min_cells", "3"), ("max_cells", 1), ("max_cells", 1.5)]
)
def test_numbers_of_cells_are_integers(argument, value):
    test = few_cells(np.array([[1, 2], [2, 3], [3, 1]]), ["control", "x", "x"])
    with pytest.raises(ValueError, match=f"`{argument}` must be an integer .* it is {value!r}"):
        sams.evaluate({}, test, **COLUMNS, **{argument: value})


def test_a_condition_that_targets_every_gene_has_no_rank():
    names = ["control", "control", "A+B", "A+B", "x", "x", "y", "y"]
    test = few_cells(np.arange(1.0, 17).reshape(8, 2) % 5 + 1, names)
    found = sams.evaluate({}, test, **COLUMNS, metrics=["rmse", "rank"], n_bootstrap=5)
    ranks = found.per_perturbation.loc["ceiling", "rank"].droplevel("context")
    assert np.isnan(ranks["A+B"])
    assert ranks[["x", "y"]].notna().all()


def test_equal_cells_have_distances_without_a_warning():
    test = few_cells(np.ones((6, 2)), ["control", "control", "x", "x", "x", "x"])
    found = sams.evaluate({}, test, **COLUMNS, metrics=DISTANCES, n_bootstrap=5)
    assert found.per_perturbation["energy_distance"].item() == 0
    assert np.isnan(found.per_perturbation["mmd"].item())


def test_sparse_arrays_are_tested_as_dense_cells_are():
    values = np.log1p(np.random.default_rng(0).poisson(3.0, (24, 2)) + 1.0)
    names = np.repeat(["control", "x", "y"], 8)
    dense, stored = (few_cells(form(values), names) for form in (np.array, sparse.csr_array))
    one, other = (
        sams.evaluate({}, test, **COLUMNS, observed_units=LOG, metrics=AGREEMENT)
        for test in (dense, stored)
    )
    pd.testing.assert_frame_equal(one.per_perturbation, other.per_perturbation)
