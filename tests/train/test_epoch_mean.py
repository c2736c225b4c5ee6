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
    """Divergences and cells of each mini-batch, by epoch."""

    def __init__(self):
        self.of_epochs = []

    def setup(self, trainer, pl_module, stage):
        told = pl_module.compute_and_log_metrics

        def listening(loss_output, metrics, mode):
            value = float(loss_output.extra_metrics["kl_z"].detach())
            self.of_epochs[-1][mode].append((value, loss_output.n_obs_minibatch))
            told(loss_output, metrics, mode)

        pl_module.compute_and_log_metrics = listening

    def on_train_epoch_start(self, trainer, pl_module):
        self.of_epochs.append({"train": [], "validation": []})


def test_the_history_has_the_means_of_each_epoch(screen):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    reports = Reports()
    model.train(**FEW_STEPS, callbacks=[reports])
    for mode in ("train", "validation"):
        by_epoch = [np.transpose(epoch[mode]) for epoch in reports.of_epochs]
        expected = [np.average(values, weights=n_cells) for values, n_cells in by_epoch]
        found = model.history[f"kl_z_{mode}"].to_numpy(dtype=float).ravel()
        assert len(found) == len(expected) == 3
        np.testing.assert_allclose(found, expected, rtol=1e-5)
