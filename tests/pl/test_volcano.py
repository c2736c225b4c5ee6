"""Volcanoes: effects against false sign rates, intervals and names."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection

import scvi_sams as sams
from tests.pl import standins

CONDITION = "PERTURBATION001"


def points_by_gene(ax):
    scatters = [of for of in ax.collections if isinstance(of, PathCollection)]
    points = np.concatenate([np.asarray(of.get_offsets()) for of in scatters])
    return points[np.argsort(points[:, 0], kind="stable")]


def test_points_are_effects_and_rates():
    ate = standins.ate()
    ate.layers["lfsr"] = ate.layers["lfsr"].clip(0.001)
    ax = sams.pl.volcano(ate, CONDITION)
    row = ate.obs_names.get_loc(CONDITION)
    order = np.argsort(ate.X[row])
    expected = np.column_stack([ate.X[row], -np.log10(ate.layers["lfsr"][row])])[order]
    np.testing.assert_allclose(points_by_gene(ax), expected)
    assert "log2 counts per 10,000" in ax.get_xlabel()
    n_sure = (ate.layers["lfsr"][row] <= 0.05).sum()
    assert ax.get_title() == f"{CONDITION}\n{n_sure} of 30 genes with a rate of at most 0.05"


def test_surest_genes_are_labelled_with_their_intervals():
    ate = standins.ate()
    ax = sams.pl.volcano(ate, CONDITION, n_labels=3)
    row = ate.to_df().loc[CONDITION]
    rate = ate.to_df(layer="lfsr").loc[CONDITION]
    surest = rate[rate <= 0.05].index
    surest = sorted(surest, key=lambda gene: (rate[gene], -abs(row[gene])))[:3]
    assert {text.get_text() for text in ax.texts} == set(surest)
    segments = next(of for of in ax.collections if isinstance(of, LineCollection)).get_segments()
    ends = {tuple(segment[:, 0]) for segment in segments}
    lower, upper = (ate.to_df(layer=name).loc[CONDITION] for name in ("lower", "upper"))
    assert ends == {(lower[gene], upper[gene]) for gene in surest}


def test_genes_asked_for_are_labelled_sure_or_not():
    ate = standins.ate()
    rate = ate.to_df(layer="lfsr").loc[CONDITION]
    ax = sams.pl.volcano(ate, CONDITION, genes=[rate.idxmax()])
    assert [text.get_text() for text in ax.texts] == [rate.idxmax()]


def test_calls_take_the_place_of_the_threshold():
    ate = standins.ate()
    ate.layers["called"] = np.zeros(ate.shape, dtype=bool)
    ate.layers["called"][1, 4] = True
    ax = sams.pl.volcano(ate, CONDITION)
    assert ax.get_title().endswith("1 of 30 genes called")
    assert [text.get_text() for text in ax.texts] == [ate.var_names[4]]


@pytest.mark.parametrize(
    ("smallest", "end"), [(0.0, 5e-4), (1e-30, 1e-10)], ids=["sampled", "closed form"]
)
def test_rates_too_small_to_tell_are_triangles_at_the_end(smallest, end):
    ate = standins.ate()
    ate.layers["lfsr"][:] = 0.3
    ate.layers["lfsr"][1, :3] = 1e-3, smallest, smallest
    ax = sams.pl.volcano(ate, CONDITION)
    heights = points_by_gene(ax)[:, 1]
    assert np.isclose(heights, -np.log10(end)).sum() == 2
    assert ax.get_legend().get_texts()[0].get_text() == f"rate below {end:.1g}"
    assert ax.get_ylim()[1] > heights.max()


def test_no_sure_gene_is_no_error():
    ate = standins.ate()
    ate.layers["lfsr"][:] = 0.5
    ax = sams.pl.volcano(ate, CONDITION)
    assert not ax.texts
    assert ax.get_ylim()[1] > -np.log10(0.05), "the threshold is out of sight"
    assert len(points_by_gene(ax)) == 30


def without(layer):
    ate = standins.ate()
    del ate.layers[layer]
    return ate


@pytest.mark.parametrize(
    ("ate", "arguments", "message"),
    [
        (standins.ate(), {"condition": "PERTURBATION1"}, "no condition.*nearest: 'PERTURBATION0"),
        (standins.ate(), {"condition": "zzz"}, "no condition 'zzz'; there are 'PERTURBATION000'"),
        (standins.ate(), {"condition": ["PERTURBATION000", "PERTURBATION001"]}, "no condition"),
        (standins.ate(), {"genes": ["gene002"]}, "no gene 'gene002'; nearest: 'GENE002'"),
        (standins.ate(), {"genes": []}, "No gene is given"),
        (without("lfsr"), {}, "layer 'lfsr' of `get_average_treatment_effects`; it has 'sd'"),
        (without("upper"), {}, "layer 'upper'"),
        (standins.ate(), {"lfsr": 0}, "between 0 and 1; it is 0"),
        (standins.ate()[:, :0], {}, "`ate` is empty: its shape is 5 × 0"),
    ],
    ids=[
        "condition",
        "nothing near",
        "several",
        "gene",
        "no gene",
        "lfsr",
        "upper",
        "rate",
        "empty",
    ],
)
def test_wrong_input_raises(ate, arguments, message):
    with pytest.raises(ValueError, match=message):
        sams.pl.volcano(ate, **{"condition": CONDITION} | arguments)
    assert not plt.get_fignums(), "an empty figure is left behind"
