"""Predicting cells: replicated counts and the likelihood of held-out ones."""

from __future__ import annotations

import math

import torch
from scvi import REGISTRY_KEYS as SCVI_KEYS
from scvi.module.base import auto_move_data
from torch import nn
from torch.distributions import Normal

from scvi_sams._constants import MODULE_KEYS
from scvi_sams._scvi import MODULE_KEYS as SCVI_MODULE_KEYS
from scvi_sams.module._perturbations import PerturbationDraw

Tensors = dict[str, torch.Tensor]


class PredictiveMixin(nn.Module):
    """Posterior predictive samples and importance-weighted likelihoods of a module."""

    @torch.inference_mode()
    def sample(
        self,
        tensors: Tensors,
        n_samples: int = 1,
        generative_kwargs: dict[str, object] | None = None,
    ) -> torch.Tensor:
        """Sample counts from the posterior predictive distribution.

        Returns
        -------
        Tensor on the CPU, of shape B x G, or B x G x ``n_samples`` if that is more than one.
        """
        _, generative_outputs = self.forward(
            tensors,
            inference_kwargs={"n_samples": n_samples},
            generative_kwargs=generative_kwargs,
            compute_loss=False,
        )
        counts = generative_outputs[SCVI_MODULE_KEYS.PX_KEY].sample()
        return (counts.permute(1, 2, 0) if n_samples > 1 else counts).cpu()

    @torch.inference_mode()
    @auto_move_data
    def log_importance_weights(
        self, tensors: Tensors, n_particles: int, draw: PerturbationDraw | None = None
    ) -> torch.Tensor:
        r"""Log importance weight of each particle, the global variables not scored.

        .. math::
            \log w_{pi} = \log p(x_i | z^b_p, M_p, E_p) + \log p(z^b_p)
            - \log q(z^b_p | x_i, M_p, E_p)

        Parameters
        ----------
        tensors
            A mini-batch of B cells.
        n_particles
            Number of particles P.
        draw
            Sample of the masks and effects of all perturbations, for all mini-batches to share;
            sampled anew if None.

        Returns
        -------
        Tensor of shape P x B, in nats.
        """
        inference, generative = self.forward(
            tensors,
            get_inference_input_kwargs={"full_forward_pass": True},
            inference_kwargs={"n_samples": n_particles, "draw": draw},
            compute_loss=False,
        )
        z, qz = inference[MODULE_KEYS.Z_BASAL], inference[MODULE_KEYS.QZ_BASAL]
        log_px = generative[SCVI_MODULE_KEYS.PX_KEY].log_likelihood(tensors[SCVI_KEYS.X_KEY])
        return (log_px + log_prior_ratio(z, qz)).view(n_particles, -1)

    @torch.inference_mode()
    def marginal_ll(
        self,
        tensors: Tensors,
        n_mc_samples: int,
        return_mean: bool = False,
        n_mc_samples_per_pass: int = 10,
    ) -> torch.Tensor | float:
        """Importance-weighted estimate of log p(x_i), with masks and effects from their posterior.

        Returns
        -------
        Tensor of shape B on the CPU, or its mean; in nats.
        """
        sizes = [
            min(n_mc_samples_per_pass, n_mc_samples - done)
            for done in range(0, n_mc_samples, n_mc_samples_per_pass)
        ]
        weights = torch.cat([self.log_importance_weights(tensors, size) for size in sizes])
        estimate = log_mean_exp(weights).cpu()
        return estimate.mean().item() if return_mean else estimate


def log_prior_ratio(z: torch.Tensor, qz: Normal) -> torch.Tensor:
    """Log N(z; 0, I) - log q(z) of basal states (... x B x K), of shape ... x B."""
    prior = Normal(torch.zeros_like(z), torch.ones_like(z), validate_args=False)
    return (prior.log_prob(z) - qz.log_prob(z)).sum(-1)


def log_mean_exp(values: torch.Tensor) -> torch.Tensor:
    """Logarithm of the mean of exponentials over the first axis."""
    return torch.logsumexp(values, dim=0) - math.log(len(values))
