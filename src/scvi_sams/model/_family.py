"""What all models of the family are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scvi import REGISTRY_KEYS as SCVI_KEYS

from scvi_sams._scvi import _SETUP_ARGS_KEY
from scvi_sams.data._field import CountsField, unchanged_on_error
from scvi_sams.model._annotation import AnnotationMixin
from scvi_sams.model._base import PerturbationModel
from scvi_sams.model._combined import CombinedEffectsMixin
from scvi_sams.model._expression import ExpressionMixin
from scvi_sams.model._interactions import InteractionsMixin
from scvi_sams.model._iwelbo import PredictiveLikelihoodMixin
from scvi_sams.model._latent import LatentStateMixin
from scvi_sams.model._prediction import PredictionMixin
from scvi_sams.model._setup import PerturbationSetupMixin
from scvi_sams.model._training import PerturbationTrainingMixin
from scvi_sams.module._module import SAMSVAEModule

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


class PerturbationVAE(
    PerturbationSetupMixin,
    PerturbationTrainingMixin,
    AnnotationMixin,
    CombinedEffectsMixin,
    InteractionsMixin,
    PredictionMixin,
    PredictiveLikelihoodMixin,
    ExpressionMixin,
    LatentStateMixin,
    PerturbationModel,
):
    """A variational autoencoder of a perturbation screen."""

    _module_cls = SAMSVAEModule
    _LATENT_QZM_KEY = "sams_latent_qzm"
    _LATENT_QZV_KEY = "sams_latent_qzv"

    def _build_module(self, **settings: Any) -> None:
        """Build the module for the data that was set up, from the settings of the model."""
        _check_likelihood(settings["gene_likelihood"], self.get_state_registry(SCVI_KEYS.X_KEY))
        if settings["dropout_rate"] is None:
            # counts carry noise that an encoder learns by heart; real values may carry none
            settings["dropout_rate"] = 0.0 if settings["gene_likelihood"] == "normal" else 0.1
        self.module = self._module_cls(
            n_input=self.summary_stats.n_vars,
            n_perturbations=self.summary_stats.n_perturbations,
            n_batch=self.summary_stats.n_batch,
            n_cats_per_cov=self.get_state_registry(SCVI_KEYS.CAT_COVS_KEY).get("n_cats_per_key"),
            n_continuous_cov=self.summary_stats.get("n_extra_continuous_covs", 0),
            use_size_factor=self.registry_[_SETUP_ARGS_KEY]["size_factor_key"] is not None,
            **settings,
        )
        self.module.minified_data_type = self.minified_data_type
        self._settings = settings
        listing = ", ".join(f"{name}: {value}" for name, value in settings.items())
        self._model_summary_string = (
            f"{type(self).__name__} of {self.summary_stats.n_perturbations} perturbations × "
            f"{self.summary_stats.n_vars} genes\n{listing}"
        )

    def _validate_anndata(
        self, adata: AnnData | MuData | None = None, copy_if_view: bool = True
    ) -> AnnData | MuData:
        """Set up data like the model's, and check that its likelihood takes their values."""
        with unchanged_on_error(self._given(adata)):
            validated = super()._validate_anndata(adata, copy_if_view)
            state = self.get_anndata_manager(validated, required=True).get_state_registry(
                SCVI_KEYS.X_KEY
            )
            _check_likelihood(self.module.gene_likelihood, state)
        return validated


def _check_likelihood(gene_likelihood: str, state: dict[str, Any]) -> None:
    """Raise if data of which ``state`` is the registry have values that the likelihood has not."""
    if state.get(CountsField.HOLDS_KEY) == "negative" and gene_likelihood != "normal":
        raise ValueError(
            f"The data holds negative values, and gene_likelihood={gene_likelihood!r} is one "
            "of raw counts. Set up the layer of the counts: `layer=`, or model real values "
            "with `gene_likelihood='normal'`."
        )
