"""Figures hold what they should, and nothing is cut off."""

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("agg")

import matplotlib.pyplot as plt

import scvi_sams as sams


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def assert_nothing_cut_off(ax):
    figure = ax.figure
    figure.canvas.draw()
    canvas = figure.bbox
    artists = [ax.title, ax.xaxis.label, ax.yaxis.label]
    for axis in (ax.xaxis, ax.yaxis):  # ticks outside the view are not drawn
        low, high = sorted(axis.get_view_interval())
        artists += [
            tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high
        ]
    for artist in artists:
        if artist.get_text():
            box = artist.get_window_extent()
            assert box.x0 >= -1, artist.get_text()
            assert box.y0 >= -1, artist.get_text()
            assert box.x1 <= canvas.x1 + 1, artist.get_text()
            assert box.y1 <= canvas.y1 + 1, artist.get_text()


def effects(n_perturbations=100, n_latent=50):
    probability = np.random.default_rng(0).random((n_perturbations, n_latent))
    return ad.AnnData(
        probability,
        obs=pd.DataFrame(index=[f"PERTURBATION{t:03d}" for t in range(n_perturbations)]),
        var=pd.DataFrame(index=[f"z{k}" for k in range(n_latent)]),
        layers={"inclusion_probability": probability},
    )


def test_inclusion_heatmap_shows_every_probability_and_name(tmp_path):
    data = effects()
    ax = sams.pl.inclusion_probability(data, save=tmp_path / "inclusion.png")
    np.testing.assert_array_equal(ax.images[0].get_array(), data.layers["inclusion_probability"])
    assert [label.get_text() for label in ax.get_yticklabels()] == list(data.obs_names)
    assert_nothing_cut_off(ax)
    heights = [label.get_window_extent().height for label in ax.get_yticklabels()]
    row = ax.get_window_extent().height / data.n_obs
    assert max(heights) < 1.4 * row, "names overlap"
    assert plt.imread(tmp_path / "inclusion.png").std() > 0.05


def test_agreement_shows_every_point_and_the_correlation(tmp_path):
    rng = np.random.default_rng(0)
    observed = rng.normal(size=(5, 20))
    predicted = observed + rng.normal(size=(5, 20))
    ax = sams.pl.ate_agreement(predicted, observed, save=tmp_path / "ate.png")
    points = ax.collections[0].get_offsets()
    np.testing.assert_allclose(points, np.column_stack([observed.ravel(), predicted.ravel()]))
    assert f"{np.corrcoef(observed.ravel(), predicted.ravel())[0, 1]:.3f}" in ax.get_title()
    low, high = ax.get_xlim()
    assert low < points.min()
    assert high > points.max()
    assert_nothing_cut_off(ax)


def test_figures_draw_on_given_axes_and_show_when_asked(monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(True))
    _, ax = plt.subplots()
    assert sams.pl.ate_agreement([[0.0, 1.0]], [[0.0, 1.0]], ax=ax, show=True) is ax
    assert shown == [True]


def test_agreement_of_different_shapes_raises():
    with pytest.raises(ValueError, match=r"shape \(1, 2\), observed ones \(2, 1\)"):
        sams.pl.ate_agreement([[0.0, 1.0]], [[0.0], [1.0]])
