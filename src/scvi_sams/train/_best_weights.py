"""Keep the weights of the best epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.pytorch.callbacks import Callback

if TYPE_CHECKING:
    import lightning.pytorch as pl


class KeepBestWeights(Callback):
    """Hold the weights of the epoch with the lowest validation loss, and put them back at the end.

    Early stopping ends training some epochs after the best one; without this the model would
    keep the last weights rather than the best.

    Parameters
    ----------
    monitor
        The metric to be lowest.
    """

    def __init__(self, monitor: str = "elbo_validation") -> None:
        self.monitor = monitor
        self.forget()

    def forget(self) -> None:
        """Start anew."""
        self.best_value = float("inf")
        self.n_since_best = 0
        self._weights: dict[str, torch.Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """The best so far, for a checkpoint."""
        return {
            "best_value": self.best_value,
            "n_since_best": self.n_since_best,
            "weights": self._weights,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best_value = state_dict["best_value"]
        self.n_since_best = state_dict["n_since_best"]
        self._weights = state_dict["weights"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy the weights if this epoch is the best so far."""
        module = cast("torch.nn.Module", pl_module.module)
        value = trainer.callback_metrics.get(self.monitor)
        self.n_since_best += 1
        if value is not None and float(value) < self.best_value:
            self.best_value = float(value)
            self.n_since_best = 0
            self._weights = {
                name: tensor.detach().clone() for name, tensor in module.state_dict().items()
            }

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the best weights back."""
        self.restore(cast("torch.nn.Module", pl_module.module))

    def restore(self, module: torch.nn.Module) -> None:
        """Put the best weights into ``module``, and start anew."""
        if self._weights:
            module.load_state_dict(self._weights)
        self.forget()
