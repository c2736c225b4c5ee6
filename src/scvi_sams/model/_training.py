"""Training."""

from __future__ import annotations

import math
import os
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi import settings
from scvi.model.base import UnsupervisedTrainingMixin
from scvi.utils import unsupported_if_adata_minified

from scvi_sams._constants import REGISTRY_KEYS
from scvi_sams._scvi import merge_kwargs, use_distributed_sampler
from scvi_sams.data._disk import is_on_disk
from scvi_sams.data._distinct import distinct_rows
from scvi_sams.data._loader import ScreenSplitter, check_sizes
from scvi_sams.data._names import listed
from scvi_sams.data._sources import obs_column
from scvi_sams.data._statistics import training_statistics
from scvi_sams.model._calibration import CalibrationMixin
from scvi_sams.model._observed import names_hash
from scvi_sams.train._arguments import check_lengths
from scvi_sams.train._best_weights import KeepBestWeights
from scvi_sams.train._checkpoint import Checkpoints
from scvi_sams.train._distributed import check_common_split, data_parallel, n_processes
from scvi_sams.train._early_stopping import early_stopping_callback
from scvi_sams.train._ending import raise_error
from scvi_sams.train._finite import EndOnNonFinite
from scvi_sams.train._interrupt import EndOnInterrupt
from scvi_sams.train._memory import TrainingMemory, WarnOfMemory
from scvi_sams.train._plan import SAMSTrainingPlan

SPLITS = ("train", "val", "test")
_N_REFERENCE_CELLS = 10_000
_LAST_SHARE = 0.05  # of the epochs
_LEAST_GAIN = 1e-4  # of the bound


class PerturbationTrainingMixin(UnsupervisedTrainingMixin, CalibrationMixin):
    """scvi-tools' training with early stopping, best weights and named splits."""

    _data_splitter_cls = ScreenSplitter
    _training_plan_cls = SAMSTrainingPlan
    _max_steps = 30_000
    _patience_in_steps = 1_000

    @unsupported_if_adata_minified
    def train(
        self,
        max_epochs: int | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        train_size: float | None = None,
        validation_size: float | None = None,
        shuffle_set_split: bool = True,
        load_sparse_tensor: bool = False,
        batch_size: int = 512,
        early_stopping: bool = True,
        datasplitter_kwargs: dict[str, Any] | None = None,
        plan_config: Any = None,
        plan_kwargs: Any = None,
        *,
        split_key: str | None = None,
        early_stopping_patience: int | None = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
        gradient_clip_val: float | None = 100.0,
        callbacks: list[Any] | None = None,
        **trainer_kwargs: Any,
    ) -> None:
        """Train the model.

        Training stops once the evidence lower bound of the validation cells (with the global
        terms at the scale of the *training* cells, and without ``mask_kl_weight``) has not
        improved for a while, and the weights of the best epoch are kept.

        Parameters
        ----------
        max_epochs
            Most epochs to train. By default as many as 30,000 steps take, at least 20.
        accelerator, devices
            Where to train; a GPU if there is one. Several devices train together
            (``devices=2``, ``strategy="ddp"``), and so do several machines (``num_nodes=``).
        train_size, validation_size, shuffle_set_split
            Shares of training and validation cells (0.9 and the rest), and whether to draw them
            at random. Not read with ``split_key``.
        load_sparse_tensor
            Whether to move counts to the device as sparse tensors.
        batch_size
            Cells per step, on each device.
        early_stopping
            Whether to stop on the validation cells.
        datasplitter_kwargs
            Passed on to :class:`~scvi.dataloaders.DataSplitter`.
        plan_config, plan_kwargs
            Passed on to :class:`~scvi_sams.train.SAMSTrainingPlan`: ``lr``, ``lr_mask``,
            ``weight_decay``, ``n_steps_dense`` and more. Models with masks start dense, as if
            every mask was full, for up to ``n_steps_dense`` steps (2,000); then
            ``mask_kl_weight`` rises from zero over ``n_steps_mask_kl`` steps (5,000) or
            ``n_epochs_mask_kl`` epochs (200). Each takes a third of the run at most, and the
            bounds of these epochs do not count for early stopping.
        split_key
            Column of obs that says which cells train: ``"train"``, ``"val"`` or ``"test"``.
        early_stopping_patience
            Epochs without improvement after which to stop. By default as many as 1,000 steps
            take, at least 10.
        checkpoint_dir
            Folder for a checkpoint, written between epochs, at most every ten seconds. Training
            that was killed goes on from there; on one device it ends with the same bits as if it
            had not been.
        resume
            Whether to go on from the checkpoint in ``checkpoint_dir``, with its split of the
            cells; without one training starts from the beginning. Of training that ended, it
            gives the model.
        gradient_clip_val
            Largest norm of the gradient of a step; None for no limit.
        callbacks
            Further Lightning callbacks.
        **trainer_kwargs
            Passed on to :class:`~scvi.train.Trainer`.

        Raises
        ------
        KeyError
            If ``split_key`` is no column.
        ValueError
            If its values are others than the three, or it leaves no cells to train or, with
            early stopping, to validate on; if sizes are no shares, a number of epochs, cells or
            devices is not positive, or the data is minified; if several devices would
            divide the cells differently; or if ``checkpoint_dir`` holds a checkpoint that is not
            to be resumed, or is of another model, other data or another batch size.
        FloatingPointError
            If a loss or weight was not finite. The model has the weights of the best epoch, or
            without early stopping of the last good one.
        KeyboardInterrupt
            If Ctrl-C was pressed. Training ends after the mini-batch, and the model is as after
            other training; a second time ends it at once.

        Warns
        -----
        UserWarning
            If more memory will be taken than is free, a perturbation has no training cell, or
            training ends while the bound still rises.
        """
        check_lengths(batch_size, max_epochs, early_stopping_patience, gradient_clip_val)
        check_sizes(train_size, validation_size)
        if resume and checkpoint_dir is None:
            raise ValueError("`resume=True` goes on from a checkpoint; name its `checkpoint_dir`.")
        if self.adata is None:
            raise ValueError("The model was loaded without data; load it with `adata` to train.")
        trainer_kwargs = merge_kwargs(
            trainer_kwargs.pop("trainer_config", None), trainer_kwargs, name="trainer"
        )
        n_replicas = n_processes(devices, trainer_kwargs.get("num_nodes") or 1)
        is_distributed = n_replicas > 1 or use_distributed_sampler(trainer_kwargs.get("strategy"))
        if is_distributed:
            trainer_kwargs["strategy"] = data_parallel(trainer_kwargs.get("strategy"))
        datasplitter_kwargs = dict(datasplitter_kwargs or {})
        if n_replicas > 1:
            is_given = split_key is not None or "external_indexing" in datasplitter_kwargs
            check_common_split(is_given=is_given or not shuffle_set_split)
        if split_key is not None:
            datasplitter_kwargs["external_indexing"] = self._split_indices(
                split_key, early_stopping
            )
        checkpoints = None
        if checkpoint_dir is not None:
            identity = self._identity() | {"batch size": batch_size}
            checkpoints = Checkpoints(Path(checkpoint_dir), identity=identity, resume=resume)
        datamodule = self._data_splitter_cls(
            self.adata_manager,
            batch_size=batch_size,
            train_size=train_size,
            validation_size=validation_size,
            shuffle_set_split=shuffle_set_split,
            load_sparse_tensor=load_sparse_tensor,
            distributed_sampler=is_distributed,
            **datasplitter_kwargs,
        )
        datamodule.setup()
        if not len(datamodule.train_idx):
            raise ValueError("There are no cells to train on. Give `train_size`, or more cells.")
        monitor = trainer_kwargs.get("early_stopping_monitor", "elbo_validation")
        if early_stopping and "valid" in monitor and not len(datamodule.val_idx):
            raise ValueError(
                "There are no validation cells, which early stopping needs. Lower `train_size`, "
                "or pass `early_stopping=False`."
            )
        # without a seed the trainer's own call of setup would draw another split
        split = [datamodule.train_idx, datamodule.val_idx, datamodule.test_idx]
        if checkpoints is not None:
            split = checkpoints.common_split(split)
        if is_on_disk(self.adata_manager.get_from_registry(SCVI_KEYS.X_KEY)):
            split = [np.sort(indices) for indices in split]  # neighbours are read together
        datamodule.external_indexing = split
        datamodule.setup()
        self._prepare_module(datamodule.train_idx)

        steps_per_epoch = math.ceil(len(datamodule.train_idx) / (batch_size * n_replicas))
        if max_epochs is None:
            max_epochs = max(math.ceil(self._max_steps / steps_per_epoch), 20)
        interrupt = EndOnInterrupt()
        # these end training, and what comes after them sees that
        callbacks = [*(callbacks or []), EndOnNonFinite(), interrupt]
        callbacks.append(WarnOfMemory(self._training_memory(batch_size)))
        if early_stopping:
            # Lightning counts validations, not epochs
            every = trainer_kwargs.get("check_val_every_n_epoch") or 1
            patience = early_stopping_patience or max(
                math.ceil(self._patience_in_steps / steps_per_epoch), 10
            )
            stopping = early_stopping_callback(math.ceil(patience / every), trainer_kwargs)
            callbacks += [KeepBestWeights(), stopping]
            trainer_kwargs["check_val_every_n_epoch"] = every
        if checkpoints is not None:
            callbacks.append(checkpoints)
            trainer_kwargs["ckpt_path"] = checkpoints.path
        trainer_kwargs.setdefault("log_every_n_steps", min(steps_per_epoch, 10))
        with warnings.catch_warnings(), interrupt if n_replicas == 1 else nullcontext():
            # scvi-tools', not ours
            warnings.filterwarnings("ignore", message="early_stopping was automatically disabled")
            super().train(
                max_epochs=max_epochs,
                accelerator=accelerator,
                devices=devices,
                datamodule=datamodule,
                batch_size=batch_size,
                plan_config=plan_config,
                plan_kwargs=plan_kwargs,
                gradient_clip_val=gradient_clip_val,
                callbacks=callbacks,
                **trainer_kwargs,
            )
        self.training_cells_ = names_hash(self.adata.obs_names)
        self._calibrate(datamodule.train_idx)
        raise_error(callbacks)
        if early_stopping:
            self._warn_if_unfinished(max_epochs)

    def _training_memory(self, batch_size: int) -> TrainingMemory:
        return TrainingMemory.of(
            self.module,
            n_genes=len(self.gene_names),
            batch_size=batch_size,
            n_conditions=self._n_calibrated(self.seen_conditions_["n_cells"]),
        )

    def _warn_if_unfinished(self, max_epochs: int) -> None:
        """Say so if training ended by its length while the bound was still rising."""
        loss = (self.history or {}).get("elbo_validation")
        if loss is None or self.trainer.current_epoch < max_epochs:
            return
        last = loss.to_numpy(dtype=float).ravel()[-max_epochs:]  # of this run
        n_last = math.ceil(_LAST_SHARE * len(last))
        if len(last) <= n_last:
            return
        gain = last[:-n_last].min() - last[-n_last:].min()
        if gain > _LEAST_GAIN * abs(last[-1]):
            warnings.warn(
                f"Training ended at {max_epochs} epochs, and the bound of the validation cells "
                f"still rose by {gain:.2g} nats per cell in the end: masks and effects are not "
                "final. Raise `max_epochs`, or leave it out to let early "
                "stopping end it.",
                UserWarning,
                stacklevel=settings.warnings_stacklevel,
            )

    def _identity(self) -> dict[str, Any]:
        """What tells training of this model on its data from other training."""
        settings_given = {
            name: value
            for name, value in self.init_params_["non_kwargs"].items()
            if isinstance(value, bool | int | float | str | NoneType)
        }
        return {
            "classes": type(self).__name__,
            "settings of the model": settings_given,
            "cells": names_hash(self.adata.obs_names),
            "genes": names_hash(self.gene_names),
            "perturbations": names_hash(self.perturbation_names),
        }

    def _split_indices(self, split_key: str, needs_validation: bool) -> list[np.ndarray]:
        column = obs_column(self.adata, split_key, "split_key").astype(str)
        wrong = sorted(set(column) - set(SPLITS))
        if wrong:
            raise ValueError(
                f"adata.obs[{split_key!r}] holds {listed(wrong)}; "
                f"a split is one of {listed(SPLITS)}."
            )
        train, val, test = (np.flatnonzero(column == split) for split in SPLITS)
        if not len(train):
            raise ValueError(f"adata.obs[{split_key!r}] leaves no cells to train on.")
        if needs_validation and not len(val):
            raise ValueError(
                f"adata.obs[{split_key!r}] has no 'val' cells, which early stopping needs. "
                "Mark some, or pass `early_stopping=False`."
            )
        return [train, val, test]

    def _prepare_module(self, train_indices: np.ndarray) -> None:
        statistics = training_statistics(
            self.adata_manager,
            train_indices,
            len(self.perturbation_names),
            counts=self.module.likelihood.is_of_counts,
        )
        untrained = self.perturbation_names[
            np.flatnonzero(statistics.n_cells_per_perturbation.numpy() == 0)
        ]
        if len(untrained):
            warnings.warn(
                f"{len(untrained)} perturbation(s) have no training cell: {listed(untrained)}. "
                "Nothing can be learned of them; where there is a prior, it is their posterior.",
                UserWarning,
                stacklevel=settings.warnings_stacklevel,
            )
        self.module.prepare(statistics)
        self.module.train()
        self.reference_cells_ = self._reference_cells(train_indices)
        packed = self.adata_manager.get_from_registry(REGISTRY_KEYS.PERTURBATIONS)[train_indices]
        kinds, _, n_cells = distinct_rows(packed)
        self.seen_conditions_ = {"packed": kinds, "n_cells": n_cells}

    def _reference_cells(self, train_indices: np.ndarray) -> dict[str, np.ndarray]:
        """Library sizes and covariates of training cells, which simulated cells take after.

        They are saved with the model, so that it needs no data to simulate.
        """
        some = np.sort(train_indices)
        if len(some) > _N_REFERENCE_CELLS:
            some = some[np.linspace(0, len(some) - 1, _N_REFERENCE_CELLS).astype(int)]
        columns: dict[str, list[np.ndarray]] = {}
        for tensors in self._make_data_loader(self.adata, indices=some):
            counts = tensors.pop(SCVI_KEYS.X_KEY)
            del tensors[REGISTRY_KEYS.PERTURBATIONS]
            library = counts.sum(-1, keepdim=True)
            tensors[SCVI_KEYS.OBSERVED_LIB_SIZE] = library.clamp(min=1)
            for key, values in tensors.items():
                columns.setdefault(key, []).append(values.numpy())
        return {key: np.concatenate(values) for key, values in columns.items()}
