"""Effects of perturbations on latent dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import torch
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi.utils import unsupported_if_adata_minified

from scvi_sams._constants import ADATA_KEYS
from scvi_sams.model._base import PerturbationModel
from scvi_sams.module._predictive import log_mean_exp

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

_ELEMENTS_AT_ONCE = 2**24


class PerturbationEffectsMixin(PerturbationModel):
    """What the model learned of its perturbations, and how well it predicts cells."""

    @torch.inference_mode()
    def get_perturbation_effects(self) -> AnnData:
        r"""Posterior of the effect of each perturbation on each latent dimension.

        Returns
        -------
        AnnData of shape perturbations × latent dimensions.

        - ``X``: :math:`E[m_{tk} e_{tk}]`, the expected shift at dose 1
        - ``layers["inclusion_probability"]``: :math:`q(m_{tk} = 1)`
        - ``layers["effect_mean"]``, ``layers["effect_sd"]``: mean and standard deviation of
          :math:`e_{tk}` given that it is included
        - ``obs["n_cells"]``: number of training cells

        Raises
        ------
        RuntimeError
            If the model is not trained.
        """
        self._check_if_trained(warn=False)
        posterior = self.module.perturbations
        n_latent = self.module.n_latent
        return ad.AnnData(
            X=posterior.expected_shifts().cpu().numpy(),
            obs=pd.DataFrame(
                {"n_cells": posterior.n_cells.cpu().numpy().astype(int)},
                index=pd.Index(self.perturbation_names.astype(str)),
            ),
            var=pd.DataFrame(index=[f"z{k}" for k in range(n_latent)]),
            layers={
                "inclusion_probability": posterior.mask.inclusion_probability.cpu().numpy(),
                "effect_mean": posterior.effects.loc.cpu().numpy().copy(),
                "effect_sd": posterior.effects.scale.cpu().numpy(),
            },
        )

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
        everything = torch.arange(len(self.perturbation_names), device=self.device)
        shifts = self.module.perturbations.rsample_shifts(everything, n_particles)  # P x T x K
        values = []
        for tensors in self._make_data_loader(adata=adata, indices=cells, batch_size=batch_size):
            per_pass = max(_ELEMENTS_AT_ONCE // tensors[SCVI_KEYS.X_KEY].numel(), 1)
            weights = [
                self.module.log_importance_weights(tensors, len(some), some)
                for some in shifts.split(per_pass)
            ]
            values.append(log_mean_exp(torch.cat(weights)).cpu())
        return pd.Series(
            torch.cat(values).numpy(), index=adata.obs_names[cells], name="predictive_iwelbo"
        )

    def annotate(self, adata: AnnData | MuData | None = None) -> None:
        """Write the results where scanpy finds them.

        Adds to ``adata``

        - ``obsm["X_sams"]``, ``obsm["X_sams_basal"]``: perturbed and basal state of each cell
        - ``uns["sams"]``: ``effects`` and ``inclusion_probability`` (perturbations × latent
          dimensions), ``perturbation_names``, ``n_cells`` and the ``settings`` of the model

        All of it survives ``write_h5ad``.

        Parameters
        ----------
        adata
            Data set up like the model's; the model's own by default.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        """
        effects = self.get_perturbation_effects()
        adata = self._validate_anndata(adata)
        for key, kind in [(ADATA_KEYS.X_PERTURBED, "perturbed"), (ADATA_KEYS.X_BASAL, "basal")]:
            adata.obsm[key] = self.get_latent_representation(adata, kind=kind)
        settings = {
            name: value
            for name, value in self.init_params_["non_kwargs"].items()
            if isinstance(value, str | bool | int | float)
        }
        adata.uns[ADATA_KEYS.RESULTS] = {
            "effects": np.asarray(effects.X),
            "inclusion_probability": effects.layers["inclusion_probability"],
            "perturbation_names": effects.obs_names.to_numpy(dtype=object),
            "n_cells": effects.obs["n_cells"].to_numpy(),
            "settings": {"model": type(self).__name__, **settings},
        }
