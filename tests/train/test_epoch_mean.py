"""Means over an epoch, of what mini-batches report."""

import numpy as np
import pytest
from lightning.pytorch.callbacks import Callback

import scvi_sams as sams
from scvi_sams.train._epoch_mean import EpochMean
from tests.conftest import FEW_STEPS, SMALL, set_up


def test_mini_batches_count_by_their_cells():
    mean = EpochMean()
    mean.update(1.0, 30)
    mean.update(4.0, 10)
    assert mean.compute() == pytest.approx(70 / 40)


class Reports(Callback):
    """Sums over each mini-batch, and its cells, by epoch."""

    def __init__(self):
        self.of_epochs = []

    def setup(self, trainer, pl_module, stage):
        told = pl_module.compute_and_log_metrics

        def listening(loss_output, metrics, mode):
            n_cells = loss_output.n_obs_minibatch
            sums = float(loss_output.reconstruction_loss_sum.detach())
            kl_z = n_cells * float(loss_output.extra_metrics["kl_z"].detach())
            self.of_epochs[-1][mode].append((sums, kl_z, n_cells))
            told(loss_output, metrics, mode)

        pl_module.compute_and_log_metrics = listening

    def on_train_epoch_start(self, trainer, pl_module):
        self.of_epochs.append({"train": [], "validation": []})


@pytest.mark.parametrize("every", [1, 2])
def test_the_history_has_the_means_of_each_epoch(screen, every):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    reports = Reports()
    model.train(
        **FEW_STEPS | {"max_epochs": 4, "batch_size": 8},
        check_val_every_n_epoch=every,
        callbacks=[reports],
    )
    for mode in ("train", "validation"):
        by_epoch = [np.sum(epoch[mode], axis=0) for epoch in reports.of_epochs if epoch[mode]]
        assert all(len(epoch[mode]) > 2 for epoch in reports.of_epochs if epoch[mode])
        assert len(by_epoch) == (4 // every if mode == "validation" else 4)
        for place, name in enumerate(["reconstruction_loss", "kl_z"]):
            found = model.history[f"{name}_{mode}"].to_numpy(dtype=float).ravel()
            expected = [sums[place] / sums[-1] for sums in by_epoch]
            np.testing.assert_allclose(found[~np.isnan(found)], expected, rtol=1e-5)


def test_values_of_each_step_are_there_if_asked(screen):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    model.train(**FEW_STEPS, plan_kwargs={"on_step": True})
    assert {"kl_z_train_step", "kl_z_train_epoch"} <= set(model.history)
