"""Saving that is killed, runs out of space, or is done by several processes at once."""

import errno
import gc
import os
import random
import shutil
import signal
import subprocess
import time

import anndata as ad
import numpy as np
import pytest
import torch

import scvi_sams as sams
from tests.conftest import SMALL, set_up, trained
from tests.forks import forked, rest
from tests.test_atomic import killed_before_step, leftovers


def marked(model, number):
    """The model with a number in all its parameters, in its settings and in its data."""
    for parameter in model.module.parameters():
        parameter.data.fill_(number)
    model.run_id_ = str(number)
    model.adata.obs["number"] = float(number)
    return model


def number_of(folder, **kwargs):
    """The number of a saved model that is whole."""
    model = sams.SAMSVAE.load(folder, accelerator="cpu", **kwargs)
    found = {float(value) for p in model.module.parameters() for value in p.detach().unique()}
    found |= {float(model.run_id_), *model.adata.obs["number"]}
    assert len(found) == 1
    return found.pop()


@pytest.fixture
def saved(screen, tmp_path):
    """A model, and the folder where it is saved as number 1."""
    model = trained(screen)
    marked(model, 1).save(tmp_path / "model", save_anndata=True)
    return model, tmp_path / "model"


@pytest.mark.parametrize("safe", [False, True], ids=["plain", "safe"])
def test_a_kill_before_any_step_of_a_save_leaves_old_or_new(saved, monkeypatch, safe):
    model, folder = saved
    at, seen, cut = 0, [], True
    while cut:
        at += 1
        marked(model, 1).save(folder, save_anndata=True, overwrite=True)
        assert sorted(os.listdir(folder)) == ["adata.h5ad", "model.pt"]
        marked(model, 2)
        cut = killed_before_step(
            monkeypatch, at, lambda: model.save(folder, save_anndata=True, overwrite=True)
        )
        seen.append(number_of(folder, safe=safe))
    assert seen == sorted(seen)
    assert set(seen[:-1]) == {1.0, 2.0}


def test_a_first_save_that_was_killed_needs_no_overwriting(model, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    assert killed_before_step(monkeypatch, 4, lambda: model.save(folder))
    assert leftovers(folder)
    model.save(folder)
    assert os.listdir(folder) == ["model.pt"]
    with pytest.raises(ValueError, match="already exists"):
        model.save(folder)


@pytest.mark.parametrize("failing", ["torch", "h5py"])
def test_a_write_that_finds_no_space_leaves_the_old_model(saved, monkeypatch, failing):
    model, folder = saved

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    marked(model, 2)
    with monkeypatch.context() as patch:
        patch.setattr(*((torch, "save") if failing == "torch" else (ad.AnnData, "write")), full)
        with pytest.raises(OSError, match="disk is full") as caught:
            model.save(folder, save_anndata=True, overwrite=True)
    assert caught.value.errno == errno.ENOSPC
    assert str(folder) in str(caught.value)
    assert sorted(os.listdir(folder)) == ["adata.h5ad", "model.pt"]
    assert number_of(folder) == 1


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("with_data", [False, True], ids=["model", "model-and-data"])
def test_a_full_disk_is_explained_and_leaves_the_old_model(screen, small_disk, with_data):
    folder = small_disk / "model"
    marked(trained(screen), 1).save(folder, save_anndata=True)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    if with_data:
        screen.obsm["much"] = np.random.default_rng(0).normal(size=(screen.n_obs, 1000))
    set_up(screen)
    large = sams.SAMSVAE(screen, **SMALL if with_data else {"n_hidden": 1000, "n_layers": 2})
    large.is_trained_ = True
    with pytest.raises(OSError, match="disk is full") as caught:
        large.save(folder, overwrite=True, save_anndata=with_data)
    assert caught.value.errno == errno.ENOSPC
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert number_of(folder) == 1
    del caught  # what HDF5 could not close, it holds as long as the error
    gc.collect()
    assert shutil.disk_usage(small_disk).free > 500_000
    marked(large, 2)
    screen.obsm.pop("much", None)
    if with_data:
        large.save(folder, overwrite=True, save_anndata=True)
        assert number_of(folder) == 2


def test_backed_data_stays_in_its_file(screen, tmp_path):
    screen.write_h5ad(tmp_path / "screen.h5ad")
    adata = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    model = trained(adata)
    model.save(tmp_path / "model", save_anndata=True)
    assert adata.filename == tmp_path / "screen.h5ad"
    assert adata.X[:3].shape == (3, screen.n_vars)
    loaded = sams.SAMSVAE.load(tmp_path / "model", accelerator="cpu")
    assert (loaded.adata.X != screen.X).nnz == 0


def test_data_that_is_not_there_is_not_saved(model, tmp_path):
    model.save(tmp_path / "model")
    bare = sams.SAMSVAE.load(tmp_path / "model", adata=False, accelerator="cpu")
    with pytest.raises(ValueError, match="without data"):
        bare.save(tmp_path / "other", save_anndata=True)
    assert not (tmp_path / "other").exists()


def save_in_turn(out, source, folder, numbers):
    """Save a model over and over, with another number each time, and tell which are done."""
    model = sams.SAMSVAE.load(source, accelerator="cpu")
    out.send("ready")
    for number in numbers:
        marked(model, number).save(folder, save_anndata=True, overwrite=True)
        out.send(number)


@pytest.mark.slow
def test_models_that_two_processes_save_are_loaded_whole(saved, tmp_path):
    model, folder = saved
    model.save(tmp_path / "source", save_anndata=True)
    seen = []
    with (
        forked(save_in_turn, tmp_path / "source", folder, range(100, 150)) as (one, told_by_one),
        forked(save_in_turn, tmp_path / "source", folder, range(200, 250)) as (two, told_by_two),
    ):
        assert told_by_one.recv() == told_by_two.recv() == "ready"
        while one.is_alive() or two.is_alive():
            seen.append(number_of(folder))
        assert rest(told_by_one) == [*range(100, 150)]
        assert rest(told_by_two) == [*range(200, 250)]
        assert one.exitcode == two.exitcode == 0
    assert number_of(folder) in (149, 249)
    assert len(set(seen)) > 3
    assert sorted(os.listdir(folder)) == ["adata.h5ad", "model.pt"]
    print(f"\nsaves 100, loads meanwhile {len(seen)}, of them whole {len(seen)}")


@pytest.mark.slow
def test_saves_killed_at_random_lose_nothing(saved, tmp_path):
    model, folder = saved
    model.save(tmp_path / "source", save_anndata=True)
    chance = random.Random(0)
    n_kills, n_within, last = 40, 0, 1
    for _ in range(n_kills):
        numbers = range(last + 1, last + 10_000)
        with forked(save_in_turn, tmp_path / "source", folder, numbers) as (process, told):
            assert told.recv() == "ready"
            time.sleep(chance.uniform(0, 0.5))
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            known = max([last, *rest(told)])
        n_within += bool(leftovers(folder))
        last = int(number_of(folder))
        assert known <= last <= known + 1
    marked(model, 0).save(folder, save_anndata=True, overwrite=True)
    assert sorted(os.listdir(folder)) == ["adata.h5ad", "model.pt"]
    assert n_within
    print(f"\nkills {n_kills}, within a save {n_within}, saves {last - 1}, lost 0")
