"""Ensembles: one split, different parameters, and nothing left behind."""

import os
import random

import numpy as np
import pytest
import scvi
import torch

import scvi_sams as sams
from tests.conftest import FEW_STEPS, SMALL, set_up


def fit(adata, **kwargs):
    """An ensemble after a few steps."""
    return sams.fit_ensemble(adata, **{"train_kwargs": FEW_STEPS} | SMALL | kwargs)


def random_state():
    """Everything that seeding sets, in a form to compare."""
    return (
        scvi.settings.seed,
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        torch.backends.cudnn.deterministic,
        {name: os.environ.get(name) for name in ("PL_GLOBAL_SEED", "XLA_FLAGS")},
    )


@pytest.fixture
def ready(screen):
    """A screen that is set up."""
    set_up(screen)
    return screen


def test_members_share_a_split_and_differ_in_parameters(ready):
    members = fit(ready, n_seeds=3)
    assert len(members) == 3
    for member in members[1:]:
        for name in ("train_indices", "validation_indices", "test_indices"):
            np.testing.assert_array_equal(getattr(member, name), getattr(members[0], name))
    shifts = [member.get_perturbation_effects().X for member in members]
    assert not np.allclose(shifts[0], shifts[1])
    assert not np.allclose(shifts[1], shifts[2])
    assert all(member.module.n_latent == SMALL["n_latent"] for member in members)
    agreed = sams.tl.consensus(members)
    assert agreed.shape == (6, 4)
    n_cells = members[0].get_perturbation_effects().obs["n_cells"]
    np.testing.assert_array_equal(agreed.obs["n_cells"], n_cells)


def test_same_seeds_give_the_same_members_and_the_first_is_that_of_its_seed(ready):
    first, again = (fit(ready, seeds=[5, 2]) for _ in range(2))
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(
            one.get_perturbation_effects().X, same.get_perturbation_effects().X
        )
    scvi.settings.seed = 5
    alone = sams.SAMSVAE(ready, **SMALL)
    alone.train(**FEW_STEPS)
    np.testing.assert_array_equal(
        first[0].get_perturbation_effects().X, alone.get_perturbation_effects().X
    )
    np.testing.assert_array_equal(first[1].train_indices, alone.train_indices)


def test_split_key_and_shares_are_honoured(ready):
    split = np.array(["train", "val", "test", "train"] * 100)[: ready.n_obs]
    ready.obs["split"] = split
    for member in fit(ready, n_seeds=2, train_kwargs=FEW_STEPS | {"split_key": "split"}):
        np.testing.assert_array_equal(
            np.sort(member.test_indices), np.flatnonzero(split == "test")
        )
    shares = FEW_STEPS | {"train_size": 0.5, "validation_size": 0.2}
    one, other = fit(ready, n_seeds=2, train_kwargs=shares)
    assert len(other.test_indices) == pytest.approx(0.3 * ready.n_obs, abs=2)
    np.testing.assert_array_equal(one.test_indices, other.test_indices)


@pytest.mark.parametrize("seed", [None, 3])
def test_global_random_state_is_restored(ready, seed):
    scvi.settings.seed = seed
    np.random.rand(3)
    torch.rand(3)
    random.random()
    before = random_state()
    fit(ready, n_seeds=2)
    assert random_state() == before


def test_global_random_state_is_restored_after_an_error(ready):
    before = random_state()
    with pytest.raises(ValueError, match="`max_epochs` must be an integer of at least 1"):
        fit(ready, train_kwargs={"max_epochs": 0})
    assert random_state() == before


def test_arguments_are_left_alone(ready):
    train_kwargs = FEW_STEPS | {"datasplitter_kwargs": {"drop_last": False}}
    before = {**train_kwargs, "datasplitter_kwargs": {"drop_last": False}}
    fit(ready, n_seeds=2, train_kwargs=train_kwargs)
    assert train_kwargs == before


def test_interruption_ends_the_ensemble(ready, monkeypatch):
    trained = []

    def interrupted(self, **kwargs):
        trained.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(sams.SAMSVAE, "train", interrupted)
    before = random_state()
    with pytest.raises(KeyboardInterrupt):
        fit(ready)
    assert len(trained) == 1
    assert random_state() == before


def test_data_that_is_not_set_up_says_what_to_call(screen):
    with pytest.raises(ValueError, match=r"set up your AnnData with SAMSVAE\.setup_anndata"):
        fit(screen)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"n_seeds": 0}, "`n_seeds` must be at least 1; it is 0", id="none"),
        pytest.param({"seeds": []}, "`seeds` is empty", id="empty"),
        pytest.param({"seeds": [1, 4, 4]}, "holds 4 more than once", id="repeated"),
        pytest.param({"seeds": [1, -1]}, "from 0 to 2\\^32 - 1; it holds -1", id="negative"),
        pytest.param({"seeds": [1, 0.5]}, "it holds 0.5", id="real"),
    ],
)
def test_bad_seeds_raise_before_anything_is_trained(ready, kwargs, message):
    with pytest.raises(ValueError, match=message):
        fit(ready, **kwargs)


def test_each_member_has_a_checkpoint_of_its_own(ready, tmp_path):
    members = fit(ready, train_kwargs=FEW_STEPS | {"checkpoint_dir": tmp_path})
    again = fit(ready, train_kwargs=FEW_STEPS | {"checkpoint_dir": tmp_path, "resume": True})
    assert len(list(tmp_path.glob("seed_*/training.ckpt"))) == len(members)
    for one, other in zip(members, again, strict=True):
        weights = other.module.state_dict()
        assert all(torch.equal(x, weights[name]) for name, x in one.module.state_dict().items())
