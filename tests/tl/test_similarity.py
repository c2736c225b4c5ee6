"""Similarity of perturbations, against numpy's own and effects of known directions."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scvi_sams as sams
from tests.tl.standins import INTERFERON, OWN_WAY, knockouts


def plain(effects, names="abcdefgh", **layers) -> ad.AnnData:
    """Effects of perturbations that are named by letters."""
    effects = np.asarray(effects, dtype=float)
    obs = pd.DataFrame(index=list(names[: len(effects)]))
    return ad.AnnData(effects, obs=obs, layers=layers)


def test_cosine_by_hand():
    data = plain([[1, 0], [2, 2], [-3, 0], [0, 0.1]])
    half = np.sqrt(0.5)
    expected = [[1, half, -1, 0], [half, 1, -half, half], [-1, -half, 1, 0], [0, half, 0, 1]]
    similarity = sams.tl.perturbation_similarity(data)
    np.testing.assert_allclose(similarity, expected, atol=1e-15)
    assert list(similarity.index) == list(similarity.columns) == list("abcd")


@pytest.mark.parametrize("scale", [1e-30, 1, 1e30])
def test_pearson_is_numpys(scale):
    effects = np.random.default_rng(0).normal(2, 1, size=(6, 9)) * scale
    similarity = sams.tl.perturbation_similarity(plain(effects), metric="pearson")
    np.testing.assert_allclose(similarity, np.corrcoef(effects))


@pytest.mark.parametrize("metric", ["cosine", "pearson"])
def test_similarity_is_symmetric_and_of_directions_only(metric):
    rng = np.random.default_rng(1)
    effects = rng.normal(size=(8, 12))
    similarity = sams.tl.perturbation_similarity(plain(effects), metric=metric)
    scaled = plain(effects * rng.uniform(0.1, 10, size=(8, 1)))
    np.testing.assert_allclose(
        sams.tl.perturbation_similarity(scaled, metric=metric), similarity, atol=1e-12
    )
    np.testing.assert_array_equal(similarity, similarity.T)
    np.testing.assert_allclose(np.diag(similarity), 1)
    assert similarity.abs().max(axis=None) <= 1


@pytest.mark.parametrize("metric", ["cosine", "pearson"])
@pytest.mark.parametrize("on", ["dimensions", "genes"])
@pytest.mark.parametrize("seed", range(3))
def test_perturbations_without_effect_resemble_none(seed, on, metric):
    data = knockouts(seed, on=on)
    similarity = sams.tl.perturbation_similarity(data, metric=metric)
    moving = INTERFERON + OWN_WAY
    without = similarity.index.difference(moving)
    assert similarity[without].isna().all(axis=None)
    assert similarity.loc[without].isna().all(axis=None)
    assert similarity.loc[moving, moving].notna().all(axis=None)
    assert similarity.loc[INTERFERON, INTERFERON].min(axis=None) > 0.95
    assert similarity.loc[INTERFERON, OWN_WAY].max(axis=None) < 0.5


def test_how_sure_effects_have_to_be_can_be_chosen():
    data = plain(np.eye(3), lfsr=np.array([[0.04, 1, 1], [1, 0.3, 1], [0.9, 0.8, 0.7]]))

    def n_with_effect(**kwargs):
        return sams.tl.perturbation_similarity(data, **kwargs).notna().any().sum()

    assert n_with_effect() == 1
    assert n_with_effect(max_false_rate=0.01) == 0
    assert n_with_effect(max_false_rate=0.3) == 2
    assert n_with_effect(max_false_rate=1) == 3


def test_strong_perturbations_make_no_room_for_noise():
    """As they do where their calls keep the mean false rate of all low."""
    lfsr = np.array([[0.001] * 99 + [0.001], [0.4] * 100])
    data = plain(np.random.default_rng(2).normal(size=(2, 100)), lfsr=lfsr)
    sams.tl.call_effects(data, fdr=0.3)
    assert data.obs["n_called"].loc["b"] == 100
    assert list(sams.tl.perturbation_similarity(data).notna().any()) == [True, False]


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param({}, id="nothing-said"),
        pytest.param({"inclusion_probability": np.ones((3, 2))}, id="no-masks"),
    ],
)
def test_all_but_zeros_count_where_nothing_says_how_sure_they_are(layers):
    similarity = sams.tl.perturbation_similarity(plain([[1, 0], [0, 0], [1e-9, 0]], **layers))
    expected = [[1, np.nan, 1], [np.nan] * 3, [1, np.nan, 1]]
    np.testing.assert_allclose(similarity, expected)


def test_equal_effects_on_all_have_no_correlation():
    data = plain([[0.1] * 7, np.arange(7)])
    similarity = sams.tl.perturbation_similarity(data, metric="pearson")
    np.testing.assert_allclose(similarity, [[np.nan, np.nan], [np.nan, 1]])


def test_nearest_are_ranked_without_itself_and_those_without_effect():
    data = plain([[1, 0], [1, 1], [0, 0], [-1, 0], [0, 1], [3, 0.1]])
    nearest = sams.tl.nearest_perturbations(data, "a")
    assert list(nearest.index) == ["f", "b", "e", "d"]
    similarity = sams.tl.perturbation_similarity(data)
    np.testing.assert_array_equal(nearest, similarity.loc["a", nearest.index])
    assert nearest.name == "similarity"
    assert list(sams.tl.nearest_perturbations(data, "a", n=2).index) == ["f", "b"]


@pytest.mark.parametrize("name", INTERFERON)
def test_nearest_of_a_group_are_its_members(name):
    nearest = sams.tl.nearest_perturbations(knockouts(), name, n=3)
    assert set(nearest.index) == set(INTERFERON) - {name}


def test_perturbation_without_effect_has_nothing_near():
    assert sams.tl.nearest_perturbations(knockouts(), "none_3").empty


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"metric": "euclidean"}, "'cosine' or 'pearson'; it is 'eu", id="metric"),
        pytest.param({"max_false_rate": -1}, "from 0 to 1; it is -1", id="rate"),
    ],
)
def test_impossible_settings_raise(kwargs, message):
    with pytest.raises(ValueError, match=message):
        sams.tl.perturbation_similarity(plain(np.eye(2)), **kwargs)
    with pytest.raises(ValueError, match=message):
        sams.tl.nearest_perturbations(plain(np.eye(2)), "a", **kwargs)


@pytest.mark.parametrize(
    ("name", "n", "message"),
    [
        pytest.param("STAT", 3, "no perturbation 'STAT'; nearest: 'STAT1'", id="unknown"),
        pytest.param("STAT1", 0, "`n` must be at least 1; it is 0", id="none"),
    ],
)
def test_impossible_requests_raise(name, n, message):
    with pytest.raises(ValueError, match=message):
        sams.tl.nearest_perturbations(knockouts(), name, n=n)


def test_effects_that_are_not_finite_are_named():
    with pytest.raises(ValueError, match="The effects of 'b' are not finite"):
        sams.tl.perturbation_similarity(plain([[1, 2], [np.inf, 0]]))


def test_other_things_than_results_raise():
    for function in (sams.tl.perturbation_similarity, sams.tl.cluster_perturbations):
        with pytest.raises(TypeError, match="it is of type DataFrame"):
            function(pd.DataFrame(np.eye(2)))
    with pytest.raises(TypeError, match="it is of type DataFrame"):
        sams.tl.nearest_perturbations(pd.DataFrame(np.eye(2)), "a")
