"""Seeds that leave no trace."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from scvi import settings

_SET_BY_SEEDING = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "XLA_FLAGS")


@contextmanager
def random_state_restored() -> Iterator[None]:
    """Put back all that ``scvi.settings.seed = …`` sets."""
    seed, environment = settings.seed, {name: os.environ.get(name) for name in _SET_BY_SEEDING}
    cudnn = torch.backends.cudnn
    deterministic, benchmark = cudnn.deterministic, cudnn.benchmark
    # the legacy state is what seeding sets
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(list(range(torch.cuda.device_count()))):
        try:
            yield
        finally:
            settings.seed = seed  # seeds anew, so the states come after it
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)
            cudnn.deterministic, cudnn.benchmark = deterministic, benchmark
            for name, value in environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
