"""Training that goes on where it was killed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback

from scvi_sams._atomic import replaced
from scvi_sams.train._ending import has_error
from scvi_sams.train._random import random_state, restore_random_state

if TYPE_CHECKING:
    import lightning.pytorch as pl

_FILE = "training.ckpt"
_SECONDS_BETWEEN = 10.0
_KEY = "scvi_sams"

Split = list[np.ndarray]


class Checkpoints(Callback):
    """Write all that training needs to go on, between epochs, to one file of a folder.

    Training that goes on ends with the same bits as one that was never killed: weights, moments
    of the optimizer, schedules, early stopping, history and random numbers are in the file, and
    so are the cells that train. It holds plain values and tensors only; nothing in it is run.

    Parameters
    ----------
    folder
        Where the file is, or will be.
    identity
        What this training is of, such as names of cells and genes; another's file is refused.
    resume
        Whether to go on from the file, if there is one.

    Raises
    ------
    ValueError
        If there is a file, and it is not to be resumed, not one of these or of other training.
    """

    def __init__(self, folder: Path, *, identity: dict[str, Any], resume: bool) -> None:
        self._path = folder / _FILE
        self._identity = identity
        self._split: Split | None = None
        self._is_finished = False
        self._resumed: dict[str, Any] | None = None
        self._history: dict[str, Any] = {}
        self._written_at = time.monotonic()
        if not self._path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            return
        if not resume:
            raise ValueError(
                f"{folder} holds a checkpoint of earlier training. Go on with it, `resume=True`; "
                "or name another `checkpoint_dir`."
            )
        self._read()

    @property
    def path(self) -> Path | None:
        """The file to go on from, if there is one."""
        return None if self._resumed is None else self._path

    def common_split(self, split: Split) -> Split:
        """Training, validation and test cells: of the file, or else those given."""
        if self._split is None:
            self._split = split
        return self._split

    def state_dict(self) -> dict[str, Any]:
        """Everything that Lightning does not keep, see :class:`Checkpoints`."""
        assert self._split is not None
        return {
            "identity": self._identity,
            "split": [torch.from_numpy(np.asarray(part, dtype=np.int64)) for part in self._split],
            "is_finished": self._is_finished,
            "random": random_state(),
            "history": self._history,
        }

    def _read(self) -> None:
        try:
            found = torch.load(self._path, map_location="cpu", weights_only=True)
            state = found["callbacks"][self.state_key]
            identity = state["identity"]
        except Exception as error:  # of a damaged file torch raises anything
            raise ValueError(f"{self._path} is not a checkpoint of training ({error}).") from error
        different = [key for key, value in self._identity.items() if identity.get(key) != value]
        if different:
            raise ValueError(
                f"{self._path} is of other training: {' and '.join(different)} differ. Name "
                "another `checkpoint_dir`, or train as it was started."
            )
        self._resumed = state
        self._split = [part.numpy() for part in state["split"]]
        self._is_finished = state["is_finished"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put back the history; of finished training nothing is left to do."""
        if self._resumed is None:
            return
        tables = _tables(trainer)
        for name, (index_name, index, values) in self._resumed["history"].items():
            rows = pd.Index(index, name=index_name)
            tables[name] = pd.DataFrame({name: values}, index=rows, dtype=object)
        trainer.should_stop = self._is_finished

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put back the random numbers, or write if the last time was a while ago."""
        if self._resumed is not None:
            if trainer.world_size == 1:  # several processes have numbers of their own
                restore_random_state(self._resumed["random"])
            self._resumed = None
            # an epoch begins, whereas Lightning means to end the one before; and it made the order
            # of cells already, of other random numbers
            trainer.fit_loop.epoch_loop.restarting = False
            iter(cast("Iterable[Any]", trainer.fit_loop._data_fetcher))
        elif trainer.current_epoch and self._is_time(trainer):
            self._write(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the final model, unless training was ended from outside."""
        if not self._is_finished and not has_error(trainer):
            self._is_finished = True
            self._write(trainer)

    def _is_time(self, trainer: pl.Trainer) -> bool:
        is_time = time.monotonic() - self._written_at >= _SECONDS_BETWEEN
        return bool(trainer.strategy.broadcast(is_time))  # all processes write, or none

    def _write(self, trainer: pl.Trainer) -> None:
        self._history = {
            name: [table.index.name, table.index.tolist(), table[name].tolist()]
            for name, table in _tables(trainer).items()
        }
        if trainer.is_global_zero:
            with replaced(self._path) as aside:
                trainer.save_checkpoint(aside, weights_only=False)
        else:
            trainer.save_checkpoint(
                self._path, weights_only=False
            )  # of several processes, the first one writes
        self._written_at = time.monotonic()


def _tables(trainer: pl.Trainer) -> dict[str, pd.DataFrame]:
    """History of the metrics, as far as the logger of scvi-tools keeps it."""
    found = getattr(getattr(trainer.logger, "experiment", None), "data", None)
    return found if isinstance(found, dict) else {}
