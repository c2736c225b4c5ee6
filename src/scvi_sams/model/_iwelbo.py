"""How well the model predicts cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi.utils import unsupported_if_adata_minified

from scvi_sams.model._base import PerturbationModel
from scvi_sams.module._predictive import log_mean_exp

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

_ELEMENTS_AT_ONCE = 2**24


class PredictiveLikelihoodMixin(PerturbationModel):
    """Likelihood of held-out cells."""

    @torch.inference_mode()
    @unsupported_if_adata_minified
    def get_predictive_iwelbo(
        self,
        adata: AnnData | MuData | None = None,
        indices: Sequence[int] | None = None,
        *,
        n_particles: int = 100,
        batch_size: int | None = None,
    ) -> pd.Series:
        r"""Importance-weighted bound on the likelihood of each cell.

        .. math::
            \log \frac1P \sum_{p=1}^P
            \frac{p(x_i | z^b_p, M_p, E_p) \, p(z^b_p)}{q(z^b_p | x_i, M_p, E_p)},
            \qquad M_p, E_p \sim q

        Each particle's masks and effects are drawn once and shared by all cells; they are not
        scored (Burda et al. 2016; Bereket & Karaletsos 2023).

        Parameters
        ----------
        adata
            Data set up like the model's, usually held out; the model's own by default.
        indices
            Cells to use; all by default.
        n_particles
            Number of particles P.
        batch_size
            Cells at a time.

        Returns
        -------
        One value per cell, in nats, under the names of the cells.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If ``n_particles`` is not positive, or no cells are chosen.
        """
        if n_particles < 1:
            raise ValueError(f"`n_particles` must be at least 1; it is {n_particles}.")
        self._check_if_trained(warn=False)
        adata = self._validate_anndata(adata)
        cells = np.arange(adata.n_obs)
        if indices is not None:
            cells = cells[np.asarray(indices, dtype=None if len(indices) else int)]
        if not len(cells):
            raise ValueError("`indices` chooses no cells.")
        posterior = self.module.perturbations
        draw = posterior.rsample(posterior.everything, n_particles)
        values = []
        for tensors in self._make_data_loader(adata=adata, indices=cells, batch_size=batch_size):
            per_pass = max(_ELEMENTS_AT_ONCE // tensors[SCVI_KEYS.X_KEY].numel(), 1)
            weights = [
                self.module.log_importance_weights(tensors, len(some.mask), some)
                for some in draw.split(per_pass)
            ]
            values.append(log_mean_exp(torch.cat(weights)).cpu())
        return pd.Series(
            torch.cat(values).numpy(), index=adata.obs_names[cells], name="predictive_iwelbo"
        )
