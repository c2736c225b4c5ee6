"""The SAMS-VAE as a scvi-tools module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi.module._constants import MODULE_KEYS as SCVI_MODULE_KEYS
from scvi.module.base import BaseMinifiedModeModuleClass, auto_move_data
from torch import nn
from torch.distributions import Distribution, Normal
from torch.nn import functional as F

from scvi_sams._constants import MODULE_KEYS, REGISTRY_KEYS
from scvi_sams.module._elbo import ElboMixin, InferenceOutputs
from scvi_sams.module._likelihood import NegativeBinomial
from scvi_sams.module._mask import BernoulliMask
from scvi_sams.module._mean_field import MeanFieldEffects
from scvi_sams.module._networks import BasalEncoder, Decoder
from scvi_sams.module._perturbations import PerturbationPosterior, offset, unpack
from scvi_sams.module._predictive import PredictiveMixin, Tensors
from scvi_sams.module._spike_slab import SpikeSlabEffects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scvi_sams.data._statistics import TrainingStatistics

EFFECT_GUIDES = {"mean_field": MeanFieldEffects, "spike_slab": SpikeSlabEffects}


class SAMSVAEModule(ElboMixin, PredictiveMixin, BaseMinifiedModeModuleClass):
    r"""Sparse additive mechanism shift variational autoencoder.

    .. math::
        m_{tk} &\sim \mathrm{Bernoulli}(\pi), \quad e_{tk} \sim N(0, \sigma_e^2), \quad
        z^b_i \sim N(0, I) \\
        z_i &= z^b_i + \sum_t d_{it} (m_t \odot e_t), \quad
        x_{ig} \sim \mathrm{NB}(\ell_i \rho_{ig}, \theta_g), \quad
        \rho_i = f_\theta(z_i, c_i)

    for counts :math:`x_i` of library size :math:`\ell_i`, dosages :math:`d_i` and covariates
    :math:`c_i` (Bereket & Karaletsos 2023). The loss is the negative evidence lower bound per
    cell, in nats; every divergence in it has a closed form given the sampled mask.

    Parameters
    ----------
    n_input
        Number of genes G.
    n_perturbations
        Number of perturbations T.
    n_batch
        Number of batches.
    n_cats_per_cov
        Number of categories of each further categorical covariate.
    n_continuous_cov
        Number of continuous covariates.
    n_latent, n_hidden, n_layers
        Latent dimensions K, width and number of the hidden layers of both networks.
    effect_guide
        ``"spike_slab"`` or ``"mean_field"``.
    mask_prior
        Prior inclusion probability π.
    effect_prior_scale
        Prior standard deviation σ_e of an effect.
    mask_kl_weight
        Additional weight of the masks' divergence for every cell that received the perturbation.
    mean_field_encoder
        Whether the basal encoder leaves out the sampled offset.
    gene_likelihood
        ``"nb"``: negative binomial, one inverse dispersion θ_g per gene.
    n_particles
        Joint samples of all latent variables per training step, P.
    use_size_factor
        Whether library sizes are size factors given by the user.

    Raises
    ------
    ValueError
        If a setting is impossible.
    """

    use_observed_lib_size = True
    mean_size_factor: torch.Tensor
    is_prepared: torch.Tensor

    def __init__(
        self,
        n_input: int,
        n_perturbations: int,
        n_batch: int = 1,
        n_cats_per_cov: Sequence[int] | None = None,
        n_continuous_cov: int = 0,
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
        use_size_factor: bool = False,
    ) -> None:
        super().__init__()
        _check_settings(
            {
                "n_latent": n_latent,
                "n_hidden": n_hidden,
                "n_layers": n_layers,
                "n_particles": n_particles,
            },
            {
                "effect_guide": (effect_guide, tuple(EFFECT_GUIDES)),
                "gene_likelihood": (gene_likelihood, ("nb",)),
            },
            mask_kl_weight,
        )
        self.gene_likelihood = gene_likelihood
        self.n_latent = n_latent
        self.n_particles = n_particles
        self.mask_kl_weight = mask_kl_weight
        self.use_size_factor = use_size_factor
        # a single category says nothing and gets no input
        self.n_categories = [n if n > 1 else 0 for n in (n_batch, *(n_cats_per_cov or ()))]
        self.perturbations = PerturbationPosterior(
            BernoulliMask(n_perturbations, n_latent, prior=mask_prior),
            EFFECT_GUIDES[effect_guide](n_perturbations, n_latent, prior_scale=effect_prior_scale),
        )
        self.encoder = BasalEncoder(
            n_input, n_latent, n_hidden, n_layers, sees_offset=not mean_field_encoder
        )
        self.decoder = Decoder(
            n_latent,
            sum(self.n_categories) + n_continuous_cov,
            n_input,
            n_hidden,
            n_layers,
            sums_to_one=not use_size_factor,
        )
        self.log_theta = nn.Parameter(torch.zeros(n_input))  # G
        self.register_buffer("mean_size_factor", torch.ones(()))
        self.register_buffer("is_prepared", torch.zeros((), dtype=torch.bool))

    def prepare(self, statistics: TrainingStatistics) -> None:
        """Take what training needs to know of its cells.

        The numbers of cells per perturbation follow each call. Standardisation and the decoder's
        bias are set once, since the networks grow around them.

        Parameters
        ----------
        statistics
            Computed from the training cells alone.
        """
        device = self.log_theta.device
        self.perturbations.set_n_cells(statistics.n_cells_per_perturbation.to(device))
        if self.is_prepared:
            return
        self.encoder.set_standardisation(
            statistics.log_mean.to(device), statistics.log_sd.to(device)
        )
        self.decoder.start_at(statistics.mean_share.to(device))
        self.mean_size_factor.copy_(statistics.mean_size_factor)
        self.is_prepared.fill_(True)

    def _get_inference_input(
        self, tensors: Tensors, full_forward_pass: bool = False, **kwargs: object
    ) -> Tensors:
        if full_forward_pass or self.minified_data_type is None:
            return {
                SCVI_MODULE_KEYS.X_KEY: tensors[SCVI_KEYS.X_KEY],
                MODULE_KEYS.PERTURBATIONS: tensors[REGISTRY_KEYS.PERTURBATIONS],
            }
        return {
            SCVI_MODULE_KEYS.QZM_KEY: tensors[SCVI_KEYS.LATENT_QZM_KEY],
            SCVI_MODULE_KEYS.QZV_KEY: tensors[SCVI_KEYS.LATENT_QZV_KEY],
            SCVI_KEYS.OBSERVED_LIB_SIZE: tensors[SCVI_KEYS.OBSERVED_LIB_SIZE],
        }

    @auto_move_data
    def _regular_inference(
        self,
        x: torch.Tensor,
        perturbations: torch.Tensor,
        n_samples: int = 1,
        shifts: torch.Tensor | None = None,
    ) -> InferenceOutputs:
        """Sample the latent variables of cells.

        Parameters
        ----------
        x
            Counts, of shape B x G.
        perturbations
            The cells' packed perturbations, of shape B x 2D.
        n_samples
            Number of particles P.
        shifts
            Given samples of m ⊙ e for all perturbations, of shape P x T x K; sampled for the
            perturbations in the mini-batch if None.
        """
        index, dosage = unpack(perturbations)
        if shifts is None:
            rows, position = torch.unique(index, return_inverse=True)
            shifts = self.perturbations.rsample_shifts(rows, n_samples)  # P x R x K
        else:
            position = index
        shift = offset(shifts, position, dosage)  # P x B x K
        if n_samples == 1:
            shift = shift.squeeze(0)
        qz_basal = self.encoder(x, shift)
        z_basal = qz_basal.rsample()  # P x B x K
        return {
            SCVI_MODULE_KEYS.Z_KEY: z_basal + shift,
            SCVI_MODULE_KEYS.QZ_KEY: Normal(
                qz_basal.loc + shift, qz_basal.scale, validate_args=False
            ),
            MODULE_KEYS.Z_BASAL: z_basal,
            MODULE_KEYS.QZ_BASAL: qz_basal,
            SCVI_MODULE_KEYS.LIBRARY_KEY: torch.log(x.sum(-1, keepdim=True)),
            SCVI_MODULE_KEYS.QL_KEY: None,  # library sizes are observed
        }

    @auto_move_data
    def _cached_inference(
        self,
        qzm: torch.Tensor,
        qzv: torch.Tensor,
        observed_lib_size: torch.Tensor,
        n_samples: int = 1,
    ) -> InferenceOutputs:
        """Sample perturbed states from their stored means and variances (B x K)."""
        qz = Normal(qzm, qzv.sqrt(), validate_args=False)
        return {
            SCVI_MODULE_KEYS.Z_KEY: qz.sample() if n_samples == 1 else qz.sample((n_samples,)),
            SCVI_MODULE_KEYS.QZ_KEY: qz,
            SCVI_MODULE_KEYS.LIBRARY_KEY: torch.log(observed_lib_size),
            SCVI_MODULE_KEYS.QL_KEY: None,
        }

    @torch.inference_mode()
    @auto_move_data
    def latent_state(self, tensors: Tensors, *, basal: bool, expected_offset: bool) -> Normal:
        """Distribution of the cells' states given an offset.

        Parameters
        ----------
        tensors
            A mini-batch of B cells.
        basal
            Whether to leave the offset out.
        expected_offset
            Whether the offset is its posterior mean, rather than one sample.

        Returns
        -------
        Normal of shape B x K.
        """
        index, dosage = unpack(tensors[REGISTRY_KEYS.PERTURBATIONS])
        if expected_offset:
            shifts = self.perturbations.expected_shifts()
        else:
            everything = torch.arange(len(self.perturbations.n_cells), device=index.device)
            shifts = self.perturbations.rsample_shifts(everything, 1).squeeze(0)
        shift = offset(shifts, index, dosage)  # B x K
        if self.minified_data_type is None:
            state = self.encoder(tensors[SCVI_KEYS.X_KEY], shift)
            perturbed = state.loc + shift
        else:
            perturbed = tensors[SCVI_KEYS.LATENT_QZM_KEY]
            state = Normal(perturbed - shift, tensors[SCVI_KEYS.LATENT_QZV_KEY].sqrt())
        return Normal(state.loc if basal else perturbed, state.scale, validate_args=False)

    def _get_generative_input(
        self,
        tensors: Tensors,
        inference_outputs: InferenceOutputs,
        **kwargs: object,
    ) -> dict[str, object]:
        return {
            SCVI_MODULE_KEYS.Z_KEY: inference_outputs[SCVI_MODULE_KEYS.Z_KEY],
            SCVI_MODULE_KEYS.LIBRARY_KEY: inference_outputs[SCVI_MODULE_KEYS.LIBRARY_KEY],
            SCVI_MODULE_KEYS.BATCH_INDEX_KEY: tensors[SCVI_KEYS.BATCH_KEY],
            SCVI_MODULE_KEYS.CAT_COVS_KEY: tensors.get(SCVI_KEYS.CAT_COVS_KEY),
            SCVI_MODULE_KEYS.CONT_COVS_KEY: tensors.get(SCVI_KEYS.CONT_COVS_KEY),
            SCVI_MODULE_KEYS.SIZE_FACTOR_KEY: tensors.get(SCVI_KEYS.SIZE_FACTOR_KEY),
        }

    @auto_move_data
    def generative(
        self,
        z: torch.Tensor,
        library: torch.Tensor,
        batch_index: torch.Tensor,
        cat_covs: torch.Tensor | None = None,
        cont_covs: torch.Tensor | None = None,
        size_factor: torch.Tensor | None = None,
        transform_batch: int | None = None,
    ) -> dict[str, Distribution]:
        """Distribution of counts given latent states.

        Parameters
        ----------
        z
            Perturbed states, of shape ... x B x K.
        library
            Log library sizes, of shape B x 1.
        batch_index, cat_covs, cont_covs
            Covariates, of shape B x 1, B x number of covariates.
        size_factor
            Size factors as the user gave them, of shape B x 1.
        transform_batch
            Batch to decode every cell in, instead of its own.
        """
        if transform_batch is not None:
            batch_index = torch.full_like(batch_index, transform_batch)
        if self.use_size_factor:
            assert size_factor is not None
            library = torch.log(size_factor / self.mean_size_factor)
        log_share = self.decoder(z, self._covariates(batch_index, cat_covs, cont_covs))
        log_mu = log_share + library  # ... x B x G
        px = NegativeBinomial(
            mu=torch.exp(log_mu),
            theta=torch.exp(self.log_theta),
            scale=torch.exp(log_share),
            log_mu=log_mu,
        )
        return {SCVI_MODULE_KEYS.PX_KEY: px}

    def _covariates(
        self,
        batch_index: torch.Tensor,
        cat_covs: torch.Tensor | None,
        cont_covs: torch.Tensor | None,
    ) -> torch.Tensor:
        """One-hot batch and categories beside the continuous covariates; B x C."""
        codes = batch_index if cat_covs is None else torch.cat([batch_index, cat_covs], dim=-1)
        columns = [
            F.one_hot(code.long(), n).to(self.log_theta.dtype)
            for code, n in zip(codes.unbind(-1), self.n_categories, strict=True)
            if n
        ]
        if cont_covs is not None:
            columns.append(cont_covs)
        return torch.cat(columns, dim=-1) if columns else self.log_theta.new_zeros(len(codes), 0)


def _check_settings(
    counts: dict[str, int], choices: dict[str, tuple[object, tuple[str, ...]]], weight: float
) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1; it is {value}.")
    for name, (chosen, known) in choices.items():
        if chosen not in known:
            raise ValueError(
                f"`{name}` must be {' or '.join(map(repr, known))}; it is {chosen!r}."
            )
    if weight < 0:
        raise ValueError(f"`mask_kl_weight` must not be negative; it is {weight}.")
