"""Heatmaps: every entry under its name, sorted and reduced as asked."""

import numpy as np
import pytest

import scvi_sams as sams
from tests.pl import standins
from tests.pl.checks import assert_nothing_cut_off, assert_readable, extent, tick_labels

HEATMAPS = {
    "inclusion_probability": lambda data: data.layers["inclusion_probability"],
    "effects": lambda data: data.X,
}
of_both = pytest.mark.parametrize("name", HEATMAPS)


def names_on(axis):
    return [label.get_text() for label in tick_labels(axis)]


def table_of(data, name):
    frame = data.to_df()
    frame.loc[:, :] = HEATMAPS[name](data)
    return frame


@of_both
def test_heatmaps_show_every_entry_under_its_name(name):
    data = standins.effects(**standins.LARGE)
    ax = getattr(sams.pl, name)(data)
    ax.figure.canvas.draw()
    np.testing.assert_array_equal(ax.images[0].get_array(), HEATMAPS[name](data))
    assert names_on(ax.yaxis) == list(data.obs_names)
    assert names_on(ax.xaxis) == list(data.var_names)


@of_both
def test_clustering_sorts_entries_with_their_names(name):
    data = standins.effects(**standins.LARGE)
    ax = getattr(sams.pl, name)(data, cluster=True)
    ax.figure.canvas.draw()
    rows, columns = names_on(ax.yaxis), names_on(ax.xaxis)
    expected = table_of(data, name).loc[rows, columns]
    np.testing.assert_array_equal(ax.images[0].get_array(), expected)
    cluster = data.obs["cluster"].loc[rows].to_numpy()
    n_borders = (cluster[1:] != cluster[:-1]).sum()
    assert n_borders == data.obs["cluster"].nunique() - 1, "clusters are torn apart"


@of_both
def test_unused_dimensions_are_dropped_when_asked(name):
    data = standins.effects()
    ax = getattr(sams.pl, name)(data, drop_unused=True)
    used = (data.layers["inclusion_probability"] > 0.5).any(axis=0)
    assert 0 < used.sum() < data.n_vars
    ax.figure.canvas.draw()
    assert names_on(ax.xaxis) == list(data.var_names[used])
    np.testing.assert_array_equal(ax.images[0].get_array(), HEATMAPS[name](data)[:, used])


def test_without_inclusion_probabilities_dimensions_of_zeros_are_unused():
    data = standins.effects()
    del data.layers["inclusion_probability"]
    ax = sams.pl.effects(data, drop_unused=True)
    assert ax.images[0].get_array().shape[1] == (data.X != 0).any(axis=0).sum() < data.n_vars


@of_both
def test_nothing_used_raises(name):
    data = standins.effects()
    data.layers["inclusion_probability"][:] = 0
    with pytest.raises(ValueError, match="No perturbation shifts any latent dimension"):
        getattr(sams.pl, name)(data, drop_unused=True)


@of_both
@pytest.mark.parametrize("shape", [(0, 6), (5, 0)], ids=["no rows", "no columns"])
def test_empty_effects_raise(name, shape):
    data = standins.effects()[: shape[0], : shape[1]]
    with pytest.raises(ValueError, match=f"`effects` is empty: its shape is {shape[0]} × "):
        getattr(sams.pl, name)(data)


def test_missing_inclusion_probabilities_are_named():
    data = standins.effects()
    del data.layers["inclusion_probability"]
    with pytest.raises(ValueError, match="layer 'inclusion_probability' of `get_perturbation_eff"):
        sams.pl.inclusion_probability(data)


def test_effects_have_symmetric_colours_up_to_the_largest():
    data = standins.effects()
    assert sams.pl.effects(data).images[0].get_clim() == pytest.approx(
        (-np.abs(data.X).max(), np.abs(data.X).max())
    )
    assert sams.pl.effects(data, vmax=0.5).images[0].get_clim() == (-0.5, 0.5)


def test_effects_of_zero_are_drawn():
    data = standins.effects()
    data.X[:] = 0
    assert sams.pl.effects(data).images[0].get_clim() == (-1, 1)


@pytest.mark.parametrize("vmax", [0, -1.0, float("nan")])
def test_impossible_ends_of_colours_raise(vmax):
    with pytest.raises(ValueError, match="`vmax` must be positive"):
        sams.pl.effects(standins.effects(), vmax=vmax)


@pytest.mark.parametrize("cluster", [False, True], ids=["as given", "clustered"])
def test_called_effects_carry_a_dot(cluster):
    data = standins.effects()
    data.layers["called"] = np.abs(data.X) > 1
    ax = sams.pl.effects(data, cluster=cluster)
    x, y = ax.collections[0].get_offsets().astype(int).T
    shown = np.zeros(data.shape, dtype=bool)
    shown[y, x] = True
    np.testing.assert_array_equal(shown, np.abs(ax.images[0].get_array()) > 1)


@pytest.mark.parametrize("n", [1, 2, 3, 400], ids=lambda n: f"{n} perturbations")
def test_heatmaps_fit_any_number_of_perturbations(n):
    figure = sams.pl.effects(standins.effects(n), cluster=True, return_fig=True)
    assert_nothing_cut_off(figure)
    assert_readable(figure)
    assert figure.get_figheight() < 32


def test_with_too_many_names_only_some_are_written_each_at_its_row():
    data = standins.effects(1_000)
    ax = sams.pl.inclusion_probability(data)
    ax.figure.canvas.draw()
    labels = tick_labels(ax.yaxis)
    assert 50 < len(labels) < 1_000
    for label in labels:
        middle = extent(label).y0 + extent(label).height / 2
        row = ax.transData.inverted().transform((0, middle))[1]
        assert abs(row - data.obs_names.get_loc(label.get_text())) < 2


def test_effects_on_genes_are_not_drawn_as_those_on_dimensions():
    with pytest.raises(ValueError, match=r"effects are on genes.*`volcano`"):
        sams.pl.effects(standins.ate())
