"""Simulated cells: what all counterfactual questions have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS as SCVI_KEYS

from scvi_sams._constants import REGISTRY_KEYS
from scvi_sams._scvi import _SCVI_UUID_KEY
from scvi_sams.model._conditions import Condition, ConditionsMixin
from scvi_sams.model._covariate_values import CovariateValuesMixin
from scvi_sams.model._latent import LatentStateMixin
from scvi_sams.module._numbers import is_number

Basal = Literal["prior", "control_cells"]


@dataclass(frozen=True)
class ReferenceCells:
    """Cells before any perturbation.

    Attributes
    ----------
    z_basal
        Basal states, of shape n x K.
    tensors
        Covariates, and library sizes or size factors, each n x columns.
    """

    z_basal: torch.Tensor
    tensors: dict[str, torch.Tensor]

    def __len__(self) -> int:
        return len(self.z_basal)

    def take(self, rows: slice) -> ReferenceCells:
        """Some of the cells."""
        return ReferenceCells(
            self.z_basal[rows], {key: values[rows] for key, values in self.tensors.items()}
        )


class SimulationMixin(ConditionsMixin, CovariateValuesMixin, LatentStateMixin):
    """Cells of given states, covariates and library sizes under any condition."""

    reference_cells_: dict[str, npt.NDArray[np.float32]]

    def _reference(
        self,
        n_cells: int,
        basal: Basal | AnnData,
        library_size: float | Literal["observed"],
        seed: int,
    ) -> ReferenceCells:
        """Random cells, whose basal states come from the prior or from cells.

        Covariates and library sizes are those of training cells, or of the cells that the
        states come from.
        """
        rng = np.random.default_rng(seed)
        check_library_size(library_size)
        is_data = isinstance(basal, AnnData | MuData)
        if not is_data and basal not in ("prior", "control_cells"):
            raise ValueError(
                f"`basal` must be 'prior', 'control_cells' or an AnnData; it is {basal!r}."
            )
        if isinstance(basal, str) and basal == "prior":
            columns = self.reference_cells_
            chosen = rng.integers(len(columns[SCVI_KEYS.OBSERVED_LIB_SIZE]), size=n_cells)
            tensors = {
                key: torch.as_tensor(values[chosen], device=self.device)
                for key, values in columns.items()
            }
            with seeded(seed):
                z_basal = torch.randn(n_cells, self.module.n_latent, device=self.device)
            cells = ReferenceCells(z_basal, tensors)
        else:
            with self._reading(None if isinstance(basal, str) else basal) as adata:
                candidates = np.arange(adata.n_obs)
                if isinstance(basal, str):
                    packed = self.get_anndata_manager(adata, required=True).get_from_registry(
                        REGISTRY_KEYS.PERTURBATIONS
                    )
                    width = packed.shape[1] // 2
                    candidates = np.flatnonzero((packed[:, width:] == 0).all(axis=1))
                    if not len(candidates):
                        raise ValueError(
                            "`basal='control_cells'`, and the data has no control cells. Use "
                            "`basal='prior'`, or pass an AnnData of the cells to start from."
                        )
                cells = self._basal_cells(adata, rng.choice(candidates, size=n_cells), seed)
        return self._with_library(cells, library_size)

    def _with_library(
        self, cells: ReferenceCells, library_size: float | Literal["observed"]
    ) -> ReferenceCells:
        """Cells of one library size, or size factor, unless that is ``"observed"``."""
        if library_size == "observed":
            return cells
        sizes = {
            key: torch.full_like(cells.tensors[key], library_size)
            for key in (SCVI_KEYS.OBSERVED_LIB_SIZE, SCVI_KEYS.SIZE_FACTOR_KEY)
            if key in cells.tensors
        }
        return replace(cells, tensors=cells.tensors | sizes)

    @contextmanager
    def _reading(self, adata: AnnData | MuData | None) -> Iterator[AnnData | MuData]:
        """The model's own data, or other data set up like it; data and model stay as they were."""
        if adata is None or adata is self.adata:
            if self.adata is None:
                raise ValueError(
                    "The model was loaded without data. Load it with data "
                    "(`load(path, adata)`), or give an AnnData here."
                )
            yield self._validate_anndata(None)
            return
        if not adata.n_obs:
            raise ValueError("The data that was given has no cells; choose some.")
        own: tuple[Any, Any] = self.adata, self.adata_manager
        stores = [self._setup_adata_manager_store, self._own_managers()]
        cells = _shallow_copy(adata)
        cells.uns.pop(_SCVI_UUID_KEY, None)  # of the data that was given
        try:
            yield self._validate_anndata(cells)
        finally:
            self._adata, self._adata_manager = own
            for store in stores:
                store.pop(cells.uns.get(_SCVI_UUID_KEY), None)

    @torch.inference_mode()
    def _basal_cells(
        self, adata: AnnData, indices: npt.NDArray[np.intp], seed: int
    ) -> ReferenceCells:
        """Cells of an AnnData with basal states from their posterior, in the order given."""
        unique, position = np.unique(indices, return_inverse=True)
        columns: dict[str, list[torch.Tensor]] = {}
        locs, scales = [], []
        shifts = self.module.perturbations.expected_shifts()
        with seeded(seed):  # data loaders draw from the global state
            for tensors in self._make_data_loader(adata=adata, indices=unique):
                state = self.module.latent_state(tensors, shifts, basal=True)
                locs.append(state.loc)
                scales.append(state.scale)
                counts = tensors.pop(SCVI_KEYS.X_KEY)
                tensors.setdefault(
                    SCVI_KEYS.OBSERVED_LIB_SIZE, counts.sum(-1, keepdim=True).clamp(min=1)
                )
                for key in self.reference_cells_:
                    columns.setdefault(key, []).append(tensors[key])
        loc, scale = torch.cat(locs)[position], torch.cat(scales)[position]
        with seeded(seed):
            z_basal = loc + scale * torch.randn_like(loc)
        rows = {
            key: torch.cat(values)[position].to(self.device) for key, values in columns.items()
        }
        return ReferenceCells(z_basal, rows)

    def _generative_input(
        self, cells: ReferenceCells, condition: Condition, shift: torch.Tensor | float
    ) -> dict[str, Any]:
        """What the decoder needs of cells that received a condition.

        ``shift`` is the offset of their states, n x K or K.
        """
        packed = np.concatenate([condition.members, condition.doses]).astype(np.float32)
        received = torch.as_tensor(packed if len(packed) else np.zeros(2, np.float32))
        return self.module._get_generative_input(
            {
                **cells.tensors,
                REGISTRY_KEYS.PERTURBATIONS: received.to(self.device).expand(len(cells), -1),
            },
            {
                "z": cells.z_basal + shift,
                "library": torch.log(cells.tensors[SCVI_KEYS.OBSERVED_LIB_SIZE]),
            },
        )

    def _expected_offset(self, condition: Condition) -> torch.Tensor:
        """Posterior mean of the offset of a condition, K."""
        if not len(condition.members):
            return torch.zeros(self.module.n_latent, device=self.device)
        rows = torch.as_tensor(condition.members, device=self.device)
        shifts = self.module.perturbations.expected_shifts(rows)
        doses = torch.as_tensor(condition.doses, dtype=shifts.dtype, device=shifts.device)
        return (doses[:, None] * shifts).sum(0)

    def _draw_offsets(self, condition: Condition, n_draws: int, seed: int) -> torch.Tensor:
        """Posterior draws of the offset of a condition, n_draws x K.

        A perturbation has the same draws in every condition.
        """
        total = torch.zeros(n_draws, self.module.n_latent, device=self.device)
        for member, dose in zip(condition.members.tolist(), condition.doses, strict=True):
            own_seed = np.random.SeedSequence([seed, member]).generate_state(1)[0]
            with seeded(int(own_seed)):
                row = torch.tensor([member], device=self.device)
                draw = self.module.perturbations.rsample(row, n_draws)
            total += float(dose) * draw.shift.squeeze(1)
        return total


def with_entries(
    cells: ReferenceCells, entries: Mapping[tuple[str, int], float]
) -> ReferenceCells:
    """Cells with some columns of their covariates set."""
    tensors = dict(cells.tensors)
    for (key, column), value in entries.items():
        tensors[key] = tensors[key].clone()
        tensors[key][:, column] = value
    return replace(cells, tensors=tensors)


def check_library_size(library_size: object) -> None:
    """Raise unless a library size is ``"observed"`` or a positive number."""
    if isinstance(library_size, str) and library_size == "observed":
        return
    if not is_number(library_size) or library_size <= 0:
        raise ValueError(
            f"`library_size` must be 'observed' or a positive number; it is {library_size!r}."
        )


def _shallow_copy(adata: AnnData | MuData) -> AnnData | MuData:
    """Data that can be written to, and shares its matrices with another if it is an AnnData."""
    if adata.is_view or isinstance(adata, MuData):
        return adata.copy()
    return AnnData(
        X=adata.X,
        obs=adata.obs.copy(),
        var=adata.var,
        obsm=dict(adata.obsm),
        uns=dict(adata.uns),
        # the layer None is X
        layers={key: layer for key, layer in adata.layers.items() if key is not None},
    )


def chosen(
    adata: AnnData | MuData, cells: Sequence[int] | npt.NDArray[Any] | None, name: str
) -> npt.NDArray[np.intp]:
    """Positions of cells that are named by positions or a boolean mask; of all if None.

    Raises
    ------
    ValueError
        If the argument of that name chooses no cells, or is neither.
    """
    if cells is None:
        return np.arange(adata.n_obs)
    try:
        positions = np.arange(adata.n_obs)[np.asarray(cells, dtype=None if len(cells) else int)]
    except (IndexError, TypeError) as error:
        data = "an AnnData, or " if name == "cells" else ""
        raise ValueError(
            f"`{name}` must be {data}positions or a boolean mask of the {adata.n_obs} cells: "
            f"{error}."
        ) from error
    if positions.ndim != 1:
        raise ValueError(f"`{name}` is a list of positions; it has {positions.ndim} dimensions.")
    if not positions.size:
        raise ValueError(f"`{name}` chooses no cells; name some, or leave it out.")
    return positions


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of a seed inside the block; the global state is put back."""
    with torch.random.fork_rng(list(range(torch.cuda.device_count()))):
        torch.manual_seed(seed)
        yield


def with_one(hidden: torch.Tensor) -> torch.Tensor:
    """Hidden states beside a one for the bias, n x (H + 1)."""
    return torch.cat([hidden, torch.ones_like(hidden[:, :1])], dim=-1)
