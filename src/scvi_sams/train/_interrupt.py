"""Ctrl-C."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

from scvi_sams.train._ending import Ending

if TYPE_CHECKING:
    import lightning.pytorch as pl


class EndOnInterrupt(Ending):
    """End training after the mini-batch in which Ctrl-C was pressed.

    As a context manager it takes the signal SIGINT for the time of training. Pressed once more,
    Ctrl-C interrupts at once. Outside of the main thread, and where a program has a handler of
    its own, signals are left alone.
    """

    def __init__(self) -> None:
        self._is_asked = False
        self._before: Any = None

    def __enter__(self) -> EndOnInterrupt:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, *_: object) -> None:
        self._is_asked = True
        signal.signal(signal.SIGINT, self._before)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """End if Ctrl-C was pressed."""
        if self._is_asked and self.error is None:
            message = (
                f"Training was interrupted in epoch {trainer.current_epoch}. The model is usable; "
                "it has the weights of its best epoch so far."
            )
            self.end(trainer, KeyboardInterrupt(message))
