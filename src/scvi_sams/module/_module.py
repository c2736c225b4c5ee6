"""The SAMS-VAE and its family as one scvi-tools module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi.module.base import BaseMinifiedModeModuleClass, auto_move_data
from torch import nn
from torch.distributions import Normal

from scvi_sams._constants import MODULE_KEYS, REGISTRY_KEYS
from scvi_sams._scvi import MODULE_KEYS as SCVI_MODULE_KEYS
from scvi_sams.module._elbo import ElboMixin, InferenceOutputs
from scvi_sams.module._generative import GenerativeMixin
from scvi_sams.module._likelihoods import GENE_LIKELIHOODS
from scvi_sams.module._mask import FullMask
from scvi_sams.module._networks import (
    BasalEncoder,
    Decoder,
    DosageInput,
    PerturbedStateEncoder,
)
from scvi_sams.module._parts import EffectGuideName, MaskPrior, check_settings, make_perturbations
from scvi_sams.module._perturbations import offset, unpack
from scvi_sams.module._predictive import PredictiveMixin, Tensors
from scvi_sams.module._rotation import sparse_rotation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scvi_sams.data._statistics import TrainingStatistics
    from scvi_sams.module._perturbations import PerturbationDraw


class SAMSVAEModule(ElboMixin, GenerativeMixin, PredictiveMixin, BaseMinifiedModeModuleClass):
    r"""Sparse additive mechanism shift variational autoencoder, and its family.

    .. math::
        m_{tk} &\sim \mathrm{Bernoulli}(\pi), \quad e_{tk} \sim N(0, \sigma_e^2), \quad
        z^b_i \sim N(0, I) \\
        z_i &= z^b_i + \sum_t d_{it} (m_t \odot e_t), \quad
        x_{ig} \sim \mathrm{NB}(\ell_i \rho_{ig}, \theta_g), \quad
        \rho_i = f_\theta(z_i, c_i)

    for counts :math:`x_i` of library size :math:`\ell_i`, dosages :math:`d_i` and covariates
    :math:`c_i` (Bereket & Karaletsos 2023). The loss is the negative evidence lower bound per
    cell, in nats; every divergence in it has a closed form given the sampled mask.

    Three switches make the family: the prior of the masks, the guide of the effects, and the
    prior of the latent state.

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
    dropout_rate
        Dropout of the genes that the encoder reads.
    effect_guide
        ``"spike_slab"``, ``"mean_field"``, ``"correlated"``, ``"point"`` or ``"none"``.
    mask_prior
        Prior inclusion probability π, or ``("beta", a, b)`` for an unknown one of each entry, or
        None for no masks.
    inclusion_posterior
        Posterior of unknown inclusion probabilities, ``"beta"`` or ``"point"``.
    effect_prior_scale
        Prior standard deviation σ_e of an effect.
    latent_prior
        Where the perturbations enter. ``"basal"``: a basal state with a standard normal prior is
        shifted by them, and the guide infers the basal state. ``"shifted"``: they shift the mean
        of the state's prior, and the guide infers the state. ``"standard"``: the state has a
        standard normal prior, and encoder and decoder see the dosages.
    mask_kl_weight
        Additional weight of the masks' divergence for every cell that received the perturbation.
    mean_field_encoder
        Whether the basal encoder leaves out the sampled offset.
    gene_likelihood
        ``"nb"``, ``"zinb"``, ``"poisson"`` or ``"normal"``.
    dispersion
        ``"gene"`` or ``"gene-cell"``: one dispersion per gene, or one per gene and cell.
    objective
        ``"elbo"`` or ``"iwelbo"``.
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
    is_prepared: torch.Tensor
    is_settled: torch.Tensor

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
        dropout_rate: float = 0.0,
        effect_guide: EffectGuideName = "spike_slab",
        mask_prior: MaskPrior = 0.01,
        inclusion_posterior: Literal["beta", "point"] = "beta",
        effect_prior_scale: float = 1.0,
        latent_prior: Literal["basal", "shifted", "standard"] = "basal",
        mask_kl_weight: float = 0.0,
        mean_field_encoder: bool = False,
        gene_likelihood: Literal["nb", "zinb", "poisson", "normal"] = "nb",
        dispersion: Literal["gene", "gene-cell"] = "gene",
        objective: Literal["elbo", "iwelbo"] = "elbo",
        n_particles: int = 5,
        use_size_factor: bool = False,
    ) -> None:
        super().__init__()
        check_settings(locals())
        self.gene_likelihood = gene_likelihood
        self.n_latent = n_latent
        self.n_particles = n_particles
        self.mask_kl_weight = mask_kl_weight
        self.objective = objective
        self.use_size_factor = use_size_factor
        # a single category says nothing and gets no input
        self.n_categories = [n if n > 1 else 0 for n in (n_batch, *(n_cats_per_cov or ()))]
        self.perturbations = make_perturbations(
            n_perturbations,
            n_latent,
            effect_guide=effect_guide,
            mask_prior=mask_prior,
            inclusion_posterior=inclusion_posterior,
            effect_prior_scale=effect_prior_scale,
        )
        likelihood = GENE_LIKELIHOODS[gene_likelihood]
        encoder = PerturbedStateEncoder if latent_prior == "shifted" else BasalEncoder
        self.encoder = encoder(
            n_input,
            n_latent,
            n_hidden,
            n_layers,
            sees_offset=latent_prior == "basal" and not mean_field_encoder,
            counts=likelihood.is_of_counts,
            dropout_rate=dropout_rate,
        )
        self.decoder = Decoder(
            n_latent, sum(self.n_categories) + n_continuous_cov, n_hidden, n_layers
        )
        self.dosage_inputs = (
            nn.ModuleDict(
                {part: DosageInput(n_perturbations, n_hidden) for part in ("encoder", "decoder")}
            )
            if latent_prior == "standard"
            else None
        )
        self.likelihood = likelihood(
            n_hidden, n_input, dispersion=dispersion, sums_to_one=not use_size_factor
        )
        self.register_buffer("mean_size_factor", torch.ones(()))
        self.register_buffer("is_prepared", torch.zeros((), dtype=torch.bool))
        self.register_buffer("is_settled", torch.zeros((), dtype=torch.bool))

    def prepare(self, statistics: TrainingStatistics) -> None:
        """Take what training needs to know of its cells.

        The numbers of cells per perturbation follow each call. Standardisation and the decoder's
        bias are set once, since the networks grow around them.

        Parameters
        ----------
        statistics
            Computed from the training cells alone.
        """
        device = self.mean_size_factor.device
        self.perturbations.set_n_cells(statistics.n_cells_per_perturbation.to(device))
        if self.dosage_inputs is not None:
            for dosage_input in self.dosage_inputs.values():
                assert isinstance(dosage_input, DosageInput)
                dosage_input.forget(self.perturbations.n_cells == 0)
        if self.is_prepared:
            return
        input_sd = statistics.input_sd.to(device)
        self.encoder.set_standardisation(statistics.input_mean.to(device), input_sd)
        self.likelihood.start_at(statistics.mean_expression.to(device), input_sd)
        self.mean_size_factor.copy_(statistics.mean_size_factor)
        self.is_prepared.fill_(True)

    @property
    def has_masks(self) -> bool:
        """Whether there are masks to learn."""
        return not isinstance(self.perturbations.masks, FullMask)

    def start_dense(self) -> None:
        """Learn shifts without masks, until :meth:`settle_axes`."""
        self.perturbations.masks_are_free.fill_(False)

    def settle_axes(self) -> None:
        """Rotate the latent space to the axes of sparsest shifts, and set the masks free."""
        rotation = sparse_rotation(self.perturbations.expected_shifts())
        for part in (self.perturbations.effects, self.encoder, self.decoder):
            part.rotate(rotation)
        self.perturbations.masks_are_free.fill_(True)
        self.is_settled.fill_(True)

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
        draw: PerturbationDraw | None = None,
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
        draw
            Given sample of the masks and effects of all perturbations; sampled for those in the
            mini-batch if None.
        """
        index, dosage = unpack(perturbations)
        if draw is None:
            rows, position = torch.unique(index, return_inverse=True)
            draw = self.perturbations.rsample(rows, n_samples)
        else:
            position = index
        shift = offset(draw.shift, position, dosage)  # P x B x K
        if n_samples == 1:
            shift = shift.squeeze(0)
        qz_basal = self.encoder(x, shift, self._condition("encoder", perturbations))
        z_basal = qz_basal.rsample()  # P x B x K
        library = (
            x.sum(-1, keepdim=True) if self.likelihood.is_of_counts else x.new_ones(len(x), 1)
        )
        return {
            SCVI_MODULE_KEYS.Z_KEY: z_basal + shift,
            SCVI_MODULE_KEYS.QZ_KEY: Normal(
                qz_basal.loc + shift, qz_basal.scale, validate_args=False
            ),
            MODULE_KEYS.Z_BASAL: z_basal,
            MODULE_KEYS.QZ_BASAL: qz_basal,
            MODULE_KEYS.DRAW: draw,
            MODULE_KEYS.POSITION: position,
            SCVI_MODULE_KEYS.LIBRARY_KEY: torch.log(library),
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
    def latent_state(self, tensors: Tensors, shifts: torch.Tensor, *, basal: bool) -> Normal:
        """Distribution of the cells' states given the shifts of all perturbations.

        Parameters
        ----------
        tensors
            A mini-batch of B cells.
        shifts
            Shift of each perturbation, of shape T x K.
        basal
            Whether to leave the cells' offsets out.

        Returns
        -------
        Normal of shape B x K.
        """
        perturbations = tensors[REGISTRY_KEYS.PERTURBATIONS]
        shift = offset(shifts, *unpack(perturbations))  # B x K
        if self.minified_data_type is None:
            condition = self._condition("encoder", perturbations)
            state = self.encoder(tensors[SCVI_KEYS.X_KEY], shift, condition)
            perturbed = state.loc + shift
        else:
            perturbed = tensors[SCVI_KEYS.LATENT_QZM_KEY]
            state = Normal(perturbed - shift, tensors[SCVI_KEYS.LATENT_QZV_KEY].sqrt())
        return Normal(state.loc if basal else perturbed, state.scale, validate_args=False)
