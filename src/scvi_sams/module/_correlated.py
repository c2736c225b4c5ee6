"""The correlated effect guide."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from scvi_sams.module._effects import (
    EffectGuide,
    gaussian_kl,
    gaussian_log_ratio,
    inverse_softplus,
)
from scvi_sams.module._networks import ResidualTrunk, rotate_head

_N_SAMPLES = 128
_ELEMENTS_AT_ONCE = 2**24


class CorrelatedEffects(EffectGuide):
    r"""Effects that depend on the whole mask of their perturbation, through a network.

    .. math::
        q(e_t | m_t) = N(\mu(m_t, t), \mathrm{diag}(s(m_t, t)^2)), \qquad
        (\mu, s) = \mathrm{NN}([m_t, \mathrm{onehot}(t)])

    (Bereket & Karaletsos 2023). The first layer is linear in its two inputs, so the one-hot code
    is a row of a table.

    Parameters
    ----------
    n_perturbations
        Number of perturbations T.
    n_latent
        Number of latent dimensions K.
    prior_scale
        Prior standard deviation σ_e, in units of the latent space.
    n_hidden, n_layers
        Width and number of hidden layers; 2 × 200 and 4 × 400 in the paper.
    """

    is_prior: torch.Tensor

    def __init__(
        self,
        n_perturbations: int,
        n_latent: int,
        *,
        prior_scale: float,
        n_hidden: int = 200,
        n_layers: int = 2,
    ) -> None:
        super().__init__(prior_scale)
        self.from_perturbation = nn.Embedding(n_perturbations, n_hidden)
        self.from_mask = nn.Linear(n_latent, n_hidden)
        self.trunk = ResidualTrunk(n_hidden, n_layers)
        self.loc = nn.Linear(n_hidden, n_latent)
        self.raw_scale = nn.Linear(n_hidden, n_latent)
        self.register_buffer("is_prior", torch.zeros(n_perturbations, dtype=torch.bool))  # T
        nn.init.normal_(self.from_perturbation.weight, std=0.1)
        start = inverse_softplus(torch.tensor(0.1))
        nn.init.constant_(self.raw_scale.bias, float(start))

    def mean_and_sd(
        self, mask: torch.Tensor, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Location and scale given the masks; P x R x K."""
        hidden = self.trunk(self.from_mask(mask) + self.from_perturbation(rows))  # P x R x H
        loc = self.loc(hidden) * self.prior_scale
        scale = (F.softplus(self.raw_scale(hidden)) + 1e-6) * self.prior_scale
        is_prior = self.is_prior[rows].unsqueeze(-1)  # R x 1
        return loc.masked_fill(is_prior, 0.0), scale.masked_fill(is_prior, self.prior_scale)

    @torch.no_grad()
    def mean_and_sd_where_on(
        self, inclusion: torch.Tensor, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Averages over samples of the other dimensions' masks, R x K.

        The random numbers are the same at every call and for every row.
        """
        generator = torch.Generator().manual_seed(0)
        uniform = torch.rand((_N_SAMPLES, 1, inclusion.shape[1]), generator=generator)
        masks = (uniform.to(inclusion) < inclusion).to(inclusion.dtype)  # S x R x K
        mean, sd = torch.empty_like(inclusion), torch.empty_like(inclusion)
        n_rows = max(_ELEMENTS_AT_ONCE // (_N_SAMPLES * self.loc.in_features), 1)
        for some in torch.arange(len(rows), device=rows.device).split(n_rows):
            for k in range(inclusion.shape[1]):
                mask = masks[:, some].clone()
                mask[..., k] = 1
                loc, scale = (value[..., k] for value in self.mean_and_sd(mask, rows[some]))
                mean[some, k] = loc.mean(0)
                sd[some, k] = (scale.square().mean(0) + loc.var(0, correction=0)).sqrt()
        return mean, sd

    def rsample(self, mask: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Sample effects given the masks; P x R x K."""
        loc, scale = self.mean_and_sd(mask, rows)
        return loc + scale * torch.randn_like(mask)

    def kl(self, mask: torch.Tensor, inclusion: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Gaussian divergence given the sampled masks; shape P x R x K."""
        return gaussian_kl(*self.mean_and_sd(mask, rows), self.prior_scale)

    def log_ratio(
        self, effect: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """Ratio of the two Gaussians given the sampled masks."""
        return gaussian_log_ratio(effect, *self.mean_and_sd(mask, rows), self.prior_scale)

    @torch.no_grad()
    def reset_to_prior(self, rows: torch.Tensor) -> None:
        """Let ``rows``, and only them, have the prior whatever the network says."""
        self.is_prior.fill_(False)
        self.is_prior[rows] = True

    @torch.no_grad()
    def rotate(self, rotation: torch.Tensor) -> None:
        """Rotate locations and, approximately, scales.

        Until now every mask was full. What the network made of that becomes a constant, so that
        effects do not jump when masks are set free.
        """
        self.from_mask.bias.add_(self.from_mask.weight.sum(1))
        self.from_mask.weight.zero_()
        rotate_head(self.loc, rotation)
        rotate_head(self.raw_scale, rotation.square())
