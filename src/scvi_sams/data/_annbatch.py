"""Reading zarr stores through annbatch."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain
from typing import Any

import zarr
from annbatch import Loader
from annbatch.abc import Sampler
from zarr.storage import LocalStore

from scvi_sams.data._blocks import Request, Rows

_PIPELINE, _DEFAULT = "codec_pipeline.path", "zarr.core.codec_pipeline.BatchedCodecPipeline"


def read_by_annbatch(x: Any, requests: Iterator[Request]) -> Iterator[tuple[Rows, Any]]:
    """Mini-batches of rows; see :func:`scvi_sams.data._disk.read`."""
    store = x.store if isinstance(x, zarr.Array) else x.group.store
    pipeline = zarr.config.get(_PIPELINE)
    if isinstance(store, LocalStore) and find_spec("zarrs") and pipeline == _DEFAULT:
        pipeline = "zarrs.ZarrsCodecPipeline"  # several times faster
    loader = Loader(
        batch_sampler=RequestSampler(requests), return_index=True, preload_to_gpu=False
    )
    loader.add_dataset(x)
    batches = iter(loader)
    with zarr.config.set({_PIPELINE: pipeline}):  # annbatch opens the arrays at the first batch
        first = next(batches, None)
    for found in batches if first is None else chain([first], batches):
        yield found["index"], found["X"]


class RequestSampler(Sampler):
    """Hands requests on to annbatch.

    Parameters
    ----------
    requests
        Blocks to read, and how to divide their rows.
    """

    batch_size = None
    shuffle = None

    def __init__(self, requests: Iterator[Request]) -> None:
        self._requests = requests

    def n_batches(self, n_obs: int) -> int:
        """Not known before everything is read."""
        raise NotImplementedError

    def validate(self, n_obs: int) -> None:
        """Requests are made for the matrix."""

    def _sample(self, n_obs: int) -> Iterator[Any]:
        for request in self._requests:
            yield {"requests": request.blocks, "splits": request.batches}
