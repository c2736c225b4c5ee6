"""Processes that have imported everything when they start, so that they can be killed early."""

from __future__ import annotations

import multiprocessing
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["tests.train.test_checkpoint", "tests.model.test_saving_interrupted"]
)


def _work(function: Callable[..., None], to_test: Any, args: tuple[Any, ...]) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    function(to_test, *args)


@contextmanager
def forked(function: Callable[..., None], *args: Any) -> Iterator[tuple[Any, Any]]:
    """A process that calls the function with a pipe to the test and ``args``; the pipe's end here.

    It is killed if it still runs in the end.
    """
    here, there = _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(target=_work, args=(function, there, args))
    process.start()
    there.close()  # so that reading ends when the process does
    try:
        yield process, here
    finally:
        process.kill()
        process.join()
        here.close()


def rest(pipe: Any) -> list[Any]:
    """What a process still tells, up to its end."""
    told = []
    while True:
        try:
            told.append(pipe.recv())
        except EOFError:
            return told
