"""Training that was killed ends as if it had not been."""

import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback

import scvi_sams as sams
from scvi_sams.train import _checkpoint
from tests.conftest import MODELS, SMALL, set_up
from tests.forks import forked

N_EPOCHS = 12
# every part of the schedule, early stopping and falling step sizes among them
TRAINING = {
    "max_epochs": N_EPOCHS,
    "batch_size": 64,
    "enable_progress_bar": False,
    "accelerator": "cpu",
    "early_stopping_patience": 3,
    "plan_kwargs": {
        "n_steps_dense": 8,
        "n_steps_mask_kl": 8,
        "reduce_lr_on_plateau": True,
        "lr_patience": 1,
        "lr_scheduler_metric": "elbo_validation",
    },
}


class Killed(Exception):
    """In place of a signal."""


class KillAfter(Callback):
    def __init__(self, n_steps):
        self.n_left = n_steps

    def on_train_batch_end(self, *_):
        self.n_left -= 1
        if not self.n_left:
            raise Killed


@pytest.fixture(autouse=True)
def each_epoch(monkeypatch):
    monkeypatch.setattr(_checkpoint, "_SECONDS_BETWEEN", 0.0)


def untrained(adata, cls=sams.SAMSVAE, **kwargs):
    scvi.settings.seed = 0
    set_up(adata, cls)
    return cls(adata, **SMALL | kwargs)


def resumed(make, folder, n_steps=7, **kwargs):
    """The model after a run that is killed again and again."""
    for n_kills in range(100):
        model = make()
        try:
            model.train(
                **TRAINING | kwargs,
                checkpoint_dir=folder,
                resume=True,
                callbacks=[KillAfter(n_steps)],
            )
        except Killed:
            continue
        assert n_kills > 2
        return model
    raise AssertionError("no progress")


def assert_same(model, other):
    weights, others = model.module.state_dict(), other.module.state_dict()
    assert [name for name in weights if not torch.equal(weights[name], others[name])] == []
    assert set(model.history) == set(other.history)
    for name, table in model.history.items():
        pd.testing.assert_frame_equal(
            table.astype(float), other.history[name].astype(float), check_index_type=False
        )
    np.testing.assert_array_equal(model.train_indices, other.train_indices)


@pytest.mark.parametrize("cls", MODELS.values(), ids=MODELS)
@pytest.mark.filterwarnings("ignore:Training ended before")
def test_killed_training_ends_with_the_same_bits(screen, cls, tmp_path):
    undisturbed = untrained(screen.copy(), cls)
    undisturbed.train(**TRAINING)
    assert_same(resumed(lambda: untrained(screen.copy(), cls), tmp_path), undisturbed)
    after = untrained(screen.copy(), cls)
    after.train(**TRAINING, checkpoint_dir=tmp_path, resume=True)
    assert_same(after, undisturbed)  # of what has ended, nothing is trained again
    assert after.is_trained


def test_counts_on_a_disk_too(screen, tmp_path):
    import anndata as ad

    screen.write_h5ad(tmp_path / "screen.h5ad")

    def backed():
        return untrained(ad.read_h5ad(tmp_path / "screen.h5ad", backed="r"), sams.CPAVAE)

    undisturbed = backed()
    undisturbed.train(**TRAINING)
    assert_same(resumed(backed, tmp_path / "checkpoint"), undisturbed)


def test_the_split_is_kept_without_a_seed(screen, tmp_path):
    def make():
        model = untrained(screen.copy(), sams.CPAVAE)
        scvi.settings._seed = None
        return model

    model = make()
    with pytest.raises(Killed):
        model.train(**TRAINING, checkpoint_dir=tmp_path, callbacks=[KillAfter(12)])
    kept = torch.load(tmp_path / "training.ckpt", weights_only=True)["callbacks"]["Checkpoints"]
    torch.randn(5)  # the global state has gone on
    again = make()
    torch.randn(7)
    again.train(**TRAINING, checkpoint_dir=tmp_path, resume=True)
    np.testing.assert_array_equal(again.train_indices, kept["split"][0])


@pytest.mark.parametrize(
    ("kwargs", "train_kwargs", "what"),
    [
        pytest.param({"n_latent": 5}, {}, "settings of the model", id="model"),
        pytest.param({}, {"batch_size": 32}, "batch size", id="batch-size"),
    ],
)
def test_other_training_is_refused(screen, tmp_path, kwargs, train_kwargs, what):
    untrained(screen.copy(), sams.CPAVAE).train(**TRAINING, checkpoint_dir=tmp_path)
    other = untrained(screen.copy(), sams.CPAVAE, **kwargs)
    with pytest.raises(ValueError, match=what):
        other.train(**TRAINING | train_kwargs, checkpoint_dir=tmp_path, resume=True)


def test_other_cells_are_refused(screen, tmp_path):
    untrained(screen.copy(), sams.CPAVAE).train(**TRAINING, checkpoint_dir=tmp_path)
    other = untrained(screen[::-1].copy(), sams.CPAVAE)
    with pytest.raises(ValueError, match="cells differ"):
        other.train(**TRAINING, checkpoint_dir=tmp_path, resume=True)


def test_a_checkpoint_is_not_written_over(screen, tmp_path):
    model = untrained(screen, sams.CPAVAE)
    model.train(**TRAINING, checkpoint_dir=tmp_path)
    before = (tmp_path / "training.ckpt").read_bytes()
    with pytest.raises(ValueError, match="resume=True"):
        model.train(**TRAINING, checkpoint_dir=tmp_path)
    assert (tmp_path / "training.ckpt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["training.ckpt"]


def test_a_damaged_file_is_refused(screen, tmp_path):
    (tmp_path / "training.ckpt").write_bytes(b"half")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        untrained(screen).train(**TRAINING, checkpoint_dir=tmp_path, resume=True)


def test_resuming_needs_a_folder(screen):
    with pytest.raises(ValueError, match="checkpoint_dir"):
        untrained(screen).train(**TRAINING, resume=True)


def train_to(out, folder, path):
    """Train with checkpoints in the folder, if there is one, and leave the weights at the path."""
    _checkpoint._SECONDS_BETWEEN = 0.0
    scvi.settings.seed = 0
    adata = sams.datasets.simulate(6, n_cells_per_perturbation=50, n_genes=40, seed=0)
    sams.SAMSVAE.setup_anndata(adata, perturbation_key="perturbation", control="control")
    model = sams.SAMSVAE(adata, n_latent=5, n_hidden=32)
    kwargs = {} if folder is None else {"checkpoint_dir": folder, "resume": True}
    out.send("training")
    model.train(
        max_epochs=80, batch_size=64, enable_progress_bar=False, accelerator="cpu", **kwargs
    )
    torch.save(model.module.state_dict(), path)


@pytest.mark.slow
def test_twenty_kills_at_random_moments(tmp_path):
    """SIGKILL while training, checkpoints being written and the epochs' ends among it."""

    def run(folder, path, seconds=None):
        """Exit status, and seconds of training; killed after as many if it is to be."""
        with forked(train_to, folder, path) as (process, told):
            assert told.poll(300)
            assert told.recv() == "training"
            begun = time.monotonic()
            process.join(seconds)
            process.kill()
            process.join()
            return process.exitcode, time.monotonic() - begun

    status, duration = run(None, tmp_path / "alone.pt")
    assert status == 0
    rng = np.random.default_rng()
    for _ in range(20):
        seconds = rng.uniform(0, duration / 20)
        status, _ = run(tmp_path / "checkpoint", tmp_path / "resumed.pt", seconds)
        assert status == -signal.SIGKILL
    assert (tmp_path / "checkpoint" / "training.ckpt").exists()
    assert run(tmp_path / "checkpoint", tmp_path / "resumed.pt")[0] == 0
    found, expected = (torch.load(tmp_path / f"{name}.pt") for name in ("resumed", "alone"))
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert [path.name for path in Path(tmp_path / "checkpoint").iterdir()] == ["training.ckpt"]
