"""Effects as cells show them: against control cells of the same batch and covariates."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi import settings

from scvi_sams._constants import REGISTRY_KEYS
from scvi_sams._scvi import _ADATA_MINIFY_TYPE_UNS_KEY
from scvi_sams.data._distinct import distinct_rows
from scvi_sams.data._names import listed
from scvi_sams.model._conditions import NO_PERTURBATION, Condition, received
from scvi_sams.model._response import Response
from scvi_sams.model._simulation import SimulationMixin

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

Array = npt.NDArray[np.float64]

_PRIOR_CELLS = 10
_MOST_GROUPS = 300
_NAMES_AT_ONCE = 20_000


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
    def expected_error(self) -> Array:
        """The same if the cells of all groups vary alike, C x G."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.n_cells > 1, self.within / self.n_cells, np.nan)

    @property
    def within(self) -> Array:
        """Variance between cells of a group, pooled over the groups; G."""
        weights = np.maximum(self.n_cells - 1, 0)
        return np.nansum(weights * self.variance, axis=0) / max(weights.sum(), 1)


def names_hash(names: Sequence[str] | pd.Index) -> str:
    """Hash of names in their order."""
    found = hashlib.sha256()
    for start in range(0, len(names), _NAMES_AT_ONCE):
        some = pd.Index(names[start : start + _NAMES_AT_ONCE]).astype(str)
        found.update(("\n".join(some) + "\n").encode())
    return found.hexdigest()


class ObservedEffects(NamedTuple):
    """Effects of conditions on a response, as cells show them.

    Attributes
    ----------
    n_cells
        Cells of each condition in strata that have control cells, of shape C.
    effect
        Mean difference from the control cells of their stratum, C x G; NaN where too few cells
        are there to tell.
    error
        Sampling variance of ``effect``, C x G.
    expected_error
        The same if cells of all conditions vary alike, C x G.
    """

    n_cells: npt.NDArray[np.int64]
    effect: Array
    error: Array
    expected_error: Array


class ObservedEffectsMixin(SimulationMixin):
    """Means of groups of cells, read from data set up like the model's."""

    training_cells_: str

    def _is_training_data(self, adata: AnnData | MuData) -> bool:
        """Whether the indices of training cells, which are saved with the model, are of this."""
        return names_hash(adata.obs_names) == self.training_cells_

    def _conditions_of(
        self, adata: AnnData, indices: npt.NDArray[np.intp]
    ) -> tuple[list[Condition], npt.NDArray[np.intp]]:
        """Conditions of cells, control first and then by their numbers, and that of each cell."""
        manager = self.get_anndata_manager(adata, required=True)
        packed = manager.get_from_registry(REGISTRY_KEYS.PERTURBATIONS)[indices]
        kinds, code, n_cells = distinct_rows(packed)
        is_control = (np.split(kinds, 2, axis=1)[1] == 0).all(axis=1)
        order = np.lexsort([-n_cells, ~is_control])
        position = np.argsort(order)
        conditions = [
            NO_PERTURBATION if is_control[row] else Condition("", *received(kinds[row]))
            for row in order
        ]
        return conditions, position[code]

    def _check_has_counts(self, adata: AnnData | MuData | None) -> None:
        """Raise if data that was given holds latent states in place of counts."""
        if adata is not None and _ADATA_MINIFY_TYPE_UNS_KEY in adata.uns:
            raise ValueError(
                "The data is minified and has no counts to look at; give data that has them."
            )

    def _warn_of_other_doses(
        self, adata: AnnData, cells: npt.NDArray[np.intp], conditions: Sequence[Condition]
    ) -> None:
        seen = {one.key for one in self._conditions_of(adata, cells)[0]}
        together = {members for members, _ in seen}
        missed = [one for one in conditions if one.key not in seen and one.key[0] in together]
        if missed:
            warnings.warn(
                f"{listed(map(self._name_of, missed))} has cells at other doses only, so its "
                "effect is that of the model alone. Ask for doses that cells received: `doses=`.",
                UserWarning,
                stacklevel=settings.warnings_stacklevel,
            )

    def _observed_effects(
        self,
        adata: AnnData,
        indices: npt.NDArray[np.intp],
        conditions: Sequence[Condition],
        responses: Sequence[Response],
    ) -> list[ObservedEffects]:
        r"""Effects that cells show on each response, within strata.

        .. math::
            \hat a_{tg} = \sum_b \frac{n_{tb}}{n_t} (\bar y_{tbg} - \bar y_{0bg})

        with means of the cells of condition t and of control cells in stratum b, one combination
        of batch and categorical covariates. Were batches pooled, a condition with most of its
        cells in one batch would show that batch's effect.
        """
        seen, group = self._conditions_of(adata, indices)
        where = {one.key: row for row, one in enumerate(seen)}
        asked = np.array([where.get(one.key, -1) for one in conditions])
        is_control = group == where.get(NO_PERTURBATION.key, -1)
        stratum = self._strata(adata, indices)
        n_strata = int(stratum.max(initial=-1)) + 1
        controls = self._moments(
            adata, indices, np.where(is_control, stratum, -1), n_strata, responses
        )
        usable = ~is_control & (controls[0].n_cells[stratum, 0] > 1)
        # of those asked, and of large ones, on whose variances those of few cells lean
        rows = np.unique(np.append(asked[asked >= 0], np.arange(min(len(seen), _MOST_GROUPS))))
        code = np.full(len(seen) + 1, len(rows))
        code[rows] = np.arange(len(rows))
        of_cell = np.where(usable & (code[group] < len(rows)), code[group], -1)
        found = self._moments(
            adata,
            indices,
            of_cell,
            len(rows) + 1,  # the last has no cells
            responses,
            less=([one.mean for one in controls], stratum),
        )
        shares = np.zeros((len(rows) + 1, n_strata))
        np.add.at(shares, (of_cell[of_cell >= 0], stratum[of_cell >= 0]), 1)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1)
        asked = code[asked]
        return [
            ObservedEffects(
                one.n_cells[asked, 0],
                one.mean[asked],
                (one.error + shares**2 @ np.nan_to_num(control.error))[asked],
                (one.expected_error + shares**2 @ np.nan_to_num(control.expected_error))[asked],
            )
            for one, control in zip(found, controls, strict=True)
        ]

    def _strata(self, adata: AnnData, indices: npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
        """Code of each cell's batch and categorical covariates, from 0."""
        manager = self.get_anndata_manager(adata, required=True)
        columns = [np.asarray(manager.get_from_registry(SCVI_KEYS.BATCH_KEY))[indices]]
        if SCVI_KEYS.CAT_COVS_KEY in manager.data_registry:
            columns.append(np.asarray(manager.get_from_registry(SCVI_KEYS.CAT_COVS_KEY))[indices])
        return distinct_rows(np.hstack(columns)).code

    def _moments(
        self,
        adata: AnnData,
        indices: npt.NDArray[np.intp],
        group: npt.NDArray[np.intp],
        n_groups: int,
        responses: Sequence[Response],
        less: tuple[Sequence[Array], npt.NDArray[np.integer]] | None = None,
    ) -> list[Moments]:
        """Moments of each response in groups of cells; cells of the group -1 are left out.

        ``less`` is subtracted from the responses: rows for each of them, and each cell's row.
        """
        n_cells = np.bincount(group[group >= 0], minlength=n_groups)[:, None]
        shape = (n_groups, len(self.gene_names))
        sums = [(np.zeros(shape), np.zeros(shape)) for _ in responses]
        kept = np.flatnonzero(group >= 0)
        start = 0
        for tensors in self._make_data_loader(adata=adata, indices=indices[kept]):
            x = tensors[SCVI_KEYS.X_KEY]
            cells = kept[start : start + len(x)]
            start += len(x)
            member = sparse.csr_matrix(
                (np.ones(len(x)), (group[cells], np.arange(len(x)))), shape=(n_groups, len(x))
            )
            for number, (response, (first, second)) in enumerate(
                zip(responses, sums, strict=True)
            ):
                y = response.observed(x).cpu().double().numpy()
                if less is not None:
                    y = y - less[0][number][less[1][cells]]
                first += member @ y
                second += member @ y**2
        with np.errstate(divide="ignore", invalid="ignore"):
            means = [first / n_cells for first, _ in sums]
            return [
                Moments(n_cells, mean, np.maximum(second - n_cells * mean**2, 0) / (n_cells - 1))
                for mean, (_, second) in zip(means, sums, strict=True)
            ]
