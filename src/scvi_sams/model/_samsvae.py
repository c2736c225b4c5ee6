"""SAMS-VAE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from scvi_sams.model._effects import PerturbationEffectsMixin
from scvi_sams.model._family import PerturbationVAE

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scvi_sams.module._parts import MaskPrior


class SAMSVAE(PerturbationEffectsMixin, PerturbationVAE):
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
    dropout_rate
        Dropout of the genes that the encoder reads; by default 0.1 of counts and 0 of real values.
    effect_guide
        Posterior of the effects: ``"spike_slab"`` (they fall back to their prior where the mask
        is off), ``"mean_field"`` (they do not depend on the mask) or ``"correlated"`` (a network
        reads them off the whole mask of their perturbation).
    mask_prior
        Prior probability that a perturbation touches a dimension, in (0, 1); ``("beta", a, b)``
        if it is unknown, and each entry has one of its own with this Beta prior; None for no
        masks, which is the CPA-VAE.
    inclusion_posterior
        Posterior of unknown probabilities: ``"beta"``, or ``"point"``.
    effect_prior_scale
        Prior standard deviation of an effect, in standard deviations of the basal state.
    mask_kl_weight
        Additional weight w of the masks' divergence for each cell. With N cells, an entry of a
        mask has to be worth the divergence of N / (1 + w N) independent ones; so w acts like a
        correlation between the cells of a perturbation, which a model that is never quite right
        leaves in them, and without which masks of many cells come out dense. It is part of the
        loss, not of the bounds that are reported; 0 for the evidence lower bound alone.
    mean_field_encoder
        Whether the encoder of the basal state leaves out the sampled offset.
    gene_likelihood
        Likelihood: of counts ``"nb"`` (negative binomial), ``"zinb"`` (zero-inflated) or
        ``"poisson"``, and ``"normal"`` of real values, which have no library size.
    dispersion
        Dispersion (of ``"normal"``, the standard deviation) of each gene, ``"gene"``, or of each
        gene in each cell, ``"gene-cell"``.
    objective
        What training maximises: the evidence lower bound, ``"elbo"``, or the importance-weighted
        one of ``n_particles`` samples, ``"iwelbo"``.
    n_particles
        Joint samples of all latent variables per training step.

    Raises
    ------
    ValueError
        If a setting is impossible, or does not fit the data.

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

    def __init__(
        self,
        adata: AnnData | MuData | None = None,
        registry: dict[str, Any] | None = None,
        *,
        n_latent: int = 50,
        n_hidden: int = 128,
        n_layers: int = 1,
        dropout_rate: float | None = None,
        effect_guide: Literal["spike_slab", "mean_field", "correlated"] = "spike_slab",
        mask_prior: MaskPrior = 0.01,
        inclusion_posterior: Literal["beta", "point"] = "beta",
        effect_prior_scale: float = 1.0,
        mask_kl_weight: float = 0.05,
        mean_field_encoder: bool = False,
        gene_likelihood: Literal["nb", "zinb", "poisson", "normal"] = "nb",
        dispersion: Literal["gene", "gene-cell"] = "gene",
        objective: Literal["elbo", "iwelbo"] = "elbo",
        n_particles: int = 5,
    ) -> None:
        super().__init__(adata, registry)
        if effect_guide not in ("spike_slab", "mean_field", "correlated"):
            raise ValueError(
                "`effect_guide` must be 'spike_slab' or 'mean_field' or 'correlated'; it is "
                f"{effect_guide!r}."
            )
        self._build_module(
            n_latent=n_latent,
            n_hidden=n_hidden,
            n_layers=n_layers,
            dropout_rate=dropout_rate,
            effect_guide=effect_guide,
            mask_prior=mask_prior,
            inclusion_posterior=inclusion_posterior,
            effect_prior_scale=effect_prior_scale,
            mask_kl_weight=mask_kl_weight,
            mean_field_encoder=mean_field_encoder,
            gene_likelihood=gene_likelihood,
            dispersion=dispersion,
            objective=objective,
            n_particles=n_particles,
        )
        self.init_params_ = self._get_init_params(locals())
