"""Training that leaves the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from scvi import REGISTRY_KEYS as SCVI_KEYS

from scvi_sams.train._ending import Ending

if TYPE_CHECKING:
    import lightning.pytorch as pl

_N_STEPS_AT_ONCE = 20  # of a device that would have to be waited for
_LARGEST_FACTOR = 1e3  # of the larger library sizes of a mini-batch over its median

_Weights = dict[str, torch.Tensor]


class EndOnNonFinite(Ending):
    """End training at the first loss or weight that is not finite, on the last good weights.

    Losses are looked at after every step on a CPU and every twenty steps on other devices, which
    need not wait so; weights at the end of each epoch.
    """

    def __init__(self) -> None:
        self._good: _Weights = {}
        self._good_epoch: int | None = None
        self._losses: list[tuple[int, torch.Tensor]] = []
        self._batch: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember the weights to start from."""
        self._keep(pl_module)
        self._good_epoch = trainer.current_epoch - 1 if trainer.current_epoch else None

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look at the loss."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if loss is None or self.error is not None:
            return
        self._losses.append((batch_idx, loss.detach()))
        self._batch = batch
        if loss.device.type == "cpu" or len(self._losses) == _N_STEPS_AT_ONCE:
            self._look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the last losses and the weights, and remember the weights."""
        if self.error is None:
            self._look(trainer, pl_module)
        if self.error is None:
            wrong = _non_finite(pl_module)
            if wrong:
                self._end(trainer, pl_module, f"The weights {wrong} were", None)
            else:
                self._keep(pl_module)
                self._good_epoch = trainer.current_epoch

    def _look(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        losses, self._losses = self._losses, []
        if not losses:
            return
        values = torch.stack([loss for _, loss in losses])
        if not torch.isfinite(values).all():
            first = int((~torch.isfinite(values)).nonzero()[0])
            batch_idx, loss = losses[first]
            is_at_hand = first == len(losses) - 1
            self._end(
                trainer,
                pl_module,
                f"The loss of mini-batch {batch_idx} was {float(loss)} and",
                self._batch if is_at_hand else None,
            )

    def _end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, what: str, batch: Any
    ) -> None:
        cause = _likely_cause(batch, pl_module)
        _module(pl_module).load_state_dict(self._good)
        of = (
            "before training"
            if self._good_epoch is None
            else f"after epoch {self._good_epoch}, the last good one"
        )
        message = (
            f"Training stopped in epoch {trainer.current_epoch}: {what} not finite. {cause} The "
            f"model has the weights of {of}."
        )
        self.end(trainer, FloatingPointError(message))

    def _keep(self, pl_module: pl.LightningModule) -> None:
        self._good = {
            name: tensor.detach().clone()
            for name, tensor in _module(pl_module).state_dict().items()
        }


def _module(pl_module: pl.LightningModule) -> torch.nn.Module:
    return cast("torch.nn.Module", pl_module.module)


def _non_finite(pl_module: pl.LightningModule) -> str:
    """Names of parameters that are not finite, the first ones."""
    wrong = [
        name
        for name, parameter in _module(pl_module).named_parameters()
        if not torch.isfinite(parameter).all()
    ]
    return ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def _likely_cause(batch: Any, pl_module: pl.LightningModule) -> str:
    """What in a mini-batch may have done it, in words."""
    lr = pl_module.lr
    if isinstance(batch, dict):
        for key, values in batch.items():
            if not torch.isfinite(values).all():
                return f"Its cells hold values that are not finite (registered as {key!r})."
        counts = batch.get(SCVI_KEYS.X_KEY)
        if counts is not None:
            library = counts.sum(-1)
            largest, median = float(library.max()), float(library.median())
            if largest > _LARGEST_FACTOR * max(median, 1.0):
                return (
                    f"Likely cause: a cell with {largest:.3g} counts among cells with "
                    f"{median:.3g} (median). Remove such cells, or lower the learning rate "
                    f"({lr:g})."
                )
    return (
        f"Likely cause: a learning rate that is too large ({lr:g}); lower it, "
        "`plan_kwargs={'lr': ...}`, or clip gradients closer (`gradient_clip_val`)."
    )
