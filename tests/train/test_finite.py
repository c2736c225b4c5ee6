"""Training that leaves the numbers ends with a message and good weights."""

import re

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

import scvi_sams as sams
from tests.conftest import FEW_STEPS, SMALL, set_up


class Spoil(Callback):
    """Make the loss, the counts or a weight not finite in one mini-batch."""

    def __init__(self, epoch, what):
        self.epoch, self.what = epoch, what
        self.good = {}

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            self.good = {k: v.clone() for k, v in pl_module.module.state_dict().items()}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == 1 and self.what != "last weight":
            if self.what == "counts":
                batch["X"][0, 0] = float("inf")
                return
            if self.what == "library":
                batch["X"][0] = 1e6
            next(pl_module.module.parameters()).data.fill_(float("nan"))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        is_last = batch_idx == trainer.num_training_batches - 1
        if trainer.current_epoch == self.epoch and is_last and self.what == "last weight":
            next(pl_module.module.parameters()).data.fill_(float("nan"))


def trained_with(spoil, adata, **kwargs):
    set_up(adata, sams.CPAVAE)
    model = sams.CPAVAE(adata, **SMALL)
    with pytest.raises(FloatingPointError) as raised:
        model.train(**FEW_STEPS | kwargs, callbacks=[spoil])
    return model, str(raised.value)


@pytest.mark.parametrize(
    ("what", "cause"),
    [
        pytest.param("counts", "values that are not finite .registered as 'X'", id="counts"),
        pytest.param("library", "a cell with .* counts", id="library-size"),
        pytest.param("weight", "learning rate", id="weight"),
    ],
)
@pytest.mark.parametrize("early_stopping", [True, False], ids=["best", "last"])
def test_the_mini_batch_its_cause_and_the_last_good_epoch_are_named(
    screen, what, cause, early_stopping
):
    spoil = Spoil(1, what)
    model, message = trained_with(spoil, screen, early_stopping=early_stopping)
    for part in ("epoch 1", "mini-batch 1", "after epoch 0, the last good one"):
        assert part in message
    assert re.search(cause, message)
    for name, tensor in model.module.state_dict().items():
        assert torch.equal(tensor, spoil.good[name]) or name == "is_settled"
    assert model.is_trained
    assert np.isfinite(model.get_average_treatment_effects().X).all()


def test_weights_are_looked_at_after_the_last_step(screen):
    model, message = trained_with(Spoil(2, "last weight"), screen)
    assert "The weights" in message
    assert "epoch 1" in message
    assert all(torch.isfinite(p).all() for p in model.module.parameters())


def test_in_the_first_epoch_the_weights_are_those_before_training(screen):
    spoil = Spoil(0, "counts")
    model, message = trained_with(spoil, screen)
    assert "before training" in message
    for name, tensor in model.module.named_parameters():
        assert torch.equal(tensor, spoil.good[name])


def test_a_learning_rate_that_is_too_large_ends_so(screen):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    with pytest.raises(FloatingPointError, match="learning rate"):
        model.train(
            **FEW_STEPS | {"max_epochs": 50},
            plan_kwargs={"lr": 1e30},
            gradient_clip_val=None,
        )
    assert all(torch.isfinite(p).all() for p in model.module.parameters())
