"""Mini-batches of a screen, in memory or on a disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi import settings
from scvi.data import AnnTorchDataset
from scvi.dataloaders import AnnDataLoader, DataSplitter

from scvi_sams.data._blocks import Rows, in_order, n_batches, shuffled
from scvi_sams.data._disk import is_on_disk, read
from scvi_sams.module._numbers import is_number

if TYPE_CHECKING:
    from scvi.data import AnnDataManager

_N_AHEAD = 4  # mini-batches


def screen_loader(adata_manager: AnnDataManager, **kwargs: Any) -> Iterable[dict[str, Any]]:
    """scvi-tools' loader of data in memory, or one of data on a disk.

    Parameters
    ----------
    adata_manager
        Manager of the data.
    **kwargs
        As :class:`~scvi.dataloaders.AnnDataLoader` takes them.
    """
    if is_on_disk(adata_manager.get_from_registry(SCVI_KEYS.X_KEY)):
        return DiskLoader(adata_manager, **kwargs)
    return AnnDataLoader(adata_manager, **kwargs)


class ScreenSplitter(DataSplitter):
    """scvi-tools' splitter with :func:`screen_loader`."""

    data_loader_cls = staticmethod(screen_loader)


class DiskLoader:
    """Mini-batches of cells whose counts stay on a disk.

    Everything else of a cell (perturbations, batch, covariates) is short, and in memory. Counts
    are read ahead, in a thread of its own.

    Parameters
    ----------
    adata_manager
        Manager of the data.
    indices
        Cells to load; all by default.
    batch_size
        Cells per mini-batch.
    shuffle
        Whether in random order, anew at each pass. Cells are drawn in blocks of neighbours (see
        :mod:`._blocks`), so a file in which neighbours are alike should be shuffled once.
    distributed_sampler
        Whether each of several devices has its own share.
    drop_last, drop_dataset_tail, load_sparse_tensor, pin_memory, num_workers, persistent_workers
        As :class:`~scvi.dataloaders.AnnDataLoader` takes them, without meaning here: mini-batches
        are of about equal size, and there is one thread that reads.
    """

    def __init__(
        self,
        adata_manager: AnnDataManager,
        *,
        indices: Any = None,
        batch_size: int = 128,
        shuffle: bool = False,
        distributed_sampler: bool = False,
        drop_last: bool = False,
        drop_dataset_tail: bool = False,
        load_sparse_tensor: bool = False,
        pin_memory: bool = False,
        num_workers: int = 0,
        persistent_workers: bool = False,
    ) -> None:
        n_obs = adata_manager.adata.n_obs
        rows = np.arange(n_obs) if indices is None else np.asarray(indices)
        self._rows: Rows = (
            np.flatnonzero(rows) if rows.dtype == bool else np.asarray(rows, np.intp)
        )
        self._batch_size, self._shuffle = batch_size, shuffle
        is_distributed = distributed_sampler and torch.distributed.is_initialized()
        self._replica = torch.distributed.get_rank() if is_distributed else 0
        self._n_replicas = torch.distributed.get_world_size() if is_distributed else 1
        self._n_passes = 0
        self._x = adata_manager.get_from_registry(SCVI_KEYS.X_KEY)
        others = [key for key in adata_manager.data_registry if key != SCVI_KEYS.X_KEY]
        self._others = AnnTorchDataset(adata_manager, getitem_tensors=others)

    def __len__(self) -> int:
        return n_batches(len(self._rows), self._batch_size * self._n_replicas)

    def set_epoch(self, epoch: int) -> None:
        """Say which pass comes next, on which the order of several devices depends."""
        self._n_passes = epoch

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        if self._shuffle:
            # devices must agree on who reads what
            is_alone = self._n_replicas == 1
            seed = int(torch.randint(2**31, ())) if is_alone else settings.seed or 0
            requests = shuffled(
                self._rows,
                self._batch_size,
                np.random.default_rng([seed, self._n_passes]),
                replica=self._replica,
                n_replicas=self._n_replicas,
            )
        else:
            requests = in_order(self._share(), self._batch_size)
        self._n_passes += 1
        for rows, counts in _ahead(read(self._x, requests)):
            yield self._tensors(rows, counts)

    def _share(self) -> Rows:
        """The cells of this device; some are in two shares, so that all are as large."""
        n_each = n_batches(len(self._rows), self._n_replicas)
        share = np.arange(self._replica * n_each, (self._replica + 1) * n_each)
        return self._rows[share % len(self._rows)]

    def _tensors(self, rows: Rows, counts: Any) -> dict[str, torch.Tensor]:
        dense = counts.toarray() if sparse.issparse(counts) else counts
        # of a backed file, scvi-tools gives rows in the file's order
        sorted_rows, inverse = np.unique(rows, return_inverse=True)
        others = self._others[sorted_rows]
        found = {SCVI_KEYS.X_KEY: dense.astype(np.float32, copy=False)}
        found |= {key: values[inverse] for key, values in others.items()}
        return {key: torch.from_numpy(np.ascontiguousarray(x)) for key, x in found.items()}


def check_sizes(train_size: float | None, validation_size: float | None) -> None:
    """Check shares of cells to train and to validate on, as far as they are given.

    Raises
    ------
    ValueError
        If one is no share, or they add up to more than 1.
    """
    if train_size is not None and not (is_number(train_size) and 0 < train_size <= 1):
        raise ValueError(f"`train_size` must be above 0 and at most 1; it is {train_size!r}.")
    if validation_size is None:
        return
    if not is_number(validation_size) or not 0 <= validation_size < 1:
        raise ValueError(
            f"`validation_size` must be at least 0 and less than 1; it is {validation_size!r}."
        )
    if train_size is not None and train_size + validation_size > 1:
        raise ValueError(
            f"`train_size` and `validation_size` add up to {train_size + validation_size:g}; they "
            "are shares of the same cells, 1 together at most."
        )


def _ahead(batches: Iterator[Any]) -> Iterator[Any]:
    """The same, with some made in a thread while others are in use."""
    end = object()
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting = [thread.submit(next, batches, end) for _ in range(_N_AHEAD)]
        while (found := waiting.pop(0).result()) is not end:
            waiting.append(thread.submit(next, batches, end))
            yield found
