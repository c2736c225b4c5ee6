"""Any two sides are scored as their means say, whatever their form and order, or refused."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st

import scvi_sams as sams
from scvi_sams.evaluation._cell_scores import AGREEMENT, DISTANCES
from scvi_sams.evaluation._scores import DIRECTION
from tests.fuzz.harness import ask, fuzzed
from tests.fuzz.profiles import naive_cosine, naive_r2
from tests.fuzz.screens import CONTROL, LOGS, evaluations, training_of

# ties of these are decided by rounding, which the order of genes changes
RANKS = ("rank", "rank_of_truth")
OF_MEANS = [name for name in DIRECTION if name not in {*DISTANCES, *AGREEMENT, *RANKS, "coverage"}]


def is_refused(predicted, observed, min_cells):
    """Whether anything about the two sides has no answer."""
    genes = [list(side.adata.var_names) for side in (predicted, observed)]
    if any(len(set(names)) < len(names) for names in genes) or set(genes[0]) != set(genes[1]):
        return True
    for side in (predicted, observed):
        x = side.values
        if not np.isfinite(x).all():
            return True
        if side.units == LOGS:
            if x.max() > np.log1p(1e4) + 1 or (side is observed and x.min() < 0):
                return True
        elif (x < 0).any() or (x != np.round(x)).any():
            return True
    if observed.kind == "no control" or len(observed.adata.var_names) < 2:
        return True
    counts = pd.Series(observed.labels).value_counts().drop(CONTROL)
    scored = set(counts.index[counts >= min_cells])
    return not scored or not scored <= set(predicted.labels)


def evaluated(predicted, observed, sides, asked, metrics):
    return sams.evaluate(
        predicted,
        observed,
        perturbation_key="p",
        control=CONTROL,
        observed_units=sides[1].units,
        predicted_units=sides[0].units,
        metrics=metrics,
        n_bootstrap=5,
        **asked,
    )


def check_scores(row, predicted, observed, name):
    """Compare the scores of a condition with what means of either side say."""
    x, y, control = predicted.mean(name), observed.mean(name), observed.mean(CONTROL)
    x, control = x[y.index], control[y.index]
    np.testing.assert_allclose(row["rmse"], np.sqrt(((x - y) ** 2).mean()), atol=1e-5)
    np.testing.assert_allclose(row["mae"], (x - y).abs().mean(), atol=1e-5)
    changes = (x - control).to_numpy(), (y - control).to_numpy()
    if all(np.linalg.norm(change) > 1e-2 for change in changes):
        np.testing.assert_allclose(row["cosine_delta"], naive_cosine(*changes), atol=1e-3)
        if all(np.std(change) > 1e-2 for change in changes):
            expected = np.corrcoef(*changes)[0, 1]
            np.testing.assert_allclose(row["pearson_delta"], expected, atol=1e-3)
    if np.std(y) > 1e-2:
        np.testing.assert_allclose(row["r2"], naive_r2(x.to_numpy(), y.to_numpy()), rtol=1e-3)


@fuzzed(
    "evaluate",
    st.tuples(evaluations(), st.sampled_from(["means"] * 6 + ["cells"])),
    ci=30,
    nightly=300,
)
def test_scores_are_those_of_the_means(case):
    (predicted, observed, asked), of = case
    metrics = [*OF_MEANS, *RANKS] if of == "means" else [*OF_MEANS, *DISTANCES, *AGREEMENT]
    sides = predicted, observed
    answer = ask(
        lambda: evaluated(predicted.adata, observed.adata, sides, asked, metrics),
        {"predicted": predicted.adata, "observed": observed.adata},
        given=["prediction", "observed", "training"],
    )
    refused = is_refused(predicted, observed, asked["min_cells"])
    assert (answer.refusal is None) != refused, answer.refusal
    if refused:
        return answer
    found = answer.value
    table = found.per_perturbation.loc["model"].droplevel("context")
    assert not np.isinf(found.per_perturbation.to_numpy()).any()
    assert not np.isinf(found.summary.to_numpy()).any()
    assert not table[["rmse", "mae"]].isna().any(axis=None)
    assert "model" in found.verdict
    for name, row in table.iterrows():
        check_scores(row, predicted, observed, name)
        if predicted is observed:
            assert row["rmse"] == 0
    counts = pd.Series(observed.labels).value_counts().drop(CONTROL)
    scored = counts.index[counts >= asked["min_cells"]]
    assert set(table.index) == {"+".join(sorted(name.split("+"))) for name in scored}
    mean = found.summary["mean"].xs("model", level="model")
    np.testing.assert_allclose(mean["rmse"], table["rmse"].mean())
    return answer


@fuzzed("evaluate, shuffled", st.tuples(evaluations(), st.integers(0, 9)), ci=15, nightly=200)
def test_the_order_of_cells_and_genes_says_nothing(case):
    (predicted, observed, asked), seed = case
    sides = predicted, observed
    answers = [
        ask(
            lambda pair=pair: evaluated(*pair, sides, asked, OF_MEANS),
            {"predicted": pair[0], "observed": pair[1]},
            given=["prediction", "observed"],
        )
        for pair in (
            (predicted.adata, observed.adata),
            (predicted.shuffled(seed), observed.shuffled(seed + 1)),
        )
    ]
    first, second = answers
    assert (first.refusal is None) == (second.refusal is None)
    if first.refusal is None:
        tables = [one.value.per_perturbation.loc["model"].sort_index() for one in answers]
        pd.testing.assert_frame_equal(*tables, rtol=1e-3, atol=1e-4)
    return first


@fuzzed(
    "evaluate, with baselines",
    st.tuples(evaluations(), st.integers(0, 2**32 - 1), st.booleans()),
    ci=15,
    nightly=200,
)
def test_baselines_are_scored_beside_the_model(case):
    (predicted, observed, asked), seed, has_all = case
    training = training_of(predicted, observed, seed, has_all)
    asked = asked | {"training": training.adata, "baselines": ["ControlMean", "Additive"]}
    answer = ask(
        lambda: evaluated(predicted.adata, observed.adata, (predicted, observed), asked, OF_MEANS),
        {
            "predicted": predicted.adata,
            "observed": observed.adata,
            "training": training.adata,
        },
        given=["prediction", "observed", "training"],
    )
    refused = is_refused(predicted, observed, asked["min_cells"])
    assert (answer.refusal is None) != refused, answer.refusal
    if answer.refusal is None:
        table = answer.value.per_perturbation.droplevel("context")
        for (model, name), row in table.iterrows():
            if model == "model":
                check_scores(row, predicted, observed, name)
            elif model == "ControlMean" or (model == "Additive" and name in training.labels):
                own = CONTROL if model == "ControlMean" else name
                error = training.mean(own)[observed.adata.var_names] - observed.mean(name)
                np.testing.assert_allclose(row["rmse"], np.sqrt((error**2).mean()), atol=1e-5)
    return answer
