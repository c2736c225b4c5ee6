"""Effects as cells show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scvi import REGISTRY_KEYS as SCVI_KEYS

from scvi_sams._constants import REGISTRY_KEYS
from scvi_sams.model._conditions import NO_PERTURBATION, Condition, received
from scvi_sams.model._response import Response
from scvi_sams.model._simulation import SimulationMixin

if TYPE_CHECKING:
    from anndata import AnnData

Array = npt.NDArray[np.float64]

_PRIOR_CELLS = 10


class Moments(NamedTuple):
    """Responses of groups of cells.

    Attributes
    ----------
    n_cells
        Cells of each group, of shape C x 1.
    mean, variance
        Mean response and unbiased variance between cells, C x G; NaN without cells, or of one.
    """

    n_cells: npt.NDArray[np.int64]
    mean: Array
    variance: Array

    @property
    def error(self) -> Array:
        """Sampling variance of the mean, C x G.

        The variance of a group leans on that of all groups with the weight of ten cells, since a
        rare gene without a count in a few cells is not without variance.
        """
        own = np.maximum(self.n_cells - 1, 0)
        variance = own * np.nan_to_num(self.variance) + _PRIOR_CELLS * self.within
        with np.errstate(divide="ignore", invalid="ignore"):
            error = variance / (own + _PRIOR_CELLS) / self.n_cells
        return np.where(self.n_cells > 1, error, np.nan)

    @property
    def within(self) -> Array:
        """Variance between cells of a group, pooled over the groups; G."""
        weights = np.maximum(self.n_cells - 1, 0)
        return np.nansum(weights * self.variance, axis=0) / max(weights.sum(), 1)


class ObservedEffectsMixin(SimulationMixin):
    """Means of groups of cells, read from data set up like the model's."""

    def _conditions_of(
        self, adata: AnnData, indices: npt.NDArray[np.intp]
    ) -> tuple[list[Condition], npt.NDArray[np.intp]]:
        """Conditions of cells, control first and then by their numbers, and that of each cell."""
        manager = self.get_anndata_manager(adata, required=True)
        packed = manager.get_from_registry(REGISTRY_KEYS.PERTURBATIONS)[indices]
        kinds, inverse, n_cells = np.unique(
            packed, axis=0, return_inverse=True, return_counts=True
        )
        is_control = (np.split(kinds, 2, axis=1)[1] == 0).all(axis=1)
        order = np.lexsort([-n_cells, ~is_control])
        position = np.argsort(order)
        conditions = [
            NO_PERTURBATION if is_control[row] else Condition("", *received(kinds[row]))
            for row in order
        ]
        return conditions, position[inverse.ravel()]

    def _observed_effects(
        self,
        adata: AnnData,
        indices: npt.NDArray[np.intp],
        conditions: Sequence[Condition],
        response: Response,
    ) -> tuple[npt.NDArray[np.int64], Array, Array]:
        """Numbers of cells of conditions, their effects against control cells, and variances.

        Of shapes C, C x G and C x G; NaN where there are too few cells to tell.
        """
        seen, group = self._conditions_of(adata, indices)
        moments = self._moments(adata, indices, group, len(seen), [response])[0]
        where = {(tuple(one.members), tuple(one.doses)): row for row, one in enumerate(seen)}
        rows = [where.get((tuple(one.members), tuple(one.doses)), -1) for one in conditions]
        control = where.get(((), ()), -1)
        absent = np.full((1, len(self.gene_names)), np.nan)  # of what has no cells
        mean, error = np.vstack([moments.mean, absent]), np.vstack([moments.error, absent])
        n_cells = np.append(moments.n_cells.ravel(), 0)
        return n_cells[rows], mean[rows] - mean[control], error[rows] + error[control]

    def _moments(
        self,
        adata: AnnData,
        indices: npt.NDArray[np.intp],
        group: npt.NDArray[np.intp],
        n_groups: int,
        responses: Sequence[Response],
    ) -> list[Moments]:
        """Moments of each response in groups of cells; cells of the group -1 are left out."""
        n_cells = np.bincount(group[group >= 0], minlength=n_groups)[:, None]
        shape = (n_groups, len(self.gene_names))
        sums = [(np.zeros(shape), np.zeros(shape)) for _ in responses]
        kept = np.flatnonzero(group >= 0)
        start = 0
        for tensors in self._make_data_loader(adata=adata, indices=indices[kept]):
            x = tensors[SCVI_KEYS.X_KEY]
            where = group[kept[start : start + len(x)]]
            start += len(x)
            member = sparse.csr_matrix(
                (np.ones(len(x)), (where, np.arange(len(x)))), shape=(n_groups, len(x))
            )
            for response, (first, second) in zip(responses, sums, strict=True):
                y = response.observed(x).cpu().double().numpy()
                first += member @ y
                second += member @ y**2
        with np.errstate(divide="ignore", invalid="ignore"):
            means = [first / n_cells for first, _ in sums]
            return [
                Moments(n_cells, mean, np.maximum(second - n_cells * mean**2, 0) / (n_cells - 1))
                for mean, (_, second) in zip(means, sums, strict=True)
            ]
