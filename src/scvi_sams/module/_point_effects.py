"""Effects without a posterior: points that are learned, or none at all."""

from __future__ import annotations

import torch
from torch import nn

from scvi_sams.module._effects import EffectGuide


class PointEffects(EffectGuide):
    """Learned points without a prior, as SVAE+ has them (Lopez et al. 2023).

    Parameters
    ----------
    n_perturbations
        Number of perturbations T.
    n_latent
        Number of latent dimensions K.
    prior_scale
        Unit of the effects; a step of the optimizer is as large a part of it whatever it is.
    """

    def __init__(self, n_perturbations: int, n_latent: int, *, prior_scale: float) -> None:
        super().__init__(prior_scale)
        self.relative_loc = nn.Parameter(torch.zeros(n_perturbations, n_latent))  # T x K

    def mean_and_sd(
        self, mask: torch.Tensor, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The points, and zero; R x K."""
        loc = self.prior_scale * self.relative_loc[rows]
        return loc, torch.zeros_like(loc)

    def rsample(self, mask: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The points, without a random number; P x R x K."""
        return (self.prior_scale * self.relative_loc[rows]).expand_as(mask)

    def kl(self, mask: torch.Tensor, inclusion: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Zero."""
        return torch.zeros_like(inclusion)

    def log_ratio(
        self, effect: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """Zero."""
        return torch.zeros_like(effect)

    @torch.no_grad()
    def reset_to_prior(self, rows: torch.Tensor) -> None:
        """Make the effects of ``rows`` zero."""
        self.relative_loc[rows] = 0.0

    @torch.no_grad()
    def rotate(self, rotation: torch.Tensor) -> None:
        """Rotate the points."""
        self.relative_loc.copy_(self.relative_loc @ rotation)


class NoEffects(PointEffects):
    """No effect on the latent state, as in the conditional VAE: points that stay zero."""

    def __init__(self, n_perturbations: int, n_latent: int, *, prior_scale: float) -> None:
        super().__init__(n_perturbations, n_latent, prior_scale=prior_scale)
        self.relative_loc.requires_grad_(False)
