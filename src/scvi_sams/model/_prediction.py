"""Predicted cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from mudata import MuData
from scipy import sparse

from scvi_sams.model._conditions import Condition, Doses
from scvi_sams.model._simulation import (
    ReferenceCells,
    SimulationMixin,
    check_library_size,
    chosen,
    seeded,
    with_entries,
)
from scvi_sams.module._numbers import check_whole

if TYPE_CHECKING:
    from anndata import AnnData

_ELEMENTS_AT_ONCE = 2**22


class PredictionMixin(SimulationMixin):
    """Cells under conditions that they did, or did not, receive."""

    @torch.inference_mode()
    def predict(
        self,
        perturbations: str | Sequence[str] | None = None,
        *,
        doses: Doses | None = None,
        cells: AnnData | Sequence[int] | npt.NDArray[Any] | None = None,
        n_cells: int = 500,
        kind: Literal["counts", "mean"] = "counts",
        library_size: float | Literal["observed"] = "observed",
        covariates: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> AnnData:
        r"""Predict cells that receive conditions, seen ones or not.

        .. math::
            z_i = z^b_i + \sum_t d_t \, E[m_t \odot e_t], \qquad x_i \sim p(x | z_i, \ell_i, c_i)

        with basal states :math:`z^b_i` from the prior, and library sizes and covariates of
        training cells; or with all three those of given cells, for their counterfactuals. Masks
        and effects are at their posterior mean: they are the same in all cells of a condition,
        and what is not known of them is said by :meth:`get_average_treatment_effects`.

        Parameters
        ----------
        perturbations
            Conditions, written like the labels of the setup, such as ``"KLF1"`` or
            ``"KLF1+MAP2K6"``, or the control; every perturbation by default. Combinations need not
            have been seen.
        doses
            One dose for all conditions or one for each, a number or, for combinations, text such
            as ``"1.0+0.5"``; 1 by default.
        cells
            Cells to predict the counterfactuals of: an AnnData set up like the model's, or
            positions in the model's own data.
        n_cells
            Cells of each condition, if no cells are given.
        kind
            ``"counts"``, with observation noise, or ``"mean"``, without.
        library_size
            Library size of every cell (with size factors: size factor), in place of observed ones.
        covariates
            Values that all cells take, such as ``{"cell_type": "K562"}``; each of a list of values
            makes cells of its own.
        seed
            Of the random numbers; the global state is not touched.

        Returns
        -------
        AnnData of shape predicted cells × genes, condition after condition.

        - ``X``: counts (CSR), or expected counts; real values with ``gene_likelihood="normal"``
        - ``obs``: ``perturbation`` and ``dose``; ``trained`` and ``dose_support`` as in
          :meth:`get_average_treatment_effects`; ``cell``, the name of the given cell; the
          covariates of the model
        - ``uns["prediction"]``: the settings, and the ``units`` of ``X``

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If a perturbation, covariate or value is unknown (the nearest known ones are named),
            no cells are chosen, or an argument is out of range.
        """
        self._check_if_trained(warn=False)
        if kind not in ("counts", "mean"):
            raise ValueError(f"`kind` must be 'counts' or 'mean'; it is {kind!r}.")
        check_whole(n_cells, "n_cells", least=1)
        check_whole(seed, "seed")
        conditions = self._read_conditions(perturbations, doses)
        settings = self._covariate_settings(covariates)
        names = None
        if cells is None:
            reference = self._reference(n_cells, "prior", library_size, seed)
        else:
            reference, names = self._given_cells(cells, library_size, seed)
        about = self._obs_of(conditions).drop(columns="n_cells")
        x, obs = [], []
        for _, entries in settings:
            changed = with_entries(reference, entries)
            for number, condition in enumerate(conditions):
                own_seed = np.random.SeedSequence([seed, number + 1]).generate_state(1)[0]
                x.append(self._predicted(changed, condition, kind, int(own_seed)))
                rows = about.iloc[[number] * len(changed)].reset_index(drop=True)
                if names is not None:
                    rows["cell"] = names
                obs.append(rows.assign(**self._covariates_of(changed.tensors)))
        table = pd.concat(obs, ignore_index=True)
        table.index = table.index.astype(str)
        is_of_counts = self.module.likelihood.is_of_counts
        units = "unit of the data" if not is_of_counts else "counts"
        return ad.AnnData(
            X=sparse.vstack(x, format="csr") if sparse.issparse(x[0]) else np.concatenate(x),
            obs=table,
            var=pd.DataFrame(index=self.gene_names),
            uns={
                "prediction": {
                    "kind": kind,
                    "units": units if kind == "counts" else f"expected {units}",
                    "basal": "prior" if cells is None else "cells",
                    "library_size": library_size,
                    "seed": seed,
                }
            },
        )

    def _predicted(
        self, cells: ReferenceCells, condition: Condition, kind: str, seed: int
    ) -> sparse.csr_matrix | npt.NDArray[np.float32]:
        """Values of cells that receive a condition, n x G."""
        offset = self._expected_offset(condition)
        at_once = max(_ELEMENTS_AT_ONCE // len(self.gene_names), 1)
        is_sparse = kind == "counts" and self.module.likelihood.is_of_counts
        parts = []
        with seeded(seed):
            for start in range(0, len(cells), at_once):
                some = cells.take(slice(start, start + at_once))
                measured = self.module.generative(
                    **self._generative_input(some, condition, offset)
                )
                values = measured["px"].sample() if kind == "counts" else measured["px"].mean
                array = values.cpu().numpy().astype(np.float32)
                parts.append(sparse.csr_matrix(array) if is_sparse else array)
        return sparse.vstack(parts, format="csr") if is_sparse else np.concatenate(parts)

    def _given_cells(
        self,
        cells: AnnData | Sequence[int] | npt.NDArray[Any],
        library_size: float | Literal["observed"],
        seed: int,
    ) -> tuple[ReferenceCells, npt.NDArray[np.object_]]:
        """Basal states and covariates of given cells, and their names."""
        check_library_size(library_size)
        other = cells if isinstance(cells, ad.AnnData | MuData) else None
        with self._reading(other) as adata:
            indices = chosen(adata, cells if other is None else None, "cells")
            reference = self._with_library(self._basal_cells(adata, indices, seed), library_size)
            return reference, adata.obs_names.to_numpy()[indices]
