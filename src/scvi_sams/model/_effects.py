"""Effects of perturbations on latent dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import pandas as pd
import torch

from scvi_sams.model._base import PerturbationModel

if TYPE_CHECKING:
    from anndata import AnnData


class PerturbationEffectsMixin(PerturbationModel):
    """What the model learned of its perturbations."""

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
        inclusion = posterior.inclusion_probability
        mean, sd = posterior.effect_mean_and_sd()
        return ad.AnnData(
            X=(inclusion * mean).cpu().numpy(),
            obs=pd.DataFrame(
                {"n_cells": posterior.n_cells.cpu().numpy().astype(int)},
                index=pd.Index(self.perturbation_names.astype(str)),
            ),
            var=pd.DataFrame(index=[f"z{k}" for k in range(self.module.n_latent)]),
            layers={
                "inclusion_probability": inclusion.cpu().numpy(),
                "effect_mean": mean.cpu().numpy(),
                "effect_sd": sd.cpu().numpy(),
            },
        )
