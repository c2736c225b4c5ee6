"""The evidence lower bound."""

from __future__ import annotations

import torch
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi.module._constants import MODULE_KEYS as SCVI_MODULE_KEYS
from scvi.module.base import LossOutput
from scvi.utils import unsupported_if_adata_minified
from torch import nn
from torch.distributions import Distribution, Normal, kl_divergence

from scvi_sams._constants import MODULE_KEYS, REGISTRY_KEYS
from scvi_sams.module._perturbations import PerturbationPosterior, unpack
from scvi_sams.module._predictive import Tensors

InferenceOutputs = dict[str, torch.Tensor | Distribution | None]


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
    """

    perturbations: PerturbationPosterior
    mask_kl_weight: float

    @unsupported_if_adata_minified
    def loss(
        self,
        tensors: Tensors,
        inference_outputs: InferenceOutputs,
        generative_outputs: dict[str, Distribution],
        kl_weight: torch.Tensor | float = 1.0,
    ) -> LossOutput:
        """Negative evidence lower bound, averaged over particles and over the cells of a batch.

        ``kl_weight`` weighs the divergence of the basal states. The losses per cell that are
        reported are never weighted.
        """
        reconstruction, kl_z = self._local_terms(tensors, inference_outputs, generative_outputs)
        kl_mask, kl_effects, extra = self._global_terms(tensors)
        loss = reconstruction + kl_weight * kl_z + kl_mask + kl_effects + extra
        return LossOutput(
            loss=loss.mean(),
            reconstruction_loss=reconstruction,
            kl_local={
                MODULE_KEYS.KL_Z: kl_z,
                MODULE_KEYS.KL_PERTURBATIONS: kl_mask + kl_effects,
            },
            extra_metrics={
                "kl_z": kl_z.mean(),
                "kl_mask": kl_mask.mean(),
                "kl_effects": kl_effects.mean(),
            },
        )

    def _local_terms(
        self,
        tensors: Tensors,
        inference_outputs: InferenceOutputs,
        generative_outputs: dict[str, Distribution],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Reconstruction loss and divergence of the basal state, averaged over particles; B."""
        qz = inference_outputs[MODULE_KEYS.QZ_BASAL]
        assert isinstance(qz, Normal)
        prior = Normal(torch.zeros_like(qz.loc), torch.ones_like(qz.scale), validate_args=False)
        kl_z = kl_divergence(qz, prior).sum(-1)  # P x B
        log_prob = generative_outputs[SCVI_MODULE_KEYS.PX_KEY].log_prob(tensors[SCVI_KEYS.X_KEY])
        n_cells = kl_z.shape[-1]
        return (
            -log_prob.sum(-1).view(-1, n_cells).mean(0),
            kl_z.view(-1, n_cells).mean(0),
        )

    def _global_terms(self, tensors: Tensors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Each cell's share of the masks' and effects' divergence, and the extra weight; B."""
        index, dosage = unpack(tensors[REGISTRY_KEYS.PERTURBATIONS])
        rows, position = torch.unique(index, return_inverse=True)
        kl_mask, kl_effects = (kl[position] for kl in self.perturbations.kl(rows))  # B x D
        share = self.perturbations.shares(index, dosage)
        extra = self.mask_kl_weight * (share > 0)
        return (share * kl_mask).sum(-1), (share * kl_effects).sum(-1), (extra * kl_mask).sum(-1)
