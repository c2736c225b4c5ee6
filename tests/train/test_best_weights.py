"""The weights of the best epoch."""

from types import SimpleNamespace

import torch

from scvi_sams.train._best_weights import KeepBestWeights


def test_best_weights_are_those_of_the_lowest_value(model):
    plan = SimpleNamespace(module=model.module)
    keep, bias = KeepBestWeights(), model.module.likelihood.to_genes.bias
    for epoch, value in enumerate([3.0, 1.0, 2.0]):
        metrics = {"elbo_validation": torch.tensor(value)}
        bias.data.fill_(epoch)
        keep.on_validation_end(
            SimpleNamespace(callback_metrics=metrics, current_epoch=epoch), plan
        )
    keep.on_train_end(None, plan)
    assert (bias == 1).all()
