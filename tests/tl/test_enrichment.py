"""Enrichment of latent dimensions, against scipy's t test and planted sets."""

import sys

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scvi_sams as sams

GENES = [f"GENE{g}" for g in range(60)]


def responses_of(values, genes=GENES) -> ad.AnnData:
    values = np.asarray(values, dtype=float)
    return ad.AnnData(
        values,
        obs=pd.DataFrame(index=[f"z{k}" for k in range(len(values))]),
        var=pd.DataFrame(index=genes),
    )


@pytest.fixture
def responses() -> ad.AnnData:
    """Twelve dimensions: the first moves genes 0-9 up, the third genes 10-19 down."""
    values = np.random.default_rng(0).normal(0, 0.1, size=(12, 60))
    values[0, :10] += 1
    values[2, 10:20] -= 1
    return responses_of(values)


@pytest.fixture
def gene_sets() -> dict[str, list[str]]:
    return {
        "FIRST": GENES[:10],
        "SECOND": [*GENES[10:20], "NOT_MEASURED"],
        "MIXED": GENES[5:25],
        "REST": GENES[40:47],
        "SMALL": GENES[50:54],
    }


def test_planted_sets_are_the_top_with_their_sign(responses, gene_sets):
    enriched = sams.tl.enrich_dimensions(responses, gene_sets)
    top = enriched.groupby("dimension", sort=False).head(1).set_index("dimension")
    assert top.loc["z0", ["gene_set", "direction"]].tolist() == ["FIRST", "up"]
    assert top.loc["z2", ["gene_set", "direction"]].tolist() == ["SECOND", "down"]
    assert (top.loc[["z0", "z2"], "padj"] < 1e-10).all()


def test_dimension_turned_round_has_the_scores_turned_round(responses, gene_sets):
    enriched = sams.tl.enrich_dimensions(responses, gene_sets)
    responses.X *= -1
    turned = sams.tl.enrich_dimensions(responses, gene_sets)
    np.testing.assert_allclose(turned["score"], -enriched["score"])
    np.testing.assert_allclose(turned["padj"], enriched["padj"])
    assert (turned["direction"] != enriched["direction"]).all()


def test_scores_and_p_values_are_those_of_a_t_test(responses, gene_sets):
    enriched = sams.tl.enrich_dimensions(responses, gene_sets)
    assert len(enriched) == 12 * 4
    for _, row in enriched.iterrows():
        values = responses[row["dimension"]].X.ravel()
        members = np.isin(GENES, gene_sets[row["gene_set"]])
        expected = stats.ttest_ind(values[members], values[~members])
        assert row["score"] == pytest.approx(expected.statistic)
        assert row["pvalue"] == pytest.approx(expected.pvalue)
        assert row["n_genes"] == members.sum()
        assert row["direction"] == ("up" if expected.statistic > 0 else "down")


def test_p_values_are_adjusted_over_all_rows(responses, gene_sets):
    enriched = sams.tl.enrich_dimensions(responses, gene_sets).sort_values("pvalue")
    raw = enriched["pvalue"] * len(enriched) / np.arange(1, len(enriched) + 1)
    np.testing.assert_allclose(enriched["padj"], raw[::-1].cummin()[::-1].clip(upper=1))


def test_rows_are_in_the_order_of_dimensions_and_p_values(responses, gene_sets):
    enriched = sams.tl.enrich_dimensions(responses, gene_sets)
    assert list(enriched["dimension"].unique()) == [f"z{k}" for k in range(12)]
    assert enriched.groupby("dimension")["pvalue"].apply(lambda p: p.is_monotonic_increasing).all()
    assert list(enriched.index) == list(range(len(enriched)))
    assert list(enriched.columns) == [
        "dimension",
        "gene_set",
        "score",
        "pvalue",
        "padj",
        "n_genes",
        "direction",
    ]


def test_random_sets_have_uniform_p_values():
    rng = np.random.default_rng(1)
    responses = responses_of(rng.normal(size=(40, 60)))
    gene_sets = {f"set_{i}": rng.choice(GENES, 10, replace=False) for i in range(100)}
    enriched = sams.tl.enrich_dimensions(responses, gene_sets)
    assert (enriched["pvalue"] < 0.05).mean() == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    ("min_genes", "expected"),
    [(4, {"SMALL", "REST"}), (5, {"REST"}), (8, set())],
    ids=["fewer", "default", "more"],
)
def test_small_sets_are_left_out(responses, gene_sets, min_genes, expected):
    enriched = sams.tl.enrich_dimensions(responses, gene_sets, min_genes=min_genes)
    assert set(enriched["gene_set"]) == expected | {"FIRST", "SECOND", "MIXED"}


def test_set_of_all_genes_is_left_out(responses, gene_sets):
    enriched = sams.tl.enrich_dimensions(responses, {"ALL": GENES, "FIRST": GENES[:10]})
    assert set(enriched["gene_set"]) == {"FIRST"}


def test_dimension_that_moves_nothing_is_enriched_in_nothing(responses, gene_sets):
    responses.X[1] = 0
    responses.X[3] = 0.7
    enriched = sams.tl.enrich_dimensions(responses, gene_sets).set_index("dimension")
    for dimension in ("z1", "z3"):
        assert (enriched.loc[dimension, "score"] == 0).all()
        assert (enriched.loc[dimension, "padj"] == 1).all()
        assert (enriched.loc[dimension, "direction"] == "none").all()
    assert enriched.loc["z0", "gene_set"].iloc[0] == "FIRST"


def test_genes_that_do_not_respond_are_background_too(responses, gene_sets):
    responses.X[:, 30:] = 0
    first = sams.tl.enrich_dimensions(responses, gene_sets).iloc[0]
    values = responses["z0"].X.ravel()
    assert first["score"] == pytest.approx(stats.ttest_ind(values[:10], values[10:]).statistic)


def test_model_is_asked_for_its_responses(responses, gene_sets):
    class Model:
        def get_dimension_responses(self):
            return responses

    pd.testing.assert_frame_equal(
        sams.tl.enrich_dimensions(Model(), gene_sets),
        sams.tl.enrich_dimensions(responses, gene_sets),
    )


@pytest.mark.parametrize("as_path", [str, lambda path: path], ids=["str", "Path"])
def test_sets_are_read_from_a_file(responses, gene_sets, tmp_path, as_path):
    """With a name of several words, as some collections have them, and an empty line."""
    gene_sets = {"FIRST of all": gene_sets["FIRST"], "SECOND": gene_sets["SECOND"]}
    path = tmp_path / "sets.gmt"
    lines = ["\t".join([name, "a note", *genes]) for name, genes in gene_sets.items()]
    path.write_text("\r\n".join([*lines, "", ""]))
    pd.testing.assert_frame_equal(
        sams.tl.enrich_dimensions(responses, as_path(path)),
        sams.tl.enrich_dimensions(responses, gene_sets),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("FIRST GENE1 GENE2\n", "not a .gmt file: line 1 has no tab", id="spaces"),
        pytest.param("A\tx\tGENE1\nA\tx\tGENE2\n", "several sets named 'A'", id="repeated"),
    ],
)
def test_files_that_are_no_gene_sets_raise(responses, tmp_path, text, message):
    path = tmp_path / "sets.gmt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        sams.tl.enrich_dimensions(responses, path)


def test_missing_file_is_named(responses, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.gmt"):
        sams.tl.enrich_dimensions(responses, tmp_path / "nowhere.gmt")


@pytest.mark.parametrize(
    ("gene_sets", "message"),
    [
        pytest.param(
            {"FEW": GENES[:3], "ONE": GENES[:1]},
            r"at least 5 genes.* of the 60 in the data; the most have 3 \('FEW'\).*`min_genes`",
            id="few",
        ),
        pytest.param(
            {"ENSEMBL": [f"ENSG{g:04}" for g in range(9)]},
            "genes are 'GENE0', 'GENE1', .*; those of the sets 'ENSG0000', .* same kind of name",
            id="other-names",
        ),
        pytest.param(
            {"MOUSE": [f"Gene{g}" for g in range(9)]}, "In either case, 9 would match", id="case"
        ),
        pytest.param(
            {"ALL": GENES, "OTHER": ["ENSG0"]},
            r"set\(s\) 'ALL' hold all 60 genes in the data, so that no gene is left [^`]*$",
            id="all",
        ),
        pytest.param(
            {"ALL": GENES, "FEW": GENES[:3]},
            r"the most have 3 \('FEW'\).* lower `min_genes`",
            id="all-and-few",
        ),
        pytest.param({}, "`gene_sets` has no genes", id="none"),
        pytest.param({"EMPTY": []}, "`gene_sets` has no genes", id="empty"),
    ],
)
def test_sets_without_enough_genes_raise(responses, gene_sets, message):
    with pytest.raises(ValueError, match=message):
        sams.tl.enrich_dimensions(responses, gene_sets)


@pytest.mark.parametrize(
    ("gene_sets", "message"),
    [
        pytest.param([GENES[:9]], "dict of names and genes.* of type list", id="list"),
        pytest.param({"A": "GENE1"}, "genes of 'A' are the string 'GENE1'", id="string"),
    ],
)
def test_other_things_than_gene_sets_raise(responses, gene_sets, message):
    with pytest.raises(TypeError, match=message):
        sams.tl.enrich_dimensions(responses, gene_sets)


def test_other_things_than_responses_raise(gene_sets):
    with pytest.raises(TypeError, match=r"`responses` is a trained model.* of type DataFrame"):
        sams.tl.enrich_dimensions(pd.DataFrame(np.eye(60), columns=GENES), gene_sets)


def test_impossible_number_of_genes_raises(responses, gene_sets):
    with pytest.raises(ValueError, match="`min_genes` must be at least 1; it is 0"):
        sams.tl.enrich_dimensions(responses, gene_sets, min_genes=0)


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_repeated_genes_raise(gene_sets):
    responses = responses_of(np.eye(60), genes=[*GENES[:59], "GENE0"])
    with pytest.raises(ValueError, match="Several genes are named 'GENE0'"):
        sams.tl.enrich_dimensions(responses, gene_sets)


def test_responses_that_are_not_finite_are_named(responses, gene_sets):
    responses.X[4, 7] = np.nan
    with pytest.raises(ValueError, match="responses to 'z4' are not finite"):
        sams.tl.enrich_dimensions(responses, gene_sets)


def test_figures_look_the_same_afterwards(responses, gene_sets):
    before = dict(mpl.rcParams)
    sams.tl.enrich_dimensions(responses, gene_sets)
    assert dict(mpl.rcParams) == before


def test_missing_library_is_named_with_its_remedy(responses, gene_sets, monkeypatch):
    monkeypatch.setitem(sys.modules, "decoupler", None)
    with pytest.raises(ImportError, match=r"`pip install scvi-sams\[enrichment\]`"):
        sams.tl.enrich_dimensions(responses, gene_sets)
