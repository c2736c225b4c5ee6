"""Where runs are executed: here, in several processes, or on Ray."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scvi_sams.benchmark._run import Run, execute
from scvi_sams.data._names import listed

if TYPE_CHECKING:
    from scvi_sams.benchmark._config import Benchmark

Record = dict[str, Any]

_TALKATIVE = ("lightning", "lightning.pytorch", "lightning.fabric", "scvi")

_DIED = (
    "A process died, perhaps for want of memory; fewer `n_workers` need less. (A script must "
    'start them under `if __name__ == "__main__":`.) Start again to continue where it ended.'
)


def check_installed(benchmark: Benchmark) -> None:
    """Whether there is what the engine and the search of hyper-parameters need.

    Raises
    ------
    ModuleNotFoundError
        If a package is not installed.
    """
    needed = {"ray": "ray"} if benchmark.engine == "ray" else {}
    if any(model.tune is not None for model in benchmark.models.values()):
        needed |= {"ray": "ray", "hyperopt": "hyperopt", "scib_metrics": "scib-metrics"}
    missing = [package for module, package in needed.items() if find_spec(module) is None]
    if missing:
        raise ModuleNotFoundError(
            f"`engine: ray` and `tune` need {listed(missing)}: pip install {' '.join(missing)}"
        )


def outcomes(benchmark: Benchmark, runs: Sequence[Run], out: Path) -> Iterator[Record]:
    """Execute runs and yield the record of each as it ends, in any order.

    Raises
    ------
    RuntimeError
        If a process dies, as when memory is short. What has ended is kept.
    """
    if benchmark.engine == "ray":
        yield from _on_ray(benchmark, runs, out)
    elif benchmark.n_workers == 1:
        with _quiet():
            for run in runs:
                yield execute(benchmark, run, out)
    else:
        yield from _in_processes(benchmark, runs, out)


def _in_processes(benchmark: Benchmark, runs: Sequence[Run], out: Path) -> Iterator[Record]:
    n_threads = max((os.cpu_count() or 1) // benchmark.n_workers, 1)
    with ProcessPoolExecutor(
        benchmark.n_workers,
        # a fork of a process in which torch has begun threads may hang
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(n_threads,),
    ) as pool:

        def first(pending: list[Future[Record]]) -> tuple[Future[Record], Record]:
            done = next(iter(wait(pending, return_when=FIRST_COMPLETED).done))
            return done, done.result()

        try:
            yield from _some_at_a_time(
                lambda run: pool.submit(execute, benchmark, run, out),
                first,
                runs,
                benchmark.n_workers,
            )
        except BrokenProcessPool as error:
            raise RuntimeError(_DIED) from error


def _on_ray(benchmark: Benchmark, runs: Sequence[Run], out: Path) -> Iterator[Record]:
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    task = ray.remote(num_cpus=1, num_gpus=benchmark.gpus_per_run)(execute)

    def first(pending: list[Any]) -> tuple[Any, Record]:
        done = ray.wait(pending)[0][0]
        return done, ray.get(done)

    try:
        yield from _some_at_a_time(
            lambda run: task.remote(benchmark, run, out.absolute()),
            first,
            runs,
            benchmark.n_workers,
        )
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        raise RuntimeError(_DIED) from error


def _some_at_a_time(
    submit: Callable[[Run], Any],
    first: Callable[[list[Any]], tuple[Any, Record]],
    runs: Sequence[Run],
    n_workers: int,
) -> Iterator[Record]:
    """Keep so many runs going, and yield what they return."""
    left = deque(runs)
    pending: list[Any] = []
    while left or pending:
        while left and len(pending) < n_workers:
            pending.append(submit(left.popleft()))
        done, record = first(pending)
        pending.remove(done)
        yield record


def _begin(n_threads: int) -> None:
    import torch

    torch.set_num_threads(n_threads)
    _silence()


def _silence() -> dict[logging.Logger, int]:
    """Keep Lightning and scvi-tools from saying for each run what hardware and files there are."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    before = {logger: logger.level for logger in loggers}
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    return before


@contextmanager
def _quiet() -> Iterator[None]:
    before = _silence()
    try:
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)
