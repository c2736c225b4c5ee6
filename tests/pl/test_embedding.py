"""Embeddings of perturbations: positions, clusters and names."""

import numpy as np
import pandas as pd
import pytest

import scvi_sams as sams
from tests.pl import standins
from tests.pl.checks import assert_filled, assert_nothing_cut_off, assert_readable, points_of


def test_pca_shows_most_of_the_variance_in_the_order_of_rows():
    data = standins.effects()
    del data.obs["cluster"]
    ax = sams.pl.perturbation_embedding(data)
    points = points_of(ax)
    centred = data.X - data.X.mean(axis=0)
    _, s, components = np.linalg.svd(centred)
    np.testing.assert_allclose(np.abs(points), np.abs(centred @ components[:2].T), atol=1e-10)
    assert f"PC1 ({s[0] ** 2 / (s**2).sum():.0%}" in ax.get_xlabel()


def test_umap_of_many_keeps_clusters_together():
    data = standins.effects(60, 20, n_clusters=3)
    ax = sams.pl.perturbation_embedding(data, labels=False)
    assert ax.get_xlabel() == "UMAP1"
    clusters = [np.asarray(of.get_offsets()) for of in ax.collections]
    assert [len(of) for of in clusters] == list(data.obs["cluster"].value_counts(sort=False))
    centres = np.array([of.mean(axis=0) for of in clusters])
    within = max(np.linalg.norm(of - of.mean(axis=0), axis=1).mean() for of in clusters)
    between = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(3, 1)].min()
    assert between > 2 * within


def test_clusters_are_told_apart_by_colour_and_shape():
    data = standins.effects(100, 20, n_clusters=20)
    ax = sams.pl.perturbation_embedding(data, method="pca", labels=False)
    styles = {
        (tuple(of.get_facecolor()[0]), of.get_paths()[0].vertices.tobytes())
        for of in ax.collections
    }
    assert len(styles) == data.obs["cluster"].nunique() == 20
    entries = [text.get_text() for text in ax.get_legend().get_texts()]
    assert entries == list(data.obs["cluster"].cat.categories)


@pytest.mark.parametrize("value", [None, "no sure effect"], ids=["missing", "no sure effect"])
def test_perturbations_without_a_cluster_are_grey(value):
    data = standins.effects()
    data.obs["cluster"] = pd.Categorical(["0", "0", "1", "1", value])
    ax = sams.pl.perturbation_embedding(data)
    assert len(points_of(ax)) == 5
    grey = [of for of in ax.collections if len(set(of.get_facecolor()[0][:3])) == 1]
    assert [len(of.get_offsets()) for of in grey] == [1]


def test_names_stand_beside_their_points():
    data = standins.effects()
    ax = sams.pl.perturbation_embedding(data)
    assert {text.get_text() for text in ax.texts} == set(data.obs_names)
    points = {tuple(point) for point in points_of(ax)}
    assert all(tuple(text.xy) in points for text in ax.texts)


@pytest.mark.parametrize(
    ("labels", "shown"),
    [(False, set()), ([], set()), (["PERTURBATION002"], {"PERTURBATION002"})],
    ids=["none", "empty", "chosen"],
)
def test_only_names_asked_for_are_written(labels, shown):
    ax = sams.pl.perturbation_embedding(standins.effects(), labels=labels)
    assert {text.get_text() for text in ax.texts} == shown


@pytest.mark.parametrize("n", [3, 100, 300], ids=lambda n: f"{n} perturbations")
def test_crowded_names_stay_apart(n):
    data = standins.effects(n, 20, n_clusters=8)
    figure = sams.pl.perturbation_embedding(data, method="pca", return_fig=True)
    assert len(figure.axes[0].texts) >= min(n, 15)
    assert_filled(figure)
    assert_nothing_cut_off(figure)
    assert_readable(figure)


def test_one_gene_is_a_line():
    ax = sams.pl.perturbation_embedding(standins.ate()[:, :1].copy())
    assert np.ptp(points_of(ax)[:, 0]) > 0
    np.testing.assert_array_equal(points_of(ax)[:, 1], 0)


def without_finite(data):
    data.X[0, 0] = np.nan
    return data


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda data: data[:2], {}, "takes three perturbations or more; there are 2"),
        (lambda data: data[:, :0], {}, "`data` is empty: its shape is 5 × 0"),
        (without_finite, {}, "not finite"),
        (lambda data: data, {"method": "tsne"}, "must be 'umap' or 'pca'; it is 'tsne'"),
        (
            lambda data: data,
            {"labels": ["PERTURBATION02"]},
            "no perturbation 'PERTURBATION02'; nearest: 'PERTURBATION002'",
        ),
    ],
    ids=["few", "empty", "not finite", "method", "unknown name"],
)
def test_wrong_input_raises(change, arguments, message):
    with pytest.raises(ValueError, match=message):
        sams.pl.perturbation_embedding(change(standins.effects()), **arguments)
