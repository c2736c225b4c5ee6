"""The training objective: the evidence lower bound, or its importance-weighted kin."""

from __future__ import annotations

from typing import Literal

import torch
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi.module.base import LossOutput
from scvi.utils import unsupported_if_adata_minified
from torch import nn
from torch.distributions import Distribution, Normal

from scvi_sams._constants import MODULE_KEYS, REGISTRY_KEYS
from scvi_sams._scvi import MODULE_KEYS as SCVI_MODULE_KEYS
from scvi_sams.module._measured import Measured
from scvi_sams.module._perturbations import PerturbationDraw, PerturbationPosterior, unpack
from scvi_sams.module._predictive import Tensors, log_mean_exp, log_prior_ratio

InferenceOutputs = dict[str, torch.Tensor | Distribution | PerturbationDraw | None]


class ElboMixin(nn.Module):
    r"""Mini-batch estimate of the evidence lower bound.

    .. math::
        \mathrm{ELBO}_i = E_q[\log p(x_i | z_i)] - E_q \mathrm{KL}(q(z^b_i) \| N(0, I))
        - \sum_{t : d_{it} \ne 0} \mathrm{KL}_t / N_t

    for cell i with counts :math:`x_i`, latent state :math:`z_i`, basal state :math:`z^b_i` and
    dosages :math:`d_i`; :math:`\mathrm{KL}_t` is the divergence of the masks and effects of
    perturbation t and :math:`N_t` the number of its training cells. Summed over the training
    cells, this is the bound of the whole data. Because each cell carries its own share,
    scvi-tools' ``elbo_train``, ``elbo_validation`` and ``get_elbo`` hold the global terms at the
    right scale.

    The importance-weighted objective replaces the mean over P joint samples ("particles") of all
    latent variables by the logarithm of the mean of their weights,

    .. math::
        \mathrm{IWELBO}_i = \log \frac1P \sum_p \exp\Big\{
        \log\frac{p(x_i | z_{ip}) \, p(z^b_{ip})}{q(z^b_{ip})}
        + \sum_{t : d_{it} \ne 0} \frac{1}{N_t} \log\frac{p(m_{tp}, e_{tp})}{q(m_{tp}, e_{tp})}
        \Big\}

    (Burda et al. 2016; Bereket & Karaletsos 2023). With one particle the two have the same
    expectation.
    """

    perturbations: PerturbationPosterior
    mask_kl_weight: float
    objective: Literal["elbo", "iwelbo"]

    @unsupported_if_adata_minified
    def loss(
        self,
        tensors: Tensors,
        inference_outputs: InferenceOutputs,
        generative_outputs: dict[str, Measured],
        kl_weight: torch.Tensor | float = 1.0,
        mask_weight: float = 1.0,
    ) -> LossOutput:
        """Negative objective, averaged over the cells of a batch.

        ``kl_weight`` weighs the divergence of the basal states, and ``mask_weight`` is the share
        of ``mask_kl_weight`` that is in force. The losses per cell that are reported are those of
        the evidence lower bound, never weighted.
        """
        log_px, kl_z = self._local_terms(tensors, inference_outputs, generative_outputs)
        kl_mask, kl_effects, extra = self._global_terms(tensors, inference_outputs)
        reconstruction, kl_z_mean = -log_px.mean(0), kl_z.mean(0)
        if self.objective == "elbo":
            loss = reconstruction + kl_weight * kl_z_mean + kl_mask + kl_effects
        else:
            z, qz = inference_outputs[MODULE_KEYS.Z_BASAL], inference_outputs[MODULE_KEYS.QZ_BASAL]
            assert isinstance(z, torch.Tensor)
            assert isinstance(qz, Normal)
            log_ratio_z = log_prior_ratio(z, qz).view_as(log_px)
            log_ratio = self._global_log_ratio(tensors, inference_outputs)
            loss = -log_mean_exp(log_px + kl_weight * log_ratio_z + log_ratio)
        return LossOutput(
            loss=(loss + mask_weight * extra).mean(),
            reconstruction_loss=reconstruction,
            kl_local={
                MODULE_KEYS.KL_Z: kl_z_mean,
                MODULE_KEYS.KL_PERTURBATIONS: kl_mask + kl_effects,
            },
            extra_metrics={
                "kl_z": kl_z_mean.mean(),
                "kl_mask": kl_mask.mean(),
                "kl_effects": kl_effects.mean(),
            },
        )

    def _local_terms(
        self,
        tensors: Tensors,
        inference_outputs: InferenceOutputs,
        generative_outputs: dict[str, Measured],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log likelihood and divergence of the basal state, each P x B."""
        qz = inference_outputs[MODULE_KEYS.QZ_BASAL]
        assert isinstance(qz, Normal)
        # from N(0, I), in single precision at least
        precision = torch.promote_types(qz.loc.dtype, torch.float32)
        loc, scale = qz.loc.to(precision), qz.scale.to(precision)
        kl_z = 0.5 * (loc.square() + scale.square() - 1).sum(-1) - torch.log(scale).sum(-1)
        px = generative_outputs[SCVI_MODULE_KEYS.PX_KEY]
        log_px = px.log_likelihood(tensors[SCVI_KEYS.X_KEY])
        n_cells = kl_z.shape[-1]
        return log_px.view(-1, n_cells), kl_z.view(-1, n_cells)

    def _global_terms(
        self, tensors: Tensors, inference_outputs: InferenceOutputs
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Each cell's share of the masks' and effects' divergence, and the extra weight; B."""
        draw, position, share = self._received(tensors, inference_outputs)
        kl_mask, kl_effects = (kl[position] for kl in self.perturbations.kl(draw))  # B x D
        extra = self.mask_kl_weight * (share > 0)
        return (share * kl_mask).sum(-1), (share * kl_effects).sum(-1), (extra * kl_mask).sum(-1)

    def _global_log_ratio(
        self, tensors: Tensors, inference_outputs: InferenceOutputs
    ) -> torch.Tensor:
        """Each cell's share of log p(m, e) - log q(m, e), P x B."""
        draw, position, share = self._received(tensors, inference_outputs)
        return (share * self.perturbations.log_ratio(draw)[:, position]).sum(-1)

    def _received(
        self, tensors: Tensors, inference_outputs: InferenceOutputs
    ) -> tuple[PerturbationDraw, torch.Tensor, torch.Tensor]:
        """Sample of the batch's perturbations, its rows and shares of each cell (B x D)."""
        draw = inference_outputs[MODULE_KEYS.DRAW]
        position = inference_outputs[MODULE_KEYS.POSITION]
        assert isinstance(draw, PerturbationDraw)
        assert isinstance(position, torch.Tensor)
        share = self.perturbations.shares(*unpack(tensors[REGISTRY_KEYS.PERTURBATIONS]))
        return draw, position, share
