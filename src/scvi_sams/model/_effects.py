"""Effects of perturbations on latent dimensions, and of those on genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import torch

from scvi_sams.model._arms import ArmsMixin
from scvi_sams.model._conditions import NO_PERTURBATION
from scvi_sams.model._response import Normalization, Response

if TYPE_CHECKING:
    from anndata import AnnData


class PerturbationEffectsMixin(ArmsMixin):
    """What the model learned of its perturbations and of its latent dimensions."""

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
            var=pd.DataFrame(index=self._dimension_names),
            layers={
                "inclusion_probability": inclusion.cpu().numpy(),
                "effect_mean": mean.cpu().numpy(),
                "effect_sd": sd.cpu().numpy(),
            },
        )

    @torch.inference_mode()
    def get_dimension_responses(
        self,
        *,
        n_samples: int = 2_500,
        normalization: Normalization | None = None,
        seed: int = 0,
    ) -> AnnData:
        r"""Response of each gene to each latent dimension.

        .. math::
            r_{kg} = E[y_g | z + s_k u_k] - E[y_g | z], \qquad
            |s_k| = \sqrt{\frac{\sum_t \pi_{tk} \, \bar e_{tk}^2}{\sum_t \pi_{tk}}}

        for states z from their prior, the unit vector :math:`u_k` of dimension k, and a shift
        :math:`s_k` as the perturbations make it that include the dimension with a probability
        :math:`\pi_{tk}` above 0.5 and shift it by :math:`\bar e_{tk}`: of their root mean square,
        in the direction of their sum. Dimensions that no perturbation includes are shifted by 1.

        Parameters
        ----------
        n_samples
            States to average over.
        normalization, seed
            As in :meth:`get_average_treatment_effects`.

        Returns
        -------
        AnnData of shape latent dimensions × genes with the responses in ``X``; ``obs["shift"]``:
        the shift; ``obs["n_perturbations"]``: the number of perturbations that include the
        dimension with a probability above 0.5.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If an argument is out of range.
        """
        self._check_if_trained(warn=False)
        if n_samples < 2:
            raise ValueError(f"`n_samples` must be at least 2; it is {n_samples}.")
        response = Response(normalization, self.module.likelihood)
        cells = self._reference(n_samples, "prior", "observed", seed)
        shifts = self._typical_shifts()
        none = torch.zeros_like(shifts)
        at_rest = self._mean_response(response, cells, NO_PERTURBATION, none)
        rows = [
            self._mean_response(response, cells, NO_PERTURBATION, shift) - at_rest
            for shift in torch.diag(shifts)
        ]
        inclusion = self.module.perturbations.inclusion_probability.cpu().numpy()
        return ad.AnnData(
            X=torch.stack(rows).cpu().numpy(),
            obs=pd.DataFrame(
                {
                    "shift": shifts.cpu().numpy(),
                    "n_perturbations": np.sum(inclusion > 0.5, axis=0),
                },
                index=self._dimension_names,
            ),
            var=pd.DataFrame(index=self.gene_names),
            uns={
                "responses": {
                    "normalization": response.name,
                    "n_samples": n_samples,
                    "seed": seed,
                }
            },
        )

    def _typical_shifts(self) -> torch.Tensor:
        """Shift of each dimension as the perturbations that include it make it, K."""
        posterior = self.module.perturbations
        inclusion = posterior.inclusion_probability
        weight = torch.where(inclusion > 0.5, inclusion, 0.0)  # T x K
        effect, _ = posterior.effect_mean_and_sd()
        total = weight.sum(0)
        size = ((weight * effect.square()).sum(0) / total.clamp(min=1e-12)).sqrt()
        direction = torch.where((weight * effect).sum(0) < 0, -1.0, 1.0)
        return torch.where(total > 0, direction * size, 1.0)

    @property
    def _dimension_names(self) -> list[str]:
        return [f"z{k}" for k in range(self.module.n_latent)]
