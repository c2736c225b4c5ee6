"""Ends of training that leave a usable model, and raise afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning.pytorch.callbacks import Callback

if TYPE_CHECKING:
    import lightning.pytorch as pl


class Ending(Callback):
    """Something that ends training early, after which the model is as after any other training.

    Lightning would leave an error at whatever line it strikes: without the best weights, the
    history, or a model that counts as trained. Instead training ends after the mini-batch, and
    ``train`` raises ``error`` as its last act.
    """

    error: BaseException | None = None

    def end(self, trainer: pl.Trainer, error: BaseException) -> None:
        """End training after this mini-batch with ``error``."""
        self.error = error
        trainer.should_stop = True
        # shortest runs asked for are of no use now
        trainer.fit_loop.min_epochs = 0
        trainer.fit_loop.epoch_loop.min_steps = 0


def has_error(trainer: pl.Trainer) -> bool:
    """Whether training ended early with an error."""
    return bool(_errors(trainer.callbacks))  # type: ignore[attr-defined]


def raise_error(callbacks: list[Callback]) -> None:
    """Raise the error with which training ended early, if it did."""
    for error in _errors(callbacks):
        raise error


def _errors(callbacks: list[Callback]) -> list[BaseException]:
    endings = [callback for callback in callbacks if isinstance(callback, Ending)]
    return [ending.error for ending in endings if ending.error is not None]
