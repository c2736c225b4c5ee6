"""Values that are logged once an epoch."""

from __future__ import annotations

import torch
from torchmetrics import Metric


class EpochMean(Metric):
    r"""Mean over the cells of an epoch.

    .. math::
        \bar v = \frac{\sum_b n_b v_b}{\sum_b n_b}

    with the value v_b of each mini-batch b and its n_b cells, on all devices.
    """

    full_state_update = False  # of an update, which torchmetrics asks to be said

    total: torch.Tensor
    n_cells: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "n_cells"):
            self.add_state(name, torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, value: torch.Tensor | float, n_cells: int) -> None:
        """Add a mini-batch."""
        self.total = self.total + value * n_cells
        self.n_cells = self.n_cells + n_cells

    def compute(self) -> torch.Tensor:
        """The mean so far."""
        return self.total / self.n_cells
