"""What model and cells say together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtr, ndtri
from scvi.utils import unsupported_if_adata_minified

from scvi_sams.model._ate import TreatmentEffectsMixin
from scvi_sams.model._observed import ObservedEffectsMixin
from scvi_sams.model._response import Normalization, Response
from scvi_sams.model._simulation import seeded

if TYPE_CHECKING:
    from anndata import AnnData

Array = npt.NDArray[np.float64]


class CombinedEffectsMixin(TreatmentEffectsMixin, ObservedEffectsMixin):
    """Effects that a model predicts and cells correct."""

    @torch.inference_mode()
    @unsupported_if_adata_minified
    def get_combined_effects(
        self,
        perturbations: str | Sequence[str] | None = None,
        *,
        adata: AnnData | None = None,
        indices: Sequence[int] | npt.NDArray[np.intp] | None = None,
        n_samples: int = 2_500,
        normalization: Normalization | None = None,
        credible_mass: float = 0.95,
        seed: int = 0,
    ) -> AnnData:
        r"""Average treatment effects of the model, corrected by what cells show.

        .. math::
            \hat a_{tg} \sim N(a_{tg} + \delta_{tg}, \sigma_{tg}^2), \qquad
            \delta_{tg} \sim N(0, \tau_t^2 \tau_g^2), \qquad
            E[a_{tg} + \delta_{tg} | \hat a_{tg}] = a_{tg}
            + \frac{\tau_t^2 \tau_g^2}{\tau_t^2 \tau_g^2 + \sigma_{tg}^2} (\hat a_{tg} - a_{tg})

        with the effect :math:`\hat a_{tg}` that cells show against control cells, of sampling
        variance :math:`\sigma_{tg}^2`, the effect :math:`a_{tg}` of the model and its discrepancy
        :math:`\delta_{tg}` (Kennedy & O'Hagan 2001). Shifts of a shared latent space hold what
        perturbations have in common; what a perturbation does to a gene of its own, such as the
        loss of the transcript that a knockout targets, is left to the discrepancy. Its variances
        are estimated by the method of moments, as in small area estimation (Fay & Herriot 1979),
        so conditions and genes that the model gets right stay as they are.

        Parameters
        ----------
        perturbations
            Conditions at dose 1, written like the labels of the setup; by default every
            perturbation.
        adata
            Cells to correct by, set up like the model's; the model's own by default.
        indices
            Positions of these cells; by default all of ``adata``, and of the model's own data the
            training and validation cells.
        n_samples, normalization, credible_mass, seed
            As in :meth:`get_average_treatment_effects`.

        Returns
        -------
        AnnData of shape conditions × genes, as of :meth:`get_average_treatment_effects`; the
        effects of conditions without cells, or all without control cells, are those of the model
        alone. In addition
        ``layers["model"]`` and ``layers["observed"]`` hold the two effects that were combined (NaN
        without cells), ``layers["weight"]`` the weight of the second, and
        ``obs["n_cells_observed"]`` the number of cells.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If a perturbation is unknown, no cells are chosen, or the model's data is minified and
            so has no counts to correct by.
        """
        self._check_if_trained(warn=False)
        conditions = self._read_conditions(perturbations, None)
        if adata is None and indices is None:
            indices = np.concatenate([self.train_indices, self.validation_indices])
        adata = self._set_up(adata)
        chosen = np.arange(adata.n_obs)
        if indices is not None:
            chosen = chosen[np.asarray(indices, dtype=None if len(indices) else int)]
        if not len(chosen):
            raise ValueError("`indices` chooses no cells.")
        ate = self.get_average_treatment_effects(
            perturbations,
            n_samples=n_samples,
            normalization=normalization,
            credible_mass=credible_mass,
            seed=seed,
        )
        response = Response(normalization, self.module.likelihood)
        with seeded(seed):  # data loaders draw from the global state
            found, observed, variance = self._observed_effects(adata, chosen, conditions, response)
        predicted = np.asarray(ate.X, dtype=float)
        has_cells = np.asarray(np.isfinite(variance).all(axis=1))
        residual = np.where(has_cells[:, None], observed - predicted, 0)
        error = np.where(has_cells[:, None], variance, 1)
        weight = np.zeros_like(predicted)
        discrepancy = _discrepancy(residual[has_cells], error[has_cells])
        total = discrepancy + error[has_cells]
        weight[has_cells] = discrepancy / np.where(total > 0, total, 1)
        mean = predicted + weight * residual
        # the moments may say that the model is right where it does not itself claim to be
        of_model = np.asarray(ate.layers["sd"], dtype=float) ** 2
        of_model[has_cells] = np.maximum(of_model[has_cells], discrepancy)
        sd = np.sqrt((1 - weight) ** 2 * of_model + weight**2 * error)
        reach = ndtri((1 + credible_mass) / 2) * sd
        with np.errstate(divide="ignore", invalid="ignore"):
            lfsr = np.where(sd > 0, ndtr(-np.abs(mean) / sd), np.where(mean == 0, 1.0, 0.0))
        layers = {"sd": sd, "lower": mean - reach, "upper": mean + reach, "lfsr": lfsr}
        for key, values in layers.items():
            alone = ate.layers[key]
            ate.layers[key] = np.where(has_cells[:, None], values, alone).astype(np.float32)
        ate.layers["model"] = ate.X.copy()
        ate.layers["observed"] = observed.astype(np.float32)
        ate.layers["weight"] = weight.astype(np.float32)
        ate.X = mean.astype(np.float32)
        ate.obs["n_cells_observed"] = found
        return ate


def _discrepancy(residual: Array, error: Array) -> Array:
    r"""Variance :math:`\tau_t^2 \tau_g^2` of discrepancies, C x G, by the method of moments.

    Parameters
    ----------
    residual
        Observed less predicted effects, C x G.
    error
        Their sampling variances, C x G.
    """
    excess = residual**2 - error
    of_condition = np.maximum(excess.mean(axis=1, keepdims=True), 0) if excess.size else excess
    of_gene = np.maximum(excess.mean(axis=0, keepdims=True), 0) if excess.size else excess
    mean = of_condition.mean() if excess.size else 0.0
    return of_condition * of_gene / mean if mean > 0 else np.zeros_like(excess)
