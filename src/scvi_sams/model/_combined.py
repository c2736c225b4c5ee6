"""What model and cells say together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scvi.utils import unsupported_if_adata_minified

from scvi_sams.model._ate import TreatmentEffectsMixin, layers_of
from scvi_sams.model._conditions import Doses
from scvi_sams.model._discrepancy import Comparison
from scvi_sams.model._observed import ObservedEffectsMixin
from scvi_sams.model._response import Normalization, Response
from scvi_sams.model._simulation import chosen, seeded
from scvi_sams.model._uncertainty import Uncertainty

if TYPE_CHECKING:
    from anndata import AnnData


class CombinedEffectsMixin(TreatmentEffectsMixin, ObservedEffectsMixin):
    """Effects that a model predicts and cells correct."""

    @torch.inference_mode()
    @unsupported_if_adata_minified
    def get_combined_effects(
        self,
        perturbations: str | Sequence[str] | None = None,
        *,
        doses: Doses | None = None,
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
            \delta_{tg} \sim \sum_s \pi_{ts} \, N(0, \lambda_s^2 s_g^2)

        with the effect :math:`\hat a_{tg}` that cells show against control cells of the same
        batch and categorical covariates, of sampling variance :math:`\sigma_{tg}^2`; the effect
        :math:`a_{tg}` of the model, which is zero where its masks are off, or about normal; and
        its discrepancy :math:`\delta_{tg}` (Kennedy & O'Hagan 2001), in units of the standard
        deviation :math:`s_g` between cells. Shifts of a shared latent space hold what
        perturbations have in common; what one of them does to a gene of its own, such as the
        loss of the transcript that a knockout targets, is left to the discrepancy. It is zero for
        most genes (:math:`\lambda_0 = 0`) and large for few: the weights :math:`\pi` of its
        scales were learned from the training cells of all conditions (adaptive shrinkage, Stephens
        2017), and those of a condition lean on them with the weight of ten genes. What is returned
        is the posterior of :math:`a_{tg} + \delta_{tg}`; if most of the cells are training cells,
        what the model had already learned from them does not count twice.

        Parameters
        ----------
        perturbations
            Conditions, written like the labels of the setup; by default every perturbation.
        doses
            As in :meth:`get_average_treatment_effects`; only cells at these doses correct.
        adata
            Cells to correct by, set up like the model's; the model's own by default.
        indices
            Positions of these cells; by default all of ``adata``, and of the data that the model
            was trained on the training and validation cells.
        n_samples, normalization, credible_mass, seed
            As in :meth:`get_average_treatment_effects`.

        Returns
        -------
        AnnData of shape conditions × genes, as of :meth:`get_average_treatment_effects`; the
        effects of conditions without cells, or all without control cells, are those of the model
        alone. In addition
        ``layers["model"]`` and ``layers["observed"]`` hold the two effects that were combined (NaN
        without cells), ``layers["weight"]`` how far from the first to the second the result lies,
        and ``obs["n_cells_observed"]`` the number of cells.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If a perturbation is unknown, no cells are chosen, or the model's data is minified and
            so has no counts to correct by.

        Warns
        -----
        UserWarning
            If conditions have cells at other doses only.
        """
        self._check_if_trained(warn=False)
        self._check_has_counts(adata)
        conditions = self._read_conditions(perturbations, doses)
        ate, effects = self._treatment_effects(
            conditions,
            n_samples=n_samples,
            normalization=normalization,
            credible_mass=credible_mass,
            seed=seed,
        )
        response = Response(normalization, self.module.likelihood)
        with self._reading(adata) as data, seeded(seed):  # data loaders draw of the global state
            is_own = self._is_training_data(data)
            if indices is None and is_own:
                indices = np.concatenate([self.train_indices, self.validation_indices])
            cells = chosen(data, indices, "indices")
            learned = is_own and np.isin(cells, self.train_indices).mean() > 0.5
            (shown,) = self._observed_effects(data, cells, conditions, [response])
            self._warn_of_other_doses(data, cells, conditions)
        there = np.isfinite(shown.error).all(axis=1)
        uncertainty, predicted = Uncertainty(**self.uncertainty_), effects.mean
        comparison = Comparison.of(
            shown.effect[there],
            shown.error[there],
            p_spike=effects.p_zero[there],
            loc=effects.loc[there],
            variance=(effects.known + effects.decoder)[there],
            spread=uncertainty.spread[response.name],
            learned=learned,
        )
        prior = uncertainty.discrepancy[response.name]
        ate.layers["model"], ate.layers["observed"] = ate.X.copy(), shown.effect
        ate.layers["weight"] = np.zeros_like(predicted)
        for number, row in enumerate(np.flatnonzero(there)):
            posterior = comparison.take(number).corrected(prior, learned=learned)
            ate.X[row] = mean = posterior.mean
            for key, values in layers_of(posterior, credible_mass).items():
                ate.layers[key][row] = values
            residual = shown.effect[row] - predicted[row]
            ate.layers["weight"][row] = np.divide(
                mean - predicted[row],
                residual,
                out=np.zeros_like(residual),
                where=residual != 0,
            )
        for key in ("observed", "weight"):
            ate.layers[key] = ate.layers[key].astype(np.float32)
        ate.obs["n_cells_observed"] = shown.n_cells
        return ate
