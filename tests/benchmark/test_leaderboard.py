"""Means over seeds, and whether models beat baselines."""

import numpy as np
import pandas as pd
import pytest

from scvi_sams.benchmark._comparisons import comparisons, overall, sentence
from scvi_sams.benchmark._leaderboard import as_markdown, leaderboard
from scvi_sams.benchmark._terms import main_metrics, ordered
from tests.benchmark.results import simulate

KINDS = {"M": "model", "N": "model", "Mean": "baseline", "Ridge": "baseline", "ceiling": "ceiling"}
NO_RUNS = pd.DataFrame(columns=["dataset", "split", "model", "seed", "status", "message"])


def summary_of(metric="rmse", subset="all", **values):
    """One group; the values of a model are those of seeds 0, 1, …"""
    rows = [
        ("d", "s", seed, subset, model, KINDS[model], metric, mean, mean - 1, mean + 2, 9)
        for model, means in values.items()
        for seed, mean in enumerate(means)
    ]
    keys = ["dataset", "split", "seed", "subset", "model", "kind", "metric"]
    return pd.DataFrame(rows, columns=[*keys, "mean", "lower", "upper", "n"])


def best_of(summary):
    board = leaderboard(summary)
    return set(board.loc[board["best"], "model"])


def compared(summary):
    (_, row), *others = comparisons(summary, leaderboard(summary)).iterrows()
    assert not others
    return row


def test_means_and_spread_are_over_seeds():
    board = leaderboard(summary_of(M=[1.0, 2.0, 6.0], Mean=[4.0])).set_index("model")
    m = board.loc["M"]
    assert m[["mean", "lower", "upper"]].tolist() == [3, 2, 5]
    assert m["sd"] == pytest.approx(np.sqrt((4 + 1 + 9) / 2))
    assert (m["n_seeds"], m["kind"]) == (3, "model")
    assert np.isnan(board.loc["Mean", "sd"])


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        pytest.param("rmse", {"M": [2, 2], "Mean": [1, 1]}, {"Mean"}, id="less is better"),
        pytest.param("r2", {"M": [2, 2], "Mean": [1, 1]}, {"M"}, id="more is better"),
        pytest.param("iwelbo", {"M": [-9], "N": [-8]}, {"N"}, id="a bound on the likelihood"),
        pytest.param("variance_ratio", {"M": [2], "Mean": [1]}, set(), id="neither is better"),
        pytest.param("rmse", {"M": [1], "ceiling": [0]}, {"M"}, id="the ceiling does not compete"),
        pytest.param("rmse", {"M": [1], "Mean": [1]}, {"M", "Mean"}, id="ties"),
        pytest.param("rmse", {"M": [1, np.nan], "N": [2, 2]}, {"N"}, id="a seed is missing"),
        pytest.param("rmse", {"M": [np.nan], "N": [np.nan]}, set(), id="nothing has a score"),
    ],
)
def test_the_best_has_the_best_mean_over_all_seeds(metric, values, best):
    assert best_of(summary_of(metric, **values)) == best


def test_models_are_in_order_with_the_ceiling_last():
    found = leaderboard(summary_of(M=[3], Mean=[1], ceiling=[0], N=[np.nan], Ridge=[2]))
    assert found["model"].tolist() == ["Mean", "Ridge", "M", "N", "ceiling"]


@pytest.mark.parametrize(
    ("values", "outcome", "gap", "words"),
    [
        pytest.param(
            {"M": [1.0, 1.0], "N": [5.0, 5.0], "Mean": [2.0, 3.0], "Ridge": [9.0, 9.0]},
            "model",
            1.5,
            "M 1.0 beats the best baseline, Mean 2.5, by 1.5 in each of 2 seeds.",
            id="model",
        ),
        pytest.param(
            {"M": [2.0], "Mean": [1.5], "ceiling": [1.0]},
            "baseline",
            -0.5,
            "the baseline Mean 1.50 beats the best model, M 2.00, by 0.50 in the one seed "
            "(ceiling 1.00).",
            id="baseline",
        ),
        pytest.param(
            {"M": [1.0, 1.0, 4.0], "Mean": [3.0, 3.0, 3.0]},
            "mixed",
            1.0,
            "seeds disagree: M 2.0 is better than the best baseline, Mean 3.0, in 2 of 3 seeds, "
            "by 1.0 on average.",
            id="seeds disagree",
        ),
        pytest.param(
            {"M": [1.0], "Mean": [1.0]},
            "level",
            0.0,
            "M 1.00 is level with the best baseline, Mean 1.00.",
            id="level",
        ),
        pytest.param(
            {"M": [1.0], "Mean": [np.nan]},
            "alone",
            np.nan,
            "M 1.00 is the best model; no baseline has a score.",
            id="no baseline",
        ),
        pytest.param(
            {"Mean": [1.0]},
            "alone",
            np.nan,
            "no model has a score; the best baseline is Mean 1.00.",
            id="no model",
        ),
        pytest.param(
            {"M": [9.0, 1.0], "Mean": [np.nan, 2.0]},
            "model",
            1.0,
            "M 5.0 beats the best baseline, Mean 2.0, by 1.0 in the one seed.",
            id="over the seeds that both have",
        ),
        pytest.param(
            {"M": [1.0, np.nan], "Mean": [np.nan, 2.0]},
            "alone",
            np.nan,
            "M 1.00 and the baseline Mean 2.00 have no seed in common.",
            id="no seed in common",
        ),
    ],
)
def test_the_best_model_meets_the_best_baseline(values, outcome, gap, words):
    row = compared(summary_of(**values))
    assert row["outcome"] == outcome
    assert row["gap"] == pytest.approx(gap, nan_ok=True)
    assert sentence(row) == words


def test_metrics_without_a_direction_are_not_compared():
    summary = summary_of("variance_ratio", M=[1], Mean=[2])
    found = comparisons(summary, leaderboard(summary))
    assert found.empty
    assert overall(found).startswith("There is nothing to compare")


def test_all_comparisons_are_counted_in_words():
    parts = {
        "rmse": {"M": [1, 1], "Mean": [2, 2]},
        "mae": {"M": [3, 3], "Mean": [2, 2]},
        "rank": {"M": [1, 3], "Mean": [2, 3]},
        "r2": {"M": [0, 0], "Mean": [2, 2], "Ridge": [3, 3]},
    }
    summary = pd.concat([summary_of(metric, **values) for metric, values in parts.items()])
    found = comparisons(summary, leaderboard(summary))
    assert overall(found) == (
        "Of 4 comparisons, a model wins 1 in every seed and a baseline wins 2 in every seed; "
        "seeds disagree in 1. Baselines that win: Mean (1) and Ridge (1)."
    )
    assert overall(found[found["metric"] == "rmse"]) == "A model wins."
    assert overall(found[found["outcome"] == "baseline"]).startswith(
        "A baseline wins all 2 comparisons."
    )


def test_main_metrics_come_first():
    assert ordered(["new", "mae", "rmse", "mae", "rank"]) == ["rank", "rmse", "mae", "new"]
    assert main_metrics(["mae", "rmse"]) == ["rmse"]
    assert main_metrics(["mae", "variance_ratio"]) == ["mae"]


def test_markdown_marks_the_best_and_the_baselines():
    text = as_markdown(summary_of(M=[2.0, 3.0], Mean=[1.0, 1.5], ceiling=[0.5, 0.5]), NO_RUNS)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table == [
        "| | rmse\N{NO-BREAK SPACE}↓ |",
        "|---|--:|",
        "| *Mean* | **1.25 ± 0.35** |",
        "| M | 2.50 ± 0.71 |",
        "| ceiling | 0.50 ± 0.00 |",
    ]
    assert "- `rmse`: the baseline Mean 1.2 beats" in text


def test_markdown_says_why_scores_are_missing():
    found = simulate(n_perturbations=5)
    text = as_markdown(found.summary, found.runs)
    section = text.split("## replogle · random")[1]
    assert "| GEARS | – | –" in section
    assert "- GEARS, seed 0, 1, 2: cannot predict. ValueError: GEARS has no gene graph" in section
    assert "- CPA-VAE, seed 1: failed. RuntimeError" in section
    assert " (2 of 3 seeds) |" in section


def test_markdown_shows_what_no_run_has_a_score_of():
    runs = NO_RUNS.copy()
    runs.loc[0] = ["lost", "s", "M", 0, "failed", "out of memory"]
    text = as_markdown(summary_of(M=[1], Mean=[2]), runs)
    assert "## lost · s\n\n| | rmse" in text
    assert "- M, seed 0: failed. out of memory" in text


def test_markdown_takes_names_as_they_are():
    summary = summary_of(M=[1], Mean=[2]).replace({"M": "a|b_*c*"})
    text = as_markdown(summary, NO_RUNS, metrics=["rmse"])
    assert r"| a\|b\_\*c\* |" in text
