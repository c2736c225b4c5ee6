"""SVAE+."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from scvi_sams.model._effects import PerturbationEffectsMixin
from scvi_sams.model._family import PerturbationVAE

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scvi_sams.module._parts import MaskPrior


class SVAEPlus(PerturbationEffectsMixin, PerturbationVAE):
    r"""Sparse mechanism shift variational autoencoder, SVAE+.

    .. math::
        z_i \sim N(m_{t_i} \odot a_{t_i}, I), \quad m_{tk} \sim \mathrm{Bernoulli}(\pi_{tk}),
        \quad \pi_{tk} \sim \mathrm{Beta}(1, \beta)

    with learned points :math:`a_t`; the guide of the state, :math:`q(z_i | x_i)`, does not know
    the perturbation (Lopez et al., CLeaR 2023, in the form of Bereket & Karaletsos, NeurIPS
    2023). Each cell has one perturbation at most. To take combinations as perturbations of their
    own, set up with ``delimiter=None``.

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
    mask_prior
        ``("beta", 1, β)``, β being 2, 5 or 10 in the paper; or a known probability in (0, 1).
    inclusion_posterior
        Posterior of the unknown probabilities: ``"point"``, or ``"beta"``.
    mask_kl_weight, gene_likelihood, dispersion, objective, n_particles
        As in :class:`~scvi_sams.SAMSVAE`.

    Raises
    ------
    ValueError
        If a setting is impossible, or does not fit the data.
    """

    _one_perturbation_per_cell = True

    def __init__(
        self,
        adata: AnnData | MuData | None = None,
        registry: dict[str, Any] | None = None,
        *,
        n_latent: int = 50,
        n_hidden: int = 128,
        n_layers: int = 1,
        dropout_rate: float | None = None,
        mask_prior: MaskPrior = ("beta", 1.0, 5.0),
        inclusion_posterior: Literal["beta", "point"] = "point",
        mask_kl_weight: float = 0.0,
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
            effect_guide="point",
            mask_prior=mask_prior,
            inclusion_posterior=inclusion_posterior,
            latent_prior="shifted",
            mask_kl_weight=mask_kl_weight,
            gene_likelihood=gene_likelihood,
            dispersion=dispersion,
            objective=objective,
            n_particles=n_particles,
        )
        self.init_params_ = self._get_init_params(locals())
