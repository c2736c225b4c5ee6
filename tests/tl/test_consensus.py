"""Consensus of models, against effects of known order and signs and cases counted by hand."""

import itertools

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scvi_sams as sams
from tests.conftest import trained

NAMES = [f"pert_{t}" for t in range(8)]


def effects_of(shifts, inclusion=None, *, names=None, n_cells=None) -> ad.AnnData:
    """Results as a model gives them."""
    shifts = np.asarray(shifts, dtype=float)
    names = NAMES[: len(shifts)] if names is None else names
    effects = ad.AnnData(
        shifts,
        obs=pd.DataFrame(index=pd.Index(names)),
        var=pd.DataFrame(index=[f"z{k}" for k in range(shifts.shape[1])]),
    )
    effects.obs["n_cells"] = np.arange(10, 10 + len(shifts)) if n_cells is None else n_cells
    if inclusion is not None:
        effects.layers["inclusion_probability"] = np.asarray(inclusion, dtype=float)
    return effects


def planted(n_models: int, noise: float, seed: int = 0):
    """Sparse effects, and what models that shuffle and flip their dimensions make of them."""
    rng = np.random.default_rng(seed)
    mask = rng.uniform(size=(8, 4)) < 0.5
    mask[np.arange(4), np.arange(4)] = True
    truth = mask * rng.normal(0, 3, size=(8, 4))
    models, permutations, signs = [], [], []
    for _ in range(n_models):
        permutation, sign = rng.permutation(4), rng.choice([-1, 1], 4)
        shifts = (truth + noise * rng.normal(size=truth.shape)) * sign
        models.append(effects_of(shifts[:, permutation], (0.8 * mask + 0.1)[:, permutation]))
        permutations.append(permutation)
        signs.append(sign)
    return truth, mask, models, np.stack(permutations), np.stack(signs)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)])
@pytest.mark.parametrize("reference", [None, 0, 1, 2, 3])
def test_known_order_and_signs_are_recovered(order, reference):
    truth, mask, models, permutations, signs = planted(4, noise=0)
    found = sams.tl.consensus([models[a] for a in order], reference=reference)
    notes = found.uns["consensus"]
    chosen = order[notes["reference"]]
    if reference is not None:
        assert notes["reference"] == reference
    permutation = permutations[chosen]
    np.testing.assert_allclose(found.X, (truth * signs[chosen])[:, permutation])
    np.testing.assert_allclose(
        found.layers["inclusion_probability"], (0.8 * mask + 0.1)[:, permutation]
    )
    np.testing.assert_allclose(found.layers["effect_sd"], 0, atol=1e-12)
    np.testing.assert_array_equal(found.layers["stability"], 1)
    np.testing.assert_allclose(found.var["matched_cosine"], 1)
    np.testing.assert_allclose(notes["agreement"], 1)
    for a, its, flips in zip(order, notes["permutations"], notes["signs"], strict=True):
        np.testing.assert_allclose(models[a].X[:, its] * flips, found.X)
    np.testing.assert_array_equal(notes["permutations"][notes["reference"]], range(4))
    np.testing.assert_array_equal(notes["signs"][notes["reference"]], 1)


def test_result_does_not_depend_on_the_order_of_the_models():
    _, _, models, *_ = planted(5, noise=0.3)
    first = sams.tl.consensus(models)
    last = sams.tl.consensus(models[::-1])
    assert last.uns["consensus"]["reference"] == 4 - first.uns["consensus"]["reference"]
    np.testing.assert_allclose(last.X, first.X)
    for name in ("inclusion_probability", "stability", "effect_sd"):
        np.testing.assert_allclose(last.layers[name], first.layers[name])


@pytest.mark.parametrize("reference", range(5))
def test_reference_decides_order_and_signs_only(reference):
    """Also where effects are weak and the matching has several local optima."""
    _, _, models, *_ = planted(5, noise=2)
    chosen = sams.tl.consensus(models)
    other = sams.tl.consensus(models, reference=reference)
    notes = other.uns["consensus"]
    its, signs = (
        notes[key][chosen.uns["consensus"]["reference"]] for key in ("permutations", "signs")
    )
    np.testing.assert_allclose(other.X, chosen.X[:, its] * signs)
    np.testing.assert_allclose(other.layers["stability"], chosen.layers["stability"][:, its])
    np.testing.assert_allclose(other.obs["stability"], chosen.obs["stability"])
    np.testing.assert_allclose(other.var["matched_cosine"], chosen.var["matched_cosine"].iloc[its])


def test_reference_is_the_one_that_agrees_best():
    _, _, models, *_ = planted(3, noise=0.2)
    odd = effects_of(np.random.default_rng(3).normal(size=(8, 4)))
    notes = sams.tl.consensus([odd, *models]).uns["consensus"]
    assert notes["reference"] > 0
    assert notes["agreement"][0, 1:].max() < notes["agreement"][1:, 1:].min()


@pytest.mark.parametrize("seed", range(6))
def test_alignment_is_the_best_of_all(seed):
    effects = np.random.default_rng(seed).normal(size=(3, 5, 3))
    found = sams.tl.consensus([effects_of(one) for one in effects])
    turns = [
        np.eye(3)[:, list(order)] * signs
        for order in itertools.permutations(range(3))
        for signs in itertools.product([-1, 1], repeat=3)
    ]
    least = min(
        np.stack([effects[0], effects[1] @ b, effects[2] @ c]).var(0, ddof=1).sum()
        for b in turns
        for c in turns
    )
    assert (found.layers["effect_sd"] ** 2).sum() == pytest.approx(least)


def test_stability_by_hand():
    shifts = [
        [[2.0, 0.0], [1.0, 0.1], [0.0, 5.0], [0.0, 0.0]],
        [[2.0, 0.0], [1.0, 0.1], [0.0, 5.0], [0.0, 0.0]],
        [[2.0, 0.0], [-1.0, 0.1], [0.0, 5.0], [0.0, 0.0]],
        [[2.0, 0.0], [1.0, 0.1], [0.0, 5.0], [0.0, 0.0]],
    ]
    inclusion = [
        [[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.1]],
        [[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.1]],
        [[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.1]],
        [[0.2, 0.1], [0.3, 0.6], [0.1, 0.9], [0.1, 0.1]],
    ]
    found = sams.tl.consensus([effects_of(*both) for both in zip(shifts, inclusion, strict=True)])
    # pert_0: one of four leaves z0 out; pert_1: one leaves it out and one turns it round,
    # and one alone calls z1; pert_2: all agree; pert_3: nobody calls anything
    np.testing.assert_allclose(found.layers["stability"], [[0.75, 1], [0.5, 0.75], [1, 1], [1, 1]])
    np.testing.assert_allclose(found.obs["stability"], [0.75, 0.625, 1, 1])
    assert list(found.obs["n_called"]) == [1, 1, 1, 0]
    np.testing.assert_allclose(found.X[:, 0], [2, 0.5, 0, 0])
    np.testing.assert_allclose(found.layers["effect_sd"][:, 0], [0, 1, 0, 0])
    np.testing.assert_allclose(found.layers["inclusion_probability"][0], [0.725, 0.1])
    # of six pairs, three hold the turned one, whose cosine is (4 - 1) / 5
    cosine = (3 * 1 + 3 * 0.6) / 6
    np.testing.assert_allclose(found.var["matched_cosine"], [cosine, 1])


def test_threshold_moves_the_calls():
    _, _, models, *_ = planted(3, noise=0)
    models[2].layers["inclusion_probability"] *= 0.7
    assert (sams.tl.consensus(models).layers["stability"] == 1).all()
    strict = sams.tl.consensus(models, threshold=0.7)
    assert strict.layers["stability"].min() == pytest.approx(2 / 3)


def test_without_masks_only_the_sign_is_a_call():
    _, _, models, *_ = planted(2, noise=0)
    for effects in models:
        del effects.layers["inclusion_probability"]
    found = sams.tl.consensus(models)
    np.testing.assert_array_equal(found.layers["inclusion_probability"], 1)
    np.testing.assert_array_equal(found.layers["stability"], 1)


def test_perturbations_are_matched_by_name():
    _, _, models, *_ = planted(3, noise=0.1)
    expected = sams.tl.consensus(models)
    shuffled = [models[0], models[1][::-1].copy(), models[2][[3, 1, 0, 2, 7, 6, 4, 5]].copy()]
    found = sams.tl.consensus(shuffled)
    assert list(found.obs_names) == NAMES
    np.testing.assert_allclose(found.X, expected.X)
    pd.testing.assert_frame_equal(found.obs, expected.obs)
    np.testing.assert_array_equal(found.obs["n_cells"], models[0].obs["n_cells"])


def test_number_of_cells_is_the_smallest_or_left_out():
    _, _, models, *_ = planted(2, noise=0)
    models[1].obs["n_cells"] = 12
    found = sams.tl.consensus(models)
    np.testing.assert_array_equal(found.obs["n_cells"], [10, 11, *[12] * 6])
    del models[1].obs["n_cells"]
    assert list(sams.tl.consensus(models).obs) == ["n_called", "stability"]


def test_dimensions_without_effect_take_no_partner_and_have_no_cosine():
    truth = np.array([[3.0, 0, 0], [0, 0.5, 0], [1, 0, 0]])
    found = sams.tl.consensus([effects_of(truth), effects_of(-truth[:, [2, 0, 1]])])
    np.testing.assert_allclose(found.X, truth)
    np.testing.assert_allclose(found.var["matched_cosine"], [1, 1, 0])
    nothing = sams.tl.consensus([effects_of(0 * truth), effects_of(truth)])
    np.testing.assert_allclose(nothing.uns["consensus"]["agreement"], np.eye(2))
    assert (nothing.var["matched_cosine"] == 0).all()


def test_inputs_are_left_alone_and_the_result_survives_writing(tmp_path):
    _, _, models, *_ = planted(3, noise=0.2)
    before = [effects.copy() for effects in models]
    found = sams.tl.consensus(tuple(models))
    for effects, copy in zip(models, before, strict=True):
        np.testing.assert_array_equal(effects.X, copy.X)
        assert list(effects.layers) == list(copy.layers)
        assert not effects.uns
    found.write_h5ad(tmp_path / "consensus.h5ad")
    back = ad.read_h5ad(tmp_path / "consensus.h5ad")
    np.testing.assert_array_equal(back.X, found.X)
    pd.testing.assert_frame_equal(back.obs, found.obs)
    pd.testing.assert_frame_equal(back.var, found.var)
    for name, value in found.uns["consensus"].items():
        np.testing.assert_array_equal(back.uns["consensus"][name], value)


def test_consensus_is_drawn_like_the_effects_of_a_model():
    _, _, models, *_ = planted(2, noise=0)
    assert sams.pl.inclusion_probability(sams.tl.consensus(models)).get_title()


def test_models_and_their_effects_give_the_same(screen):
    models = [trained(screen), trained(screen)]
    effects = [model.get_perturbation_effects() for model in models]
    found = sams.tl.consensus(models)
    mixed = sams.tl.consensus([models[0], effects[1]])
    np.testing.assert_array_equal(found.X, mixed.X)
    np.testing.assert_array_equal(found.layers["stability"], mixed.layers["stability"])
    assert list(found.obs_names) == list(models[0].perturbation_names)


def test_untrained_model_is_named(screen):
    model = trained(screen)
    with pytest.raises(RuntimeError, match=r"models\[1\] is not trained"):
        sams.tl.consensus([model, sams.SAMSVAE(screen, n_latent=4)])


def other(**change):
    """Two results that fit together but for the second's ``change``."""
    shifts = np.arange(6.0).reshape(3, 2)
    return [effects_of(shifts), effects_of(**{"shifts": shifts} | change)]


@pytest.mark.parametrize(
    ("models", "message"),
    [
        pytest.param([], "at least 2 models; `models` has 0", id="none"),
        pytest.param(other()[:1], "has 1. `scvi_sams.fit_ensemble`", id="one"),
        pytest.param(
            other(names=["pert_0", "x", "pert_2"]),
            r"only models\[0\] has 'pert_1'; only models\[1\] has 'x'",
            id="names",
        ),
        pytest.param(
            other(shifts=np.ones((2, 2))), r"\[1\].*: only models\[0\] has 'pert_2'\.", id="fewer"
        ),
        pytest.param(
            other(shifts=np.ones((3, 4))), r"2 latent dimensions, models\[1\] 4", id="n_latent"
        ),
        pytest.param(
            other(shifts=np.full((3, 2), np.nan)), r"models\[1\] are not all finite", id="nan"
        ),
    ],
)
def test_models_that_do_not_fit_together_raise(models, message):
    with pytest.raises(ValueError, match=message):
        sams.tl.consensus(models)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_repeated_names_raise():
    with pytest.raises(ValueError, match=r"models\[1\] has several perturbations named 'a'"):
        sams.tl.consensus(other(names=["a", "a", "b"]))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"reference": 2}, "from 0 to 1; it is 2", id="reference"),
        pytest.param({"reference": -1}, "from 0 to 1; it is -1", id="negative"),
        pytest.param({"threshold": 1}, "probability below 1; it is 1", id="threshold"),
    ],
)
def test_impossible_settings_raise(kwargs, message):
    with pytest.raises(ValueError, match=message):
        sams.tl.consensus(other(), **kwargs)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        pytest.param(other()[0], "it is of type AnnData", id="one-result"),
        pytest.param([other()[0], np.ones((3, 2))], r"models\[1\] is of type ndarray", id="array"),
    ],
)
def test_other_things_than_models_raise(models, message):
    with pytest.raises(TypeError, match=message):
        sams.tl.consensus(models)
