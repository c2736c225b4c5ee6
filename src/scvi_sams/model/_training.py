"""Training."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from scvi import settings
from scvi.model._utils import use_distributed_sampler
from scvi.model.base import UnsupervisedTrainingMixin
from scvi.utils import unsupported_if_adata_minified

from scvi_sams.data._names import listed
from scvi_sams.data._sources import obs_column
from scvi_sams.data._statistics import training_statistics
from scvi_sams.model._base import PerturbationModel
from scvi_sams.train._best_weights import KeepBestWeights
from scvi_sams.train._plan import SAMSTrainingPlan

SPLITS = ("train", "val", "test")


class PerturbationTrainingMixin(UnsupervisedTrainingMixin, PerturbationModel):
    """scvi-tools' training with early stopping, best weights and named splits."""

    _training_plan_cls = SAMSTrainingPlan
    _max_steps = 30_000
    _patience_in_steps = 1_000

    @unsupported_if_adata_minified
    def train(
        self,
        max_epochs: int | None = None,
        *,
        split_key: str | None = None,
        batch_size: int = 512,
        early_stopping: bool = True,
        early_stopping_patience: int | None = None,
        gradient_clip_val: float | None = 100.0,
        datasplitter_kwargs: dict[str, Any] | None = None,
        callbacks: list[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Train the model.

        Training stops once the evidence lower bound of the validation cells (with the global
        terms at the scale of the *training* cells) has not improved for a while, and the weights
        of the best epoch are kept.

        Parameters
        ----------
        max_epochs
            Most epochs to train. By default as many as 30,000 steps take, at least 20.
        split_key
            Column of obs that says which cells train: ``"train"``, ``"val"`` or ``"test"``.
            Without it, a random tenth of the cells validates.
        batch_size
            Cells per step.
        early_stopping
            Whether to stop on the validation cells.
        early_stopping_patience
            Epochs without improvement after which to stop. By default as many as 1,000 steps
            take, at least 10.
        gradient_clip_val
            Largest norm of the gradient of a step; None for no limit.
        datasplitter_kwargs
            Passed on to :class:`~scvi.dataloaders.DataSplitter`.
        callbacks
            Further Lightning callbacks.
        **kwargs
            The other arguments of scvi-tools' ``train``: ``accelerator``, ``devices``,
            ``train_size``, ``validation_size``, ``plan_kwargs`` (see
            :class:`~scvi_sams.train.SAMSTrainingPlan`), and those of
            :class:`~scvi.train.Trainer`.

        Raises
        ------
        KeyError
            If ``split_key`` is no column.
        ValueError
            If its values are others than the three, or it leaves no cells to train or, with
            early stopping, to validate on; or if the data is minified.
        """
        datasplitter_kwargs = dict(datasplitter_kwargs or {})
        if split_key is not None:
            datasplitter_kwargs["external_indexing"] = self._split_indices(
                split_key, early_stopping
            )
        datamodule = self._data_splitter_cls(
            self.adata_manager,
            batch_size=batch_size,
            train_size=kwargs.pop("train_size", None),
            validation_size=kwargs.pop("validation_size", None),
            shuffle_set_split=kwargs.pop("shuffle_set_split", True),
            load_sparse_tensor=kwargs.pop("load_sparse_tensor", False),
            distributed_sampler=use_distributed_sampler(kwargs.get("strategy")),
            **datasplitter_kwargs,
        )
        datamodule.setup()
        self._prepare_module(datamodule.train_idx)

        steps_per_epoch = math.ceil(len(datamodule.train_idx) / batch_size)
        if max_epochs is None:
            max_epochs = max(math.ceil(self._max_steps / steps_per_epoch), 20)
        if early_stopping:
            callbacks = [*(callbacks or []), KeepBestWeights()]
            kwargs["early_stopping_patience"] = early_stopping_patience or max(
                math.ceil(self._patience_in_steps / steps_per_epoch), 10
            )
        kwargs.setdefault("log_every_n_steps", min(steps_per_epoch, 10))
        super().train(
            max_epochs=max_epochs,
            datamodule=datamodule,
            batch_size=batch_size,
            early_stopping=early_stopping,
            gradient_clip_val=gradient_clip_val,
            callbacks=callbacks or [],
            **kwargs,
        )

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
            self.adata_manager, train_indices, len(self.perturbation_names)
        )
        untrained = self.perturbation_names[
            np.flatnonzero(statistics.n_cells_per_perturbation.numpy() == 0)
        ]
        if len(untrained):
            warnings.warn(
                f"{len(untrained)} perturbation(s) have no training cell: {listed(untrained)}. "
                "Nothing can be learned of them; their posterior is the prior.",
                UserWarning,
                stacklevel=settings.warnings_stacklevel,
            )
        self.module.prepare(statistics)
        self.module.train()
