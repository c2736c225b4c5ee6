"""CPA-VAE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from scvi_sams.model._effects import PerturbationEffectsMixin
from scvi_sams.model._family import PerturbationVAE

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


class CPAVAE(PerturbationEffectsMixin, PerturbationVAE):
    """Additive shifts without masks: a compositional perturbation autoencoder as a full VAE.

    A cell's latent state is its basal state plus one dense shift per perturbation that it
    received (the CPA-VAE of Bereket & Karaletsos, NeurIPS 2023). It is
    ``SAMSVAE(mask_prior=None)``: every inclusion probability is one.

    Parameters
    ----------
    adata
        Data set up with :meth:`setup_anndata` or :meth:`setup_mudata`.
    registry
        Registry of a saved setup, to build the model without data.
    n_latent, n_hidden, n_layers
        Latent dimensions, width and number of hidden layers of both networks.
    dropout_rate
        Dropout of the genes that the encoder reads; by default 0.1 of counts and 0 of real values.
    effect_prior_scale
        Prior standard deviation of an effect, in standard deviations of the basal state.
    mean_field_encoder, gene_likelihood, dispersion, objective, n_particles
        As in :class:`~scvi_sams.SAMSVAE`.

    Raises
    ------
    ValueError
        If a setting is impossible, or does not fit the data.
    """

    def __init__(
        self,
        adata: AnnData | MuData | None = None,
        registry: dict[str, Any] | None = None,
        *,
        n_latent: int = 50,
        n_hidden: int = 128,
        n_layers: int = 1,
        dropout_rate: float | None = None,
        effect_prior_scale: float = 1.0,
        mean_field_encoder: bool = False,
        gene_likelihood: Literal["nb", "zinb", "poisson", "normal"] = "nb",
        dispersion: Literal["gene", "gene-cell"] = "gene",
        objective: Literal["elbo", "iwelbo"] = "elbo",
        n_particles: int = 5,
    ) -> None:
        super().__init__(adata, registry)
        self._build_module(
            n_latent=n_latent,
            n_hidden=n_hidden,
            n_layers=n_layers,
            dropout_rate=dropout_rate,
            effect_guide="mean_field",
            mask_prior=None,
            effect_prior_scale=effect_prior_scale,
            mean_field_encoder=mean_field_encoder,
            gene_likelihood=gene_likelihood,
            dispersion=dispersion,
            objective=objective,
            n_particles=n_particles,
        )
        self.init_params_ = self._get_init_params(locals())
