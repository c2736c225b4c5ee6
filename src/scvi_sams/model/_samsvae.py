"""SAMS-VAE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi.data._constants import _SETUP_ARGS_KEY
from scvi.model.base import BaseMinifiedModeModelClass

from scvi_sams._constants import REGISTRY_KEYS
from scvi_sams.data._field import PerturbationField
from scvi_sams.model._ate import TreatmentEffectsMixin
from scvi_sams.model._effects import PerturbationEffectsMixin
from scvi_sams.model._expression import ExpressionMixin
from scvi_sams.model._latent import LatentStateMixin
from scvi_sams.model._setup import PerturbationSetupMixin
from scvi_sams.model._training import PerturbationTrainingMixin
from scvi_sams.module._module import SAMSVAEModule

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


class SAMSVAE(
    PerturbationSetupMixin,
    PerturbationEffectsMixin,
    TreatmentEffectsMixin,
    ExpressionMixin,
    LatentStateMixin,
    PerturbationTrainingMixin,
    BaseMinifiedModeModelClass,
):
    _module_cls = SAMSVAEModule
    _LATENT_QZM_KEY = "sams_latent_qzm"
    _LATENT_QZV_KEY = "sams_latent_qzv"

    def __init__(
        self,
        adata: AnnData | MuData | None = None,
        registry: dict[str, Any] | None = None,
        *,
        n_latent: int = 50,
        n_hidden: int = 400,
        n_layers: int = 1,
        effect_guide: Literal["spike_slab", "mean_field"] = "spike_slab",
        mask_prior: float = 0.01,
        effect_prior_scale: float = 1.0,
        mask_kl_weight: float = 0.0,
        mean_field_encoder: bool = False,
        n_particles: int = 5,
    ) -> None:
        super().__init__(adata, registry)
        n_cats = self.get_state_registry(SCVI_KEYS.CAT_COVS_KEY).get("n_cats_per_key")
        self.module = self._module_cls(
            n_input=self.summary_stats.n_vars,
            n_perturbations=self.summary_stats.n_perturbations,
            n_batch=self.summary_stats.n_batch,
            n_cats_per_cov=n_cats,
            n_continuous_cov=self.summary_stats.get("n_extra_continuous_covs", 0),
            n_latent=n_latent,
            n_hidden=n_hidden,
            n_layers=n_layers,
            effect_guide=effect_guide,
            mask_prior=mask_prior,
            effect_prior_scale=effect_prior_scale,
            mask_kl_weight=mask_kl_weight,
            mean_field_encoder=mean_field_encoder,
            n_particles=n_particles,
            use_size_factor=self.registry_[_SETUP_ARGS_KEY]["size_factor_key"] is not None,
        )
        self.module.minified_data_type = self.minified_data_type
        self.init_params_ = self._get_init_params(locals())

    @property
    def perturbation_names(self) -> npt.NDArray[np.object_]:
        """Names of the perturbations, in the order of the model; of shape T."""
        state = self.get_state_registry(REGISTRY_KEYS.PERTURBATIONS)
        return np.asarray(state[PerturbationField.NAMES_KEY], dtype=object)
