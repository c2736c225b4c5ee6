"""Clusters of perturbations, against planted groups and merges counted by hand."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scvi_sams as sams
from tests.tl.standins import INTERFERON, OWN_WAY, knockouts


def clusters_of(data, **kwargs) -> dict[str, set[str]]:
    sams.tl.cluster_perturbations(data, **kwargs)
    groups = data.obs_names.groupby(data.obs["cluster"])
    return {str(cluster): set(names) for cluster, names in groups.items()}


def at_angles(*degrees: float) -> ad.AnnData:
    """Perturbations a, b, … with effects in these directions of a plane."""
    angles = np.deg2rad(degrees)
    names = [chr(ord("a") + i) for i in range(len(degrees))]
    return ad.AnnData(
        np.stack([np.cos(angles), np.sin(angles)], axis=1), obs=pd.DataFrame(index=names)
    )


@pytest.mark.parametrize("metric", ["cosine", "pearson"])
@pytest.mark.parametrize("on", ["dimensions", "genes"])
@pytest.mark.parametrize("seed", range(3))
def test_knockouts_of_one_pathway_are_exactly_one_cluster(seed, on, metric):
    data = knockouts(seed, on=on)
    clusters = clusters_of(data, metric=metric)
    assert clusters.pop("0") == set(INTERFERON)
    assert clusters.pop("no sure effect") == {name for name in data.obs_names if "none" in name}
    assert sorted(map(tuple, clusters.values())) == [(name,) for name in OWN_WAY]
    assert list(data.obs["cluster"].cat.categories) == ["0", "1", "2", "no sure effect"]
    assert data.uns["cluster_perturbations"] == {
        "min_similarity": 0.5,
        "metric": metric,
        "max_false_rate": 0.05,
        "n_clusters": 3,
    }


def test_clusters_do_not_depend_on_the_order_of_the_perturbations():
    data = knockouts()
    turned = data[::-1].copy()
    clusters, others = clusters_of(data), clusters_of(turned)
    assert clusters["0"] == others["0"]
    assert {frozenset(names) for names in clusters.values()} == {
        frozenset(names) for names in others.values()
    }


def test_mean_similarity_between_clusters_decides():
    # b joins a at cos 20; c is at cos 40 and 60 of them, 0.633 on average
    mean = (np.cos(np.deg2rad(40)) + np.cos(np.deg2rad(60))) / 2
    data = at_angles(0, 20, 60)
    assert clusters_of(data, min_similarity=0.95) == {"0": {"a"}, "1": {"b"}, "2": {"c"}}
    assert clusters_of(data, min_similarity=mean + 0.001) == {"0": {"a", "b"}, "1": {"c"}}
    assert clusters_of(data, min_similarity=mean - 0.001) == {"0": {"a", "b", "c"}}


def test_clusters_are_numbered_by_size():
    clusters = clusters_of(at_angles(180, 90, 91, 0, 1, 2, 270), min_similarity=0.9)
    assert clusters == {"0": {"d", "e", "f"}, "1": {"b", "c"}, "2": {"a"}, "3": {"g"}}


@pytest.mark.parametrize(
    ("min_similarity", "n_clusters"), [(-1, 1), (0, 2), (1, 2)], ids=["all", "above-0", "same"]
)
def test_opposite_effects_are_apart_unless_all_is_merged(min_similarity, n_clusters):
    data = at_angles(0, 0, 180)
    data.X *= np.array([[1.0], [7.0], [2.0]])
    assert len(clusters_of(data, min_similarity=min_similarity)) == n_clusters


@pytest.mark.parametrize(
    ("effects", "expected"),
    [
        pytest.param([[0.0, 0], [0, 0]], {"no sure effect": {"a", "b"}}, id="none"),
        pytest.param([[0.0, 0], [1, 0]], {"0": {"b"}, "no sure effect": {"a"}}, id="one"),
        pytest.param([[2.0, 0], [1, 0]], {"0": {"a", "b"}}, id="all"),
    ],
)
def test_few_perturbations_with_effect(effects, expected):
    data = ad.AnnData(np.array(effects), obs=pd.DataFrame(index=["a", "b"]))
    assert clusters_of(data) == expected
    assert list(data.obs["cluster"].cat.categories) == list(expected)


def test_perturbations_of_doubtful_effect_join_if_asked_for():
    data = knockouts()
    assert (
        data.obs_names.isin(clusters_of(data, max_false_rate=1).get("no sure effect", ())).sum()
        == 0
    )
    assert "none_0" not in clusters_of(data, max_false_rate=0.8)["no sure effect"]


def test_later_clusters_replace_the_earlier_and_survive_writing(tmp_path):
    data = knockouts()
    sams.tl.cluster_perturbations(data, min_similarity=-1)
    sams.tl.cluster_perturbations(data)
    data.write_h5ad(tmp_path / "clusters.h5ad")
    back = ad.read_h5ad(tmp_path / "clusters.h5ad")
    assert list(back.obs["cluster"]) == list(data.obs["cluster"])
    assert back.uns["cluster_perturbations"] == data.uns["cluster_perturbations"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"min_similarity": 1.1}, "from -1 to 1; it is 1.1", id="similarity"),
        pytest.param({"metric": "leiden"}, "'cosine' or 'pearson'", id="metric"),
        pytest.param({"max_false_rate": 5}, "from 0 to 1; it is 5", id="rate"),
    ],
)
def test_impossible_settings_raise_and_leave_data_alone(kwargs, message):
    data = knockouts()
    with pytest.raises(ValueError, match=message):
        sams.tl.cluster_perturbations(data, **kwargs)
    assert not data.uns
    assert not len(data.obs.columns)
