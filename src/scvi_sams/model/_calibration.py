"""Learning from training cells what the model does not know."""

from __future__ import annotations

from typing import get_args

import numpy as np
import numpy.typing as npt
import torch
from scvi import REGISTRY_KEYS as SCVI_KEYS

from scvi_sams.model._arms import ArmsMixin
from scvi_sams.model._conditions import NO_PERTURBATION
from scvi_sams.model._discrepancy import PRIOR_WEIGHTS, Comparison, fit_discrepancy
from scvi_sams.model._observed import ObservedEffectsMixin
from scvi_sams.model._response import Normalization, Response
from scvi_sams.model._simulation import seeded, with_one
from scvi_sams.model._uncertainty import Uncertainty, fit_misfit

Array = npt.NDArray[np.float64]

_MOST_CONDITIONS = 300
_LEAST_CELLS = 10
_N_SAMPLES = 500


class CalibrationMixin(ArmsMixin, ObservedEffectsMixin):
    """Fitting :class:`~scvi_sams.model._uncertainty.Uncertainty` once the model is trained."""

    @staticmethod
    def _n_calibrated(n_cells: npt.NDArray[np.intp]) -> int:
        """How many of the conditions, of those numbers of training cells, calibration is on."""
        return min(int((n_cells >= _LEAST_CELLS).sum()), _MOST_CONDITIONS)

    @torch.inference_mode()
    @seeded(0)  # data loaders draw a seed of the global state
    def _calibrate(self, train_indices: npt.NDArray[np.intp]) -> None:
        """Take the information of training cells on the decoder, and fit the model's misfit."""
        names = get_args(Normalization) if self.module.likelihood.is_of_counts else ("mean",)
        responses = [Response(name, self.module.likelihood) for name in names]
        conditions, group = self._conditions_of(self.adata, train_indices)
        enough = np.bincount(group) >= _LEAST_CELLS
        enough[_MOST_CONDITIONS + 1 :] = False
        position = np.where(enough, np.cumsum(enough) - 1, -1)
        conditions = [one for one, kept in zip(conditions, enough, strict=True) if kept]
        moments = self._moments(
            self.adata, train_indices, position[group], len(conditions), responses
        )
        spread = {name: found.within for name, found in zip(names, moments, strict=True)}
        uncertainty = self._of_decoder(train_indices)._replace(
            misfit={name: np.zeros(2) for name in names},
            spread=spread,
            discrepancy=dict.fromkeys(names, PRIOR_WEIGHTS),
        )
        self.uncertainty_ = uncertainty._asdict()
        perturbed = [one for one in conditions if one is not NO_PERTURBATION]
        if not perturbed:
            return
        shown = self._observed_effects(self.adata, train_indices, perturbed, responses)
        there = np.flatnonzero(np.isfinite(shown[0].error).all(axis=1))
        perturbed = [perturbed[row] for row in there]
        if not perturbed:
            return  # without control cells there is no effect to compare with
        cells = self._reference(_N_SAMPLES, "prior", "observed", 0)
        for response, found in zip(responses, shown, strict=True):
            effects = self._effects(
                perturbed,
                NO_PERTURBATION,
                cells,
                response,
                0,
                description=f"Calibrating intervals ({response.name})",
            )
            residual, error = found.effect[there] - effects.mean, found.error[there]
            if not np.isfinite(residual).all():
                continue  # training diverged
            decoder = (1 - effects.p_zero) * effects.decoder
            uncertainty.misfit[response.name] = fit_misfit(
                residual=residual,
                error=error,
                expected_error=found.expected_error[there],
                known=effects.variance - decoder,
                decoder=decoder,
                spread=spread[response.name],
            )
            uncertainty.discrepancy[response.name] = fit_discrepancy(
                Comparison.of(
                    found.effect[there],
                    error,
                    p_spike=effects.p_zero,
                    loc=effects.loc,
                    variance=effects.known + effects.decoder,
                    spread=spread[response.name],
                    learned=True,
                )
            )

    def _of_decoder(self, train_indices: npt.NDArray[np.intp]) -> Uncertainty:
        """What training cells say of the output layer."""
        module = self.module
        shifts = module.perturbations.expected_shifts()
        n_hidden = module.likelihood.to_genes.in_features
        gram = torch.zeros(n_hidden + 1, n_hidden + 1, dtype=torch.double)
        total = torch.zeros(len(self.gene_names), dtype=torch.double)
        for tensors in self._make_data_loader(adata=self.adata, indices=train_indices):
            state = module.latent_state(tensors, shifts, basal=False)
            counts = tensors[SCVI_KEYS.X_KEY].sum(-1, keepdim=True).to(self.device).clamp(min=1)
            library = counts if module.likelihood.is_of_counts else torch.ones_like(counts)
            inputs = module._get_generative_input(
                tensors, {"z": state.loc, "library": torch.log(library)}
            )
            hidden, log_library = module.decode(**inputs)
            design = with_one(hidden).cpu().double()
            gram += design.T @ design
            measured = module.likelihood(hidden, log_library)
            total += module.likelihood.information(measured).cpu().double().sum(0)
        # not numbers if training diverged
        moments = np.nan_to_num(gram.numpy(), posinf=0, neginf=0)
        n_cells = len(train_indices)
        hidden_mean = moments[-1, :-1] / n_cells
        size, axes = np.linalg.eigh(
            moments[:-1, :-1] - n_cells * np.outer(hidden_mean, hidden_mean)
        )
        weights = module.likelihood.to_genes.weight.cpu().double().numpy()  # G x H
        return Uncertainty(
            n_cells=n_cells,
            hidden_mean=hidden_mean,
            axes=axes,
            size=np.maximum(size, 0),
            information=total.numpy() / n_cells,
            precision=weights.shape[1] / np.maximum((weights**2).sum(axis=1), 1e-12),
            misfit={},
            spread={},
            discrepancy={},
        )
