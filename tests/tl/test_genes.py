"""Ranked genes, by hand."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scvi_sams as sams


@pytest.fixture
def ate() -> ad.AnnData:
    effect = np.array([[0.5, -2.0, 1.0, 0.1], [0.0, 0.0, 3.0, -1.0]])
    return ad.AnnData(
        effect,
        obs=pd.DataFrame(index=["STAT1", "STAT1+JAK2"]),
        var=pd.DataFrame(index=["a", "b", "c", "d"]),
        layers={
            "sd": np.full((2, 4), 0.2),
            "lower": effect - 0.4,
            "upper": effect + 0.4,
            "lfsr": np.array([[0.01, 0.01, 0.001, 0.3], [0.5, 0.4, 0.0, 0.1]]),
        },
    )


def test_genes_are_ranked_by_how_sure_they_are_and_then_by_size(ate):
    genes = sams.tl.rank_genes(ate, "STAT1")
    assert list(genes.index) == ["c", "b", "a", "d"]
    assert list(genes.columns) == ["effect", "sd", "lower", "upper", "lfsr"]
    np.testing.assert_allclose(genes.loc["b"], [-2, 0.2, -2.4, -1.6, 0.01])
    assert list(sams.tl.rank_genes(ate, "STAT1+JAK2").index) == ["c", "d", "b", "a"]


@pytest.mark.parametrize(("n_genes", "n_rows"), [(1, 1), (3, 3), (4, 4), (9, 4), (None, 4)])
def test_number_of_genes(ate, n_genes, n_rows):
    genes = sams.tl.rank_genes(ate, "STAT1", n_genes=n_genes)
    pd.testing.assert_frame_equal(genes, sams.tl.rank_genes(ate, "STAT1").head(n_rows))


def test_calls_come_along(ate):
    sams.tl.call_effects(ate, fdr=0.02)
    genes = sams.tl.rank_genes(ate, "STAT1")
    assert list(genes["called"]) == [True, True, True, False]
    assert list(genes.query("called").index) == ["c", "b", "a"]


def test_ranking_is_no_view_of_the_results(ate):
    genes = sams.tl.rank_genes(ate, "STAT1")
    genes.loc["a", "effect"] = 7
    genes.index.name = "symbol"
    assert ate.X[0, 0] == 0.5
    assert ate.var_names.name is None


@pytest.mark.parametrize(
    ("condition", "kwargs", "message"),
    [
        pytest.param("STAT", {}, "no condition 'STAT'; nearest: 'STAT1'", id="unknown"),
        pytest.param("stat1", {}, "nearest: 'STAT1'", id="case"),
        pytest.param(("STAT1", "STAT1+JAK2"), {}, "There is no condition", id="several"),
        pytest.param("STAT1", {"n_genes": 0}, "at least 1; it is 0", id="none"),
    ],
)
def test_impossible_requests_raise(ate, condition, kwargs, message):
    with pytest.raises(ValueError, match=message):
        sams.tl.rank_genes(ate, condition, **kwargs)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_repeated_conditions_raise(ate):
    ate.obs_names = ["STAT1", "STAT1"]
    with pytest.raises(ValueError, match="2 of the condition 'STAT1'; make names unique"):
        sams.tl.rank_genes(ate, "STAT1")


def test_other_things_than_treatment_effects_raise(ate):
    with pytest.raises(TypeError, match="it is of type ndarray"):
        sams.tl.rank_genes(ate.X, "STAT1")
    del ate.layers["lfsr"]
    with pytest.raises(ValueError, match=r"this has no layers\['lfsr'\]"):
        sams.tl.rank_genes(ate, "STAT1")
