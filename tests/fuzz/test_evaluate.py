"""Any two sides are scored as their means say, whatever their form and order, or refused."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st

import scvi_sams as sams
from scvi_sams.evaluation._cell_scores import AGREEMENT, DISTANCES
from scvi_sams.evaluation._scores import DIRECTION
from tests.fuzz.harness import ask, fuzzed
from tests.fuzz.screens import CONTROL, LOGS, evaluations

# ties of these are decided by rounding, which the order of genes changes
RANKS = ("rank", "rank_of_truth")
OF_MEANS = [name for name in DIRECTION if name not in {*DISTANCES, *AGREEMENT, *RANKS, "coverage"}]
NEVER_NAN = ("rmse", "mae")


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
    assert isinstance(found.verdict, str)
    for name, row in table.iterrows():
        difference = predicted.mean(name) - observed.mean(name)
        assert len(difference) == observed.adata.n_vars
        np.testing.assert_allclose(row["rmse"], np.sqrt((difference**2).mean()), atol=1e-5)
        np.testing.assert_allclose(row["mae"], difference.abs().mean(), atol=1e-5)
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
