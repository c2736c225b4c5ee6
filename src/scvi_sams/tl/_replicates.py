"""Replicated cells, summed up condition by condition while they are sampled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi.utils import track

from scvi_sams._constants import MODULE_KEYS
from scvi_sams._scvi import MODULE_KEYS as SCVI_MODULE_KEYS
from scvi_sams.model._simulation import seeded

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scvi_sams.model._base import PerturbationModel
    from scvi_sams.model._received import CellConditions
    from scvi_sams.module._module import SAMSVAEModule
    from scvi_sams.module._perturbations import PerturbationDraw

_ELEMENTS_AT_ONCE = 2**20

LAYERS = ("observed", "replicated", "replicated_sd", "pvalue", "z")

Statistics = dict[str, npt.NDArray[np.float64]]
Scale = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


@torch.inference_mode()
def replicated_statistics(
    model: PerturbationModel,
    adata: AnnData | MuData,
    cells: npt.NDArray[np.intp],
    conditions: CellConditions,
    *,
    n_samples: int,
    basal: Literal["posterior", "prior"],
    batch_size: int | None,
    seed: int,
    silent: bool,
) -> Iterator[tuple[int, Statistics, Statistics]]:
    """Statistics of each condition and of its replicates.

    Each cell is read once, in the order of the conditions; what is held at any time are the sums
    of the control and of the conditions of one mini-batch.

    Yields
    ------
    Row of the condition, its statistics (1 x G) and the replicated ones (n_samples x G). ATEs are
    left out of the control's own, and of all if there is none.
    """
    order = np.argsort(conditions.code, kind="stable")
    order = order[conditions.code[order] >= 0]
    row_of_cell = conditions.code[order]
    has_control = conditions.table["perturbation"].iloc[0] == conditions.spelling.control
    control: tuple[_Sums | None, _Sums | None] = (None, None)
    pending: dict[int, tuple[_Sums, _Sums]] = {}
    n_read = 0
    with seeded(seed):  # reading cells draws a seed, too
        posterior = model.module.perturbations
        draw = posterior.rsample(posterior.everything, n_samples)
        loader = model._make_data_loader(adata=adata, indices=cells[order], batch_size=batch_size)
        summed: _Summed | None = None
        for tensors in track(loader, "Replicating cells", total=len(loader), disable=silent):
            x = tensors[SCVI_KEYS.X_KEY].to(model.device)  # B x G
            summed = summed or _Summed(x, model.module.likelihood.is_of_counts)
            rows = row_of_cell[n_read : n_read + len(x)]
            n_read += len(x)
            parts = {
                int(row): slice(*np.searchsorted(rows, [row, row + 1])) for row in np.unique(rows)
            }
            for row in parts:
                if row not in pending:
                    n_cells = int(conditions.table["n_cells"].iloc[row])
                    pending[row] = summed.start(n_cells, 1), summed.start(n_cells, n_samples)
            for row, part in parts.items():
                pending[row][0].add(0, summed.terms(x[None, part]))
            first = 0
            for some in draw.split(max(_ELEMENTS_AT_ONCE // x.numel(), 1)):
                terms = summed.terms(_replicate(model.module, tensors, some, basal))
                for row, part in parts.items():
                    pending[row][1].add(first, {k: v[:, part] for k, v in terms.items()})
                first += len(some.mask)
            last = int(rows[-1]) if n_read < len(order) else None
            for row in [row for row in pending if row != last]:
                sums = pending.pop(row)
                yield row, sums[0].statistics(control[0]), sums[1].statistics(control[1])
                if row == 0 and has_control:
                    control = sums


def compare(
    kind: str,
    observed: npt.NDArray[np.float64],
    replicated: npt.NDArray[np.float64],
    least: float,
) -> Statistics:
    """Compare a statistic of the data (G) with replicated ones (R x G); each result is G.

    ``least`` is what one count adds to the statistic; 0 of real values.
    """
    mean = replicated.mean(0)
    scales: list[Scale] = [np.asarray]
    if kind == "variance" and least > 0:
        scales.append(lambda values: np.log(values + least))
    elif kind == "variance" or (kind == "mean" and least > 0):
        scales.append(np.cbrt)
    distances = []
    for scale in scales:
        values = scale(replicated)  # R x G
        difference = scale(observed) - values.mean(0)
        spread = np.maximum(values.std(0, ddof=1), scale(mean + least) - scale(mean))
        z = np.divide(difference, spread, out=np.zeros_like(difference), where=spread > 0)
        distances.append(z)
    return {
        "observed": observed,
        "replicated": mean,
        "replicated_sd": replicated.std(0, ddof=1),
        "pvalue": ((replicated > observed) + 0.5 * (replicated == observed)).mean(0),
        "z": np.where(np.abs(distances[0]) < np.abs(distances[-1]), distances[0], distances[-1]),
    }


def _replicate(
    module: SAMSVAEModule,
    tensors: dict[str, torch.Tensor],
    draw: PerturbationDraw,
    basal: Literal["posterior", "prior"],
) -> torch.Tensor:
    """Cells of a mini-batch anew, once for each of R draws of all masks and effects; R x B x G."""
    n_draws = len(draw.mask)
    inference = module._regular_inference(
        **module._get_inference_input(tensors), n_samples=n_draws, draw=draw
    )
    if basal == "prior":
        z, z_basal = inference[SCVI_MODULE_KEYS.Z_KEY], inference[MODULE_KEYS.Z_BASAL]
        inference[SCVI_MODULE_KEYS.Z_KEY] = z - z_basal + torch.randn_like(z_basal)
    generative = module.generative(**module._get_generative_input(tensors, inference))
    x = generative[SCVI_MODULE_KEYS.PX_KEY].sample()  # R x B x G, or B x G if R is 1
    return x.view(n_draws, *tensors[SCVI_KEYS.X_KEY].shape)


class _Summed:
    """What is summed over cells.

    Parameters
    ----------
    x
        Some cells, of shape B x G. Of real values their mean is taken off before squares are
        summed, which keeps the digits of the variance.
    is_of_counts
        Whether values are counts.
    """

    def __init__(self, x: torch.Tensor, is_of_counts: bool) -> None:
        self.is_of_counts = is_of_counts
        self.centre = torch.zeros_like(x[0]) if is_of_counts else x.mean(0)  # G

    def terms(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Each summand of cells (... x B x G), of their shape."""
        if not self.is_of_counts:
            x = x - self.centre
            return {"x": x, "square": x.square(), "y": x}
        y = torch.log2(1 + 1e4 * x / x.sum(-1, keepdim=True).clamp(min=1))
        return {"x": x, "square": x.square(), "zeros": (x == 0).to(x.dtype), "y": y}

    def start(self, n_cells: int, n_samples: int) -> _Sums:
        """Sums of ``n_cells`` cells to come, of each replicate."""
        return _Sums(n_cells, n_samples, self.centre.cpu().double().numpy())


class _Sums:
    """Sums over the cells of one condition, from which its statistics follow.

    Parameters
    ----------
    n_cells, n_samples
        Number of cells, and of replicates R.
    centre
        What was taken off each gene, of shape G.
    """

    def __init__(self, n_cells: int, n_samples: int, centre: npt.NDArray[np.float64]) -> None:
        self.n_cells = n_cells
        self.n_samples = n_samples
        self.centre = centre
        self.sums: Statistics = {}  # R x G each

    def add(self, first: int, terms: dict[str, torch.Tensor]) -> None:
        """Add cells (R' x B x G) to the replicates from ``first`` on."""
        for name, values in terms.items():
            total = values.sum(1).cpu().double().numpy()  # R' x G
            sums = self.sums.setdefault(name, np.zeros((self.n_samples, len(self.centre))))
            sums[first : first + len(total)] += total

    def statistics(self, control: _Sums | None) -> Statistics:
        """Each statistic, R x G; the ATE against ``control``."""
        n = self.n_cells
        mean = self.sums["x"] / n
        squares = np.maximum(self.sums["square"] - n * mean**2, 0)
        found = {"mean": mean + self.centre, "variance": squares / (n - 1)}
        if "zeros" in self.sums:
            found["zeros"] = self.sums["zeros"] / n
        if control is not None:
            found["ate"] = self.sums["y"] / n - control.sums["y"] / control.n_cells
        return found
