"""Training on several devices at once."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from scvi import settings

from scvi_sams._scvi import use_distributed_sampler


def n_processes(devices: int | list[int] | str, num_nodes: int = 1) -> int:
    """Number of processes that train, one per device.

    Parameters
    ----------
    devices
        As Lightning takes it; ``"auto"`` is one, as in scvi-tools, and ``-1`` all GPUs.
    num_nodes
        Number of machines.

    Raises
    ------
    ValueError
        If there would be none.
    """
    if devices == "auto":
        per_node = 1
    elif devices in (-1, "-1"):
        per_node = max(torch.cuda.device_count(), 1)
    elif isinstance(devices, list):
        per_node = len(devices)
    elif isinstance(devices, str) and "," in devices:
        per_node = len([device for device in devices.split(",") if device.strip()])
    elif (isinstance(devices, str) and devices.strip().isdigit()) or (
        isinstance(devices, Integral) and not isinstance(devices, bool)
    ):
        per_node = int(devices)
    else:
        per_node = 0
    if per_node < 1:
        raise ValueError(
            "`devices` must be a number of them, at least 1, or a list of their numbers; it is "
            f"{devices!r}."
        )
    return per_node * num_nodes


def data_parallel(strategy: Any) -> Any:
    """Strategy of training that averages the gradients of several processes.

    The loss is a mean over cells and N_t are numbers of *all* training cells, so that the mean of
    the processes' gradients is the gradient of one batch of all their cells. Until masks are set
    free, these have no gradient, which Lightning must be told.

    Parameters
    ----------
    strategy
        As given to ``train``; None for one that suits.

    Raises
    ------
    ValueError
        If ``strategy`` is not data-parallel.
    """
    if strategy in (None, "auto"):
        strategy = "ddp"
    if not use_distributed_sampler(strategy):
        raise ValueError(
            f"Several devices train together with `strategy='ddp'`; {strategy!r} is another."
        )
    if isinstance(strategy, DDPStrategy) or "find_unused_parameters" in strategy:
        return strategy
    return f"{strategy}_find_unused_parameters_true"


def check_common_split(is_given: bool) -> None:
    """Raise unless every process divides the cells alike.

    Parameters
    ----------
    is_given
        Whether the split does not depend on chance.

    Raises
    ------
    ValueError
        If every process would draw its own.
    """
    if not is_given and settings.seed is None:
        raise ValueError(
            "Each device has a process that draws training and validation cells, and without a "
            "seed these differ. Set one, `scvi.settings.seed = 0`, or pass `split_key=`."
        )
