"""How much memory training will take, compared with what is free."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
import torch
from lightning.pytorch.callbacks import Callback
from scvi import settings
from torch import nn

from scvi_sams.module._fused import BACKWARD_ROWS

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from scvi_sams.module._module import SAMSVAEModule

_FLOAT, _DOUBLE = 4, 8  # bytes
_N_COPIES = 6  # of weights: gradients, two moments of Adam, best, last good, a copy in the making
_N_BATCHES = 5  # arrays of cells × genes: the mini-batch as it is read, moved and encoded
_N_SQUARES = 6  # arrays of hidden units × hidden units, of double precision
# bytes per gene that calibration takes: of simulated cells, and of each condition's effects
_OF_CELLS, _OF_CONDITION = 100_000, 800
_OF_GPU = 2**30  # bytes between, of the cells that the likelihood takes at once on a GPU
_CONTROL_GROUP = Path("/proc/self/cgroup")
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
# folder of each version of control groups; files of their limit and use; names of cached files
_VERSIONS = {
    "0::": ("", "memory.max", "memory.current", ("inactive_file", "active_file")),
    "memory:": (
        "memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
}


class TrainingMemory(NamedTuple):
    r"""Estimate of the memory that training takes at its peak, on top of the data.

    .. math::
        6 W + \max\{4 G (B (L P + 5) + L \min\{P B, 1280\}), \; a G + b C G + 48 H^2\}

    bytes for weights of W bytes, mini-batches of B cells, G genes, P particles, L layers whose
    outputs are genes, and calibration on C conditions after training, with H hidden units.
    Numbers of copies are counted in the code; a = 100,000 and b = 800 bytes lie above measured
    peaks. A GB comes to the step on a GPU, where the likelihood takes more cells at once; the
    last two terms are on the CPU all the same. L counts a layer of dispersions of counts twice:
    the terms without means take it too.

    Attributes
    ----------
    weights, step
        Bytes of each.
    cells, conditions
        Bytes that calibration takes for simulated cells, and for what is known of conditions.
    """

    weights: int
    step: int
    cells: int
    conditions: int

    @classmethod
    def of(
        cls, module: SAMSVAEModule, n_genes: int, batch_size: int, n_conditions: int
    ) -> TrainingMemory:
        """Estimate for a module, and mini-batches and conditions of those numbers."""
        weights = sum(weight.numel() * weight.element_size() for weight in module.parameters())
        likelihood, n_rows = module.likelihood, module.n_particles * batch_size
        is_twice = likelihood.is_of_counts and isinstance(likelihood.log_dispersion, nn.Linear)
        n_layers = len(likelihood.heads) + is_twice
        rows = n_layers * (n_rows + min(n_rows, BACKWARD_ROWS)) + _N_BATCHES * batch_size
        return cls(
            weights=_N_COPIES * weights,
            step=_FLOAT * n_genes * rows,
            cells=n_genes * _OF_CELLS,
            conditions=n_genes * _OF_CONDITION * n_conditions
            + _N_SQUARES * _DOUBLE * likelihood.to_genes.in_features**2,
        )

    def by_device(self, device: torch.device) -> list[tuple[torch.device, int, bool]]:
        """Devices that training on one takes memory of, how many bytes, and whether for a step."""
        if device.type == "cpu":
            calibration = self.cells + self.conditions
            most = max(self.step, calibration)
            return [(device, self.weights + most, self.step > calibration)]
        step = self.step + _OF_GPU
        return [
            (device, self.weights + max(step, self.cells), step > self.cells),
            (torch.device("cpu"), self.conditions, False),
        ]


class WarnOfMemory(Callback):
    """Warn before training if it will take more memory than there is.

    What comes after too little memory is no error that could be caught: the operating system
    ends the process.

    Parameters
    ----------
    needed
        What training takes.
    """

    def __init__(self, needed: TrainingMemory) -> None:
        self._needed = needed

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare it with what is free."""
        if not trainer.is_global_zero:
            return
        for device, needed, is_of_step in self._needed.by_device(pl_module.device):
            whose = "GPU" if device.type == "cuda" else "machine"
            if device.type == "cpu":
                needed *= trainer.num_devices  # processes that share it
            free = free_memory(device)
            if free is None or needed <= free:
                continue
            remedy = "Take fewer genes, such as the highly variable ones"
            if is_of_step:
                remedy += ", or lower `batch_size` or the model's `n_particles`"
            warnings.warn(
                f"Training takes about {needed / 1e9:.1f} GB of the {whose}'s memory on top of "
                f"the data, and {free / 1e9:.1f} GB are free: it may be ended without another "
                f"word. {remedy}.",
                UserWarning,
                stacklevel=settings.warnings_stacklevel,
            )


def free_memory(device: torch.device) -> int | None:
    """Bytes of a device that a process may still take; None where that is not known.

    Of a CPU they are those of the machine, or of the control group that a container or batch
    system put the process in, if that has less.
    """
    if device.type == "cuda":
        # what torch holds in reserve is free to it
        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserve
    if device.type != "cpu":
        return None
    return max(min([psutil.virtual_memory().available, *_left_in_control_groups()]), 0)


def _left_in_control_groups() -> list[int]:
    """Bytes up to the limit of the process's control group, and of those around it."""
    try:
        lines = _CONTROL_GROUP.read_text().splitlines()
    except OSError:  # another operating system
        return []
    left = []
    for line in lines:
        for version, (kind, of_limit, of_use, of_cached) in _VERSIONS.items():
            _, found, path = line.rpartition(version)
            if found:
                root = _CONTROL_GROUPS / kind
                folder = root / path.strip("/")
                groups = [one for one in (folder, *folder.parents) if one.is_relative_to(root)]
                left += [_left_in(group, of_limit, of_use, of_cached) for group in groups]
    return [one for one in left if one is not None]


def _left_in(group: Path, of_limit: str, of_use: str, of_cached: tuple[str, ...]) -> int | None:
    """Bytes up to the limit of a control group; files that are merely cached count as free."""
    try:
        limit, used = (int((group / name).read_text()) for name in (of_limit, of_use))
        statistics = dict(
            line.split() for line in (group / "memory.stat").read_text().splitlines()
        )
        return limit - used + sum(int(statistics.get(name, 0)) for name in of_cached)
    except (OSError, ValueError):  # not visible from here, or without a limit
        return None
