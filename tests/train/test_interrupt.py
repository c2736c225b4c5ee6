"""Ctrl-C ends training with a usable model."""

import os
import signal
import threading

import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback

import scvi_sams as sams
from scvi_sams.train import _checkpoint
from tests.conftest import FEW_STEPS, SMALL, set_up


class Press(Callback):
    """Press Ctrl-C in a mini-batch."""

    def __init__(self, epoch, times=1):
        self.epoch, self.times = epoch, times

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def default_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def model_of(adata):
    scvi.settings.seed = 0
    set_up(adata, sams.CPAVAE)
    return sams.CPAVAE(adata, **SMALL)


def test_the_model_is_usable(screen):
    model = model_of(screen)
    with pytest.raises(KeyboardInterrupt, match="epoch 2"):
        model.train(**FEW_STEPS | {"max_epochs": 100}, callbacks=[Press(2)])
    assert model.is_trained
    assert not model.module.training
    assert len(model.history["elbo_train"]) == 3
    assert len(model.train_indices) == int(0.9 * screen.n_obs)
    assert np.isfinite(model.get_average_treatment_effects().X).all()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_pressed_twice_it_interrupts_at_once(screen):
    model = model_of(screen)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        model.train(**FEW_STEPS, callbacks=[Press(0, times=2)])
    assert not model.is_trained


def test_interrupted_training_is_resumed(screen, tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoint, "_SECONDS_BETWEEN", 0.0)
    undisturbed = model_of(screen.copy())
    undisturbed.train(**FEW_STEPS)
    with pytest.raises(KeyboardInterrupt):
        model_of(screen.copy()).train(**FEW_STEPS, callbacks=[Press(2)], checkpoint_dir=tmp_path)
    model = model_of(screen.copy())
    model.train(**FEW_STEPS, checkpoint_dir=tmp_path, resume=True)
    for name, tensor in undisturbed.module.state_dict().items():
        assert torch.equal(tensor, model.module.state_dict()[name])


@pytest.mark.parametrize("where", ["thread", "own-handler"])
def test_signals_of_others_are_left_alone(screen, where):
    def own(*_):
        pass

    if where == "own-handler":
        signal.signal(signal.SIGINT, own)
    before = signal.getsignal(signal.SIGINT)
    seen = []

    class Look(Callback):
        def on_train_start(self, *_):
            seen.append(signal.getsignal(signal.SIGINT))

    model = model_of(screen)
    run = threading.Thread(target=model.train, kwargs=FEW_STEPS | {"callbacks": [Look()]})
    if where == "thread":
        run.start()
        run.join()
    else:
        run.run()
    assert seen == [before]
    assert model.is_trained
