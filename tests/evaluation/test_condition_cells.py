"""Cells of conditions and their means, from observations and baselines."""

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import scvi_sams as sams
from scvi_sams.evaluation._condition_cells import BaselineCells, GivenCells
from scvi_sams.evaluation._condition_table import ConditionTable
from scvi_sams.evaluation._means import COUNTS, LOG1P_CP10K

COLUMNS = {"perturbation_key": "perturbation", "control": "control", "covariate_keys": "line"}
A, B, CONTROL, ABSENT = (("A",), ("x",)), (("B",), ("y",)), ((), ("x",)), (("C",), ("x",))


@pytest.fixture
def screen():
    rng = np.random.default_rng(0)
    adata = ad.AnnData(sparse.csc_matrix(rng.poisson(3, (120, 9)).astype(np.float32)))
    adata.obs["perturbation"] = rng.choice(["control", "A", "B"], 120)
    adata.obs["line"] = rng.choice(["x", "y"], 120)
    return adata


def logs(adata, name, line):
    chosen = (adata.obs["perturbation"] == name) & (adata.obs["line"] == line)
    x = adata.X.toarray()[chosen.to_numpy()].astype(float)
    return np.log1p(1e4 * x / x.sum(1, keepdims=True))


def given(adata):
    return GivenCells.of(adata, ConditionTable.of(adata, **COLUMNS), COUNTS)


def test_conditions_are_looked_up(screen):
    cells = given(screen)
    found = cells.profiles([A, ABSENT, CONTROL], with_variance=True)
    for row, name in ((0, "A"), (2, "control")):
        own = logs(screen, name, "x")
        np.testing.assert_allclose(found.log[row], own.mean(0), rtol=1e-6)
        np.testing.assert_allclose(found.variance[row], own.var(0, ddof=1), rtol=1e-5)
        assert found.n_cells[row] == len(own)
    assert found.n_cells[1] == 0
    assert np.isnan(found.log[1]).all()
    assert cells.cells(ABSENT, 5, 0) is None
    np.testing.assert_allclose(cells.cells(A, 500, 0).toarray(), logs(screen, "A", "x"), rtol=1e-5)


def test_cells_are_drawn_without_replacement(screen):
    cells = given(screen)
    own = logs(screen, "A", "x").sum(1)
    found = np.asarray(cells.cells(A, 7, 0).sum(1)).ravel()
    position = [int(np.argmin(np.abs(own - total))) for total in found]
    assert len(set(position)) == 7
    np.testing.assert_allclose(own[position], found, rtol=1e-5)
    assert not np.allclose(found, np.asarray(cells.cells(A, 7, 1).sum(1)).ravel())
    assert cells.any_cells(1000, 0).shape == (120, 9)


def test_some_cells_are_set_apart(screen):
    is_chosen = np.arange(120) < 60
    part, half = given(screen[:60].copy()), given(screen).among(is_chosen)
    np.testing.assert_allclose(part.profiles([A, B]).log, half.profiles([A, B]).log, rtol=1e-6)


def test_logs_stay_as_they_are(screen):
    screen.X = np.log1p(screen.X.toarray())
    cells = GivenCells.of(screen, ConditionTable.of(screen, **COLUMNS), LOG1P_CP10K)
    chosen = ((screen.obs["perturbation"] == "A") & (screen.obs["line"] == "x")).to_numpy()
    np.testing.assert_array_equal(cells.cells(A, 500, 0), screen.X[chosen])


@pytest.mark.parametrize(
    "baseline",
    [
        sams.baselines.ControlMean(),
        sams.baselines.PerturbedMean(),
        sams.baselines.Additive(),
        sams.baselines.LinearAdditive(),
        sams.baselines.DecoderOnly(max_epochs=3),
    ],
    ids=lambda baseline: type(baseline).__name__,
)
def test_means_of_baselines_are_those_of_their_cells(screen, baseline):
    baseline.fit(screen, **COLUMNS)
    found = BaselineCells(baseline, 0).profiles([A, B, CONTROL])
    for row, key in enumerate([A, B, CONTROL]):
        cells = BaselineCells(baseline, 0).cells(key, 500, 0).astype(float)
        np.testing.assert_allclose(found.log[row], cells.mean(0), rtol=1e-5)
        if baseline.linear_mean(*key) is None:
            np.testing.assert_allclose(found.linear[row], np.expm1(cells).mean(0), rtol=1e-4)


def counts_of(adata, name):
    """Mean counts per 10,000 in line x."""
    return np.expm1(logs(adata, name, "x")).mean(0)


def test_mean_counts_of_baselines_are_of_mean_counts(screen):
    pair = (("A", "B"), ("x",))

    def of(baseline, key):
        return BaselineCells(baseline.fit(screen, **COLUMNS), 0).profiles([key]).linear[0]

    a, b, control = (counts_of(screen, name) for name in ("A", "B", "control"))
    np.testing.assert_allclose(of(sams.baselines.ControlMean(), A), control, rtol=1e-5)
    np.testing.assert_allclose(of(sams.baselines.Additive(), A), a, rtol=1e-5)
    both = (1 + a) * (1 + b) / (1 + control) - 1  # log fold changes add up
    np.testing.assert_allclose(
        of(sams.baselines.Additive(), pair), np.maximum(both, 0), rtol=1e-4, atol=1e-3
    )
    shared = np.sqrt((1 + a) * (1 + b)) - 1
    np.testing.assert_allclose(of(sams.baselines.PerturbedMean(), pair), shared, rtol=1e-4)
    # a penalty of one cell in the many of each condition
    one = screen[screen.obs["line"] == "x"].copy()
    linear = sams.baselines.LinearAdditive(alpha=1e-6).fit(one, **COLUMNS)
    np.testing.assert_allclose(linear.linear_mean(*A), a, rtol=1e-3)
