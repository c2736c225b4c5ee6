"""Interactions of pairs: the map of all, and single pairs against the additive prediction."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection

import scvi_sams as sams
from tests.pl import standins
from tests.pl.checks import (
    assert_filled,
    assert_nothing_cut_off,
    assert_readable,
    tick_labels,
)

PAIR = "LEFT000+PARTNER0"


def names_on(axis):
    return [label.get_text() for label in tick_labels(axis)]


@pytest.mark.parametrize("cluster", [False, True], ids=["as given", "clustered"])
def test_the_map_shows_the_largest_interactions_of_observed_pairs(cluster):
    frame = standins.interactions()
    ax = sams.pl.interactions(frame, n_genes=10, cluster=cluster)
    ax.figure.canvas.draw()
    table = frame["interaction"].dropna().unstack()
    largest = table.abs().max().nlargest(10).index
    rows, columns = names_on(ax.yaxis), names_on(ax.xaxis)
    assert set(rows) == set(table.index)
    assert len(rows) == 4
    assert set(columns) == set(largest)
    np.testing.assert_array_equal(ax.images[0].get_array(), table.loc[rows, columns])
    dots = np.zeros((4, 10), dtype=bool)
    x, y = ax.collections[0].get_offsets().astype(int).T
    dots[y, x] = True
    rate = frame["lfsr"].dropna().unstack().loc[rows, columns]
    np.testing.assert_array_equal(dots, rate <= 0.05)


@pytest.mark.parametrize("n", [2, 5, 150], ids=lambda n: f"{n - 1} pairs")
@pytest.mark.parametrize("name", ["interactions", "additivity"])
def test_any_number_of_pairs_is_readable(name, n):
    figure = getattr(sams.pl, name)(standins.interactions(n, n_genes=60), return_fig=True)
    assert_filled(figure)
    assert_nothing_cut_off(figure)
    assert_readable(figure)


def scatter_of(ax):
    scatters = [of for of in ax.collections if isinstance(of, PathCollection)]
    points = np.concatenate([np.asarray(of.get_offsets()) for of in scatters])
    return points[np.lexsort(points.T)]


def test_a_pair_is_drawn_against_its_additive_prediction():
    frame = standins.interactions()
    ax = sams.pl.additivity(frame, PAIR)
    genes = frame.loc[PAIR]
    expected = genes[["predicted", "observed"]].to_numpy()
    np.testing.assert_allclose(scatter_of(ax), expected[np.lexsort(expected.T)])
    r = np.corrcoef(*expected.T)[0, 1]
    n = (genes["lfsr"] <= 0.05).sum()
    assert ax.get_title() == f"{PAIR}\nr = {r:.2f}, {n} of 30 genes differ (3 by chance)"


def test_interacting_and_labelled_genes_have_bars():
    frame = standins.interactions()
    ax = sams.pl.additivity(frame, PAIR, n_labels=2)
    genes = frame.loc[PAIR]
    largest = genes["interaction"].abs().nlargest(2).index
    assert {text.get_text() for text in ax.texts} <= set(largest)
    barred = genes[(genes["lfsr"] <= 0.05) | genes.index.isin(largest)]
    across, along = (of.get_segments() for of in ax.collections if isinstance(of, LineCollection))
    np.testing.assert_allclose([s[:, 0] for s in across], barred[["lower", "upper"]])
    ends = barred["observed"].to_numpy()[:, None] + [-0.1, 0.1]
    np.testing.assert_allclose([s[:, 1] for s in along], ends)


def test_by_default_the_pairs_with_the_largest_interactions_are_drawn():
    frame = standins.interactions(15)
    axes = sams.pl.additivity(frame)
    size = (frame["interaction"].dropna() ** 2).groupby(level=0).mean().nlargest(9)
    titles = [ax.get_title().rsplit("\n", 1)[0].replace("\n", "") for ax in axes]
    assert titles == list(size.index)


def flat(frame):
    return frame.reset_index()


def unobserved(frame):
    return frame.assign(interaction=np.nan)


@pytest.mark.parametrize("name", ["interactions", "additivity"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flat, "two levels pair and gene"),
        (lambda frame: frame.drop(columns="lfsr"), "lacks 'lfsr'"),
        (lambda frame: frame.iloc[:0], "is empty"),
        (unobserved, "No pair was observed"),
    ],
    ids=["no levels", "no rates", "empty", "unobserved"],
)
def test_wrong_tables_raise(name, change, message):
    with pytest.raises(ValueError, match=message):
        getattr(sams.pl, name)(change(standins.interactions()))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("interactions", {"n_genes": 0}, "`n_genes` must be at least 1"),
        ("interactions", {"vmax": 0}, "`vmax` must be positive"),
        ("additivity", {"pairs": "LEFT000+PARTNER"}, "no observed pair.*nearest: 'LEFT000.PARTN"),
        ("additivity", {"pairs": "LEFT004+PARTNER4"}, "no observed pair 'LEFT004.PARTNER4'"),
    ],
    ids=["no genes", "no colours", "unknown", "unobserved"],
)
def test_wrong_arguments_raise(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(sams.pl, name)(standins.interactions(), **arguments)
