"""SAMS-VAE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi.data._constants import _SETUP_ARGS_KEY

from scvi_sams.model._ate import TreatmentEffectsMixin
from scvi_sams.model._base import PerturbationModel
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
    PerturbationModel,
):
    """Sparse additive mechanism shift variational autoencoder.

    A cell's latent state is its basal state plus one sparse shift per perturbation that it
    received (Bereket & Karaletsos, NeurIPS 2023). The masks say which latent dimensions a
    perturbation touches; combinations are sums, and effects are linear in dose.

    Parameters
    ----------
    adata
        Data set up with :meth:`setup_anndata` or :meth:`setup_mudata`.
    registry
        Registry of a saved setup, to build the model without data.
    n_latent
        Number of latent dimensions K.
    n_hidden, n_layers
        Width and number of hidden layers of both networks.
    effect_guide
        Posterior of the effects: ``"spike_slab"`` (they fall back to their prior where the mask
        is off) or ``"mean_field"`` (they do not depend on the mask).
    mask_prior
        Prior probability that a perturbation touches a dimension, in (0, 1).
    effect_prior_scale
        Prior standard deviation of an effect, in standard deviations of the basal state.
    mask_kl_weight
        Additional weight of the masks' divergence for each cell; presses for sparser masks. It is
        part of the loss, not of the bounds that are reported.
    mean_field_encoder
        Whether the encoder of the basal state leaves out the sampled offset.
    gene_likelihood
        Likelihood of the counts: ``"nb"``, negative binomial with one dispersion per gene.
    n_particles
        Joint samples of all latent variables per training step.

    Raises
    ------
    ValueError
        If a setting is impossible.

    Examples
    --------
    >>> import scvi_sams as sams
    >>> adata = sams.datasets.simulate(4, n_cells_per_perturbation=20, n_genes=30)
    >>> sams.SAMSVAE.setup_anndata(adata, perturbation_key="perturbation", control="control")
    >>> model = sams.SAMSVAE(adata, n_latent=5)
    >>> model.train(max_epochs=1, enable_progress_bar=False)
    >>> model.annotate()
    >>> adata.obsm["X_sams"].shape
    (580, 5)
    """

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
        gene_likelihood: Literal["nb"] = "nb",
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
            gene_likelihood=gene_likelihood,
            n_particles=n_particles,
            use_size_factor=self.registry_[_SETUP_ARGS_KEY]["size_factor_key"] is not None,
        )
        self.module.minified_data_type = self.minified_data_type
        self._model_summary_string = (
            f"{type(self).__name__} of {self.summary_stats.n_perturbations} perturbations × "
            f"{self.summary_stats.n_vars} genes\n"
            f"n_latent: {n_latent}, n_hidden: {n_hidden}, n_layers: {n_layers}, "
            f"effect_guide: {effect_guide}, mask_prior: {mask_prior}, "
            f"effect_prior_scale: {effect_prior_scale}, n_particles: {n_particles}"
        )
        self.init_params_ = self._get_init_params(locals())
