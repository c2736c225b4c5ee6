"""Agreement of differential expression, against scipy's tests and planted changes."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from scipy import sparse
from scipy.stats import false_discovery_control, mannwhitneyu, spearmanr

from scvi_sams.metrics import de_agreement

COLUMNS = {"perturbation_key": "perturbation", "control": "control"}
CHANGES = {"A": 1.5, "B": -1.0, "none": 0.0}


def cells(seed: int, changes=CHANGES, n_cells=60, n_genes=40) -> ad.AnnData:
    """Counts of which the first ten genes change by a log fold change, log-normalised, sparse."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(["control", *changes], n_cells)
    base = np.random.default_rng(99).exponential(size=n_genes)
    base[-1] = 0  # never seen
    shift = np.array([0.0, *changes.values()]).repeat(n_cells)
    fold = np.exp(shift[:, None] * (np.arange(n_genes) < 10))
    counts = rng.poisson(base * fold)
    obs = pd.DataFrame({"perturbation": labels}, index=[f"cell{i}" for i in range(len(labels))])
    var = pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)])
    return ad.AnnData(sparse.csr_matrix(np.log1p(counts / 2).astype(np.float32)), obs, var)


@pytest.fixture
def screens():
    """Predicted and observed cells of one truth."""
    return cells(1), cells(2)


def by_scipy(adata, name, control=None):
    """Of each gene: z, the adjusted p, and the difference of means."""
    control = adata if control is None else control
    x = adata[adata.obs["perturbation"] == name].X.toarray().astype(float)
    y = control[control.obs["perturbation"] == "control"].X.toarray().astype(float)
    n, m = len(x), len(y)
    z, p = np.zeros(x.shape[1]), np.ones(x.shape[1])
    for g in range(x.shape[1]):
        if np.ptp(np.append(x[:, g], y[:, g])) > 0:
            test = mannwhitneyu(x[:, g], y[:, g], use_continuity=False, method="asymptotic")
            p[g] = test.pvalue
            z[g] = test.statistic - n * m / 2
            counts = np.unique(np.append(x[:, g], y[:, g]), return_counts=True)[1]
            ties = (counts**3 - counts).sum() / ((n + m) * (n + m - 1))
            z[g] /= np.sqrt(n * m / 12 * (n + m + 1 - ties))
    return z, false_discovery_control(p), x.mean(0) - y.mean(0)


@pytest.mark.parametrize("n_genes", [5, 10, 1000])
@pytest.mark.parametrize("name", ["A", "B"])
def test_scores_agree_with_scipy(screens, name, n_genes):
    predicted, observed = screens
    z_found, _, found = by_scipy(predicted, name)
    z_true, p_true, true = by_scipy(observed, name)
    significant = set(np.flatnonzero(p_true <= 0.05))
    top_found = [g for g in np.argsort(-abs(z_found), kind="stable") if z_found[g]][:n_genes]
    order = [g for g in np.argsort(-abs(z_true), kind="stable") if g in significant]
    top_true = order[:n_genes]
    chosen = sorted(significant)
    expected = {
        "recall": np.mean([g in top_found for g in top_true]),
        "precision": np.mean([g in significant for g in top_found]),
        "direction": np.mean(np.sign(found[top_true]) == np.sign(true[top_true])),
        "spearman": spearmanr(found[chosen], true[chosen])[0],
    }
    scores = de_agreement(predicted, observed, **COLUMNS, n_genes=n_genes)
    assert scores.loc[name].to_dict() == pytest.approx(expected, abs=1e-6)
    assert len(significant) >= 5


def test_lists_by_hand():
    # control and perturbed cells share no value where a gene changes: |z| is as large for each
    control = np.tile(np.linspace(1, 1.5, 40)[:, None], 6)

    def screen(shifts):
        x = np.vstack([control, control + 0.001 + np.array(shifts)])
        obs = pd.DataFrame({"perturbation": ["control"] * 40 + ["A"] * 40})
        obs.index = obs.index.astype(str)
        return ad.AnnData(x, obs, pd.DataFrame(index=list("abcdef")))

    observed = screen([1, 2, -3, 4, 0, 0])  # a, b, c and d change
    predicted = screen([2, -1, 0, 3, 5, 0])  # a, b, d and e do
    scores = de_agreement(predicted, observed, **COLUMNS, n_genes=4).loc["A"]
    assert scores["recall"] == 3 / 4  # all but c
    assert scores["precision"] == 3 / 4  # all but e
    assert scores["direction"] == 2 / 4  # of b and c the sign is wrong
    # ranks 2, 3, 1, 4 of what was observed and 3, 1, 2, 4 of what was predicted
    assert scores["spearman"] == pytest.approx(0.4)
    scores = de_agreement(predicted, observed, **COLUMNS, n_genes=2).loc["A"]
    assert scores["recall"] == 1 / 2  # of equal z, d and c change most, and e and d
    assert scores["precision"] == 1 / 2
    assert scores["direction"] == 1 / 2


def test_a_prediction_of_no_change_finds_nothing(screens):
    predicted, observed = screens
    control = predicted[predicted.obs["perturbation"] == "control"]
    same = control.copy()
    same.obs["perturbation"] = "A"
    scores = de_agreement(ad.concat([control, same], index_unique="-"), observed, **COLUMNS)
    np.testing.assert_array_equal(scores.loc["A"], 0)


def test_the_truth_agrees_with_itself_and_chance_does_not(screens):
    _, observed = screens
    scores = de_agreement(observed, observed, **COLUMNS, n_genes=10)
    np.testing.assert_array_equal(scores.loc[["A", "B"], ["recall", "direction"]], 1)
    np.testing.assert_allclose(scores.loc[["A", "B"], "spearman"], 1)
    permuted = observed.copy()
    permuted.X = observed.X[:, np.random.default_rng(0).permutation(40)]
    assert de_agreement(permuted, observed, **COLUMNS, n_genes=10)["recall"].max() < 0.7


def test_nothing_is_recalled_where_nothing_changes(screens):
    scores = de_agreement(*screens, **COLUMNS)
    assert list(scores.index) == ["A", "B", "none"]
    assert scores.index.name == "perturbation"
    assert list(scores) == ["recall", "precision", "direction", "spearman"]
    assert scores.loc["none", "precision"] == 0
    assert scores.loc["none"].drop("precision").isna().all()


def test_predictions_without_controls_are_tested_against_real_ones(screens):
    predicted, observed = screens
    predicted.X = predicted.X * 2  # off alike in both, which shows beside real controls
    alone = predicted[predicted.obs["perturbation"] == "B"]
    found = de_agreement(alone, observed, **COLUMNS, n_genes=15)
    real = observed[observed.obs["perturbation"] == "control"]
    with_real = de_agreement(ad.concat([alone, real]), observed, **COLUMNS, n_genes=15)
    pd.testing.assert_frame_equal(found, with_real)
    own = de_agreement(predicted, observed, **COLUMNS, n_genes=15)
    assert found.loc["B", "direction"] < own.loc["B", "direction"]


@pytest.mark.parametrize("form", ["dense", "csc", "one-of-each", "double", "shuffled", "shifted"])
def test_the_form_of_data_does_not_matter(screens, form):
    expected = de_agreement(*screens, **COLUMNS)
    predicted, observed = (screen.copy() for screen in screens)
    change = {
        "dense": lambda x: x.toarray(),
        "csc": sparse.csc_matrix,
        "one-of-each": lambda x: x.toarray(),
        "double": lambda x: x.astype(float),
        "shuffled": lambda x: x,
        "shifted": lambda x: x.toarray().astype(float) - 3.0,  # as of real-valued data
    }[form]
    predicted.X = change(predicted.X)
    if form != "one-of-each":
        observed.X = change(observed.X)
    if form == "shuffled":
        rng = np.random.default_rng(0)
        predicted = predicted[rng.permutation(240)][:, rng.permutation(40)]
    found = de_agreement(predicted, observed, **COLUMNS)
    pd.testing.assert_frame_equal(found, expected)


def test_several_controls_are_one(screens):
    predicted, observed = (screen.copy() for screen in screens)
    expected = de_agreement(predicted, observed, **COLUMNS)
    for screen in (predicted, observed):
        screen.obs.loc[screen.obs_names[:20], "perturbation"] = "other"
    found = de_agreement(
        predicted, observed, perturbation_key="perturbation", control=["control", "other"]
    )
    pd.testing.assert_frame_equal(found, expected)


def test_more_perturbations_than_fit_in_one_table_of_scanpy():
    changes = {f"P{i:03d}": 1.0 for i in range(60)}
    scores = de_agreement(cells(1, changes, 8, 12), cells(2, changes, 8, 12), **COLUMNS, n_genes=5)
    assert scores.shape == (60, 4)


def test_data_and_threads_are_left_as_found(screens, monkeypatch):
    copies = [screen.copy() for screen in screens]
    test = sc.tl.rank_genes_groups

    def as_on_many_cores(*args, **kwargs):
        torch.set_num_threads(3)
        return test(*args, **kwargs)

    monkeypatch.setattr(sc.tl, "rank_genes_groups", as_on_many_cores)
    state = np.random.get_state()[1].copy()
    de_agreement(*screens, **COLUMNS)
    assert torch.get_num_threads() == 1
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    for screen, copy in zip(screens, copies, strict=True):
        assert (screen.X != copy.X).nnz == 0
        pd.testing.assert_frame_equal(screen.obs, copy.obs)
        assert not screen.uns


def rename(adata, old, new):
    adata.obs["perturbation"] = adata.obs["perturbation"].replace({old: new})


def relabel_first(adata, label):
    adata.obs["perturbation"] = [label, *adata.obs["perturbation"][1:]]


def with_x(adata, change):
    adata.X = change(adata.X)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            lambda p, o: rename(p, "A", "Aa"), "`observed` has no cell of 'Aa'; nearest", id="name"
        ),
        pytest.param(
            lambda p, o: rename(o, "control", "ctrl"), r"`observed` has 0 .*control", id="control"
        ),
        pytest.param(
            lambda p, o: [relabel_first(screen, "Z") for screen in (p, o)],
            r"`predicted` has 1 cell\(s\) of 'Z'",
            id="one-cell",
        ),
        pytest.param(
            lambda p, o: p.obs.__setitem__("perturbation", "control"),
            "no cells but controls",
            id="controls-only",
        ),
        pytest.param(
            lambda p, o: setattr(p, "var_names", ["other", *p.var_names[1:]]),
            r"2 gene\(s\) are in one.*'gene0', 'other'",
            id="genes",
        ),
        pytest.param(
            lambda p, o: setattr(p, "var_names", ["gene1", *p.var_names[1:]]),
            "`predicted` has genes of one name, 'gene1'",
            id="gene-twice",
        ),
        pytest.param(lambda p, o: with_x(o, np.round), "X of `observed` holds whole", id="counts"),
        pytest.param(lambda p, o: with_x(p, lambda x: x * 99), "goes up to", id="not-logs"),
        pytest.param(lambda p, o: with_x(p, lambda x: x * np.nan), "`predicted` holds", id="nan"),
        pytest.param(lambda p, o: delattr(p, "X"), "`predicted` has no X", id="no-x"),
    ],
)
def test_unfit_cells_are_named(screens, spoil, message):
    spoil(*screens)
    with pytest.raises(ValueError, match=message):
        de_agreement(*screens, **COLUMNS)


def test_impossible_arguments_raise(screens):
    with pytest.raises(ValueError, match="`n_genes` is 0"):
        de_agreement(*screens, **COLUMNS, n_genes=0)
    with pytest.raises(KeyError, match="nearest: 'perturbation'"):
        de_agreement(*screens, perturbation_key="perturbations", control="control")
