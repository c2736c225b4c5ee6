"""The two networks: from counts to a basal state, from a state to expected expression."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Normal
from torch.nn import functional as F


class ResidualTrunk(nn.Module):
    r"""Hidden layers after the first, each added to what it reads.

    .. math::
        h \leftarrow h + \mathrm{LeakyReLU}(W h + b)

    Parameters
    ----------
    n_hidden
        Width.
    n_layers
        Hidden layers in all, the first included.
    """

    def __init__(self, n_hidden: int, n_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(n_hidden, n_hidden) for _ in range(n_layers - 1))

    def forward(self, first: torch.Tensor) -> torch.Tensor:
        """From the first layer's linear output to the last hidden state, both ... x H."""
        hidden = F.leaky_relu(first)
        for layer in self.layers:
            hidden = hidden + F.leaky_relu(layer(hidden))
        return hidden


class BasalEncoder(nn.Module):
    r"""Posterior of the basal state.

    .. math::
        q(z^b_i | \cdot) = N(\mathrm{NN}([h(x_i), o_i])), \qquad
        h(x) = (\log(1 + x) - \mathrm{mean}) / \mathrm{sd}

    with counts :math:`x_i` and the sampled offset :math:`o_i = \sum_t d_{it} m_t \odot e_t` of
    the same particle. The first layer is linear in its two inputs, so x is read once however
    many particles there are.

    Parameters
    ----------
    n_genes, n_latent, n_hidden, n_layers
        Sizes G, K, H and the number of hidden layers.
    sees_offset
        Whether the offset is an input; without it the posterior is mean-field.
    """

    log_mean: torch.Tensor
    inverse_sd: torch.Tensor

    def __init__(
        self, n_genes: int, n_latent: int, n_hidden: int, n_layers: int, *, sees_offset: bool
    ) -> None:
        super().__init__()
        self.register_buffer("log_mean", torch.zeros(n_genes))
        self.register_buffer("inverse_sd", torch.ones(n_genes))
        self.from_counts = nn.Linear(n_genes, n_hidden)
        self.from_offset = nn.Linear(n_latent, n_hidden, bias=False) if sees_offset else None
        self.trunk = ResidualTrunk(n_hidden, n_layers)
        self.loc = nn.Linear(n_hidden, n_latent)
        self.raw_scale = nn.Linear(n_hidden, n_latent)

    def set_standardisation(self, log_mean: torch.Tensor, log_sd: torch.Tensor) -> None:
        """Take mean and sd (G) of log(1 + x) over training cells; a constant gene reads as 0."""
        self.log_mean.copy_(log_mean)
        self.inverse_sd.copy_(torch.where(log_sd > 1e-6, 1 / log_sd.clamp(min=1e-6), 0.0))

    def forward(self, x: torch.Tensor, offset: torch.Tensor) -> Normal:
        """Posterior over z^b (... x B x K) from counts (B x G) and offsets (... x B x K)."""
        standardised = (torch.log1p(x) - self.log_mean) * self.inverse_sd
        first = self.from_counts(standardised)  # B x H
        if self.from_offset is not None:
            first = first + self.from_offset(offset)  # ... x B x H
        hidden = self.trunk(first)
        loc, scale = self.loc(hidden), F.softplus(self.raw_scale(hidden)) + 1e-4
        return Normal(loc.expand(offset.shape), scale.expand(offset.shape), validate_args=False)


class Decoder(nn.Module):
    r"""Expected expression of a latent state.

    .. math::
        \log \rho_i = \log\mathrm{softmax}(f_\theta(z_i, c_i))
        \quad\text{or}\quad \log\mathrm{softplus}(f_\theta(z_i, c_i))

    with the state :math:`z_i` and the covariates :math:`c_i`. Shares of the observed library sum
    to one (softmax); relative to a size factor they need not (softplus).

    Parameters
    ----------
    n_latent, n_covariates, n_genes, n_hidden, n_layers
        Sizes K, C, G, H and the number of hidden layers.
    sums_to_one
        Whether the shares are those of the observed library.
    """

    def __init__(
        self,
        n_latent: int,
        n_covariates: int,
        n_genes: int,
        n_hidden: int,
        n_layers: int,
        *,
        sums_to_one: bool,
    ) -> None:
        super().__init__()
        self.sums_to_one = sums_to_one
        self.from_state = nn.Linear(n_latent, n_hidden)
        self.from_covariates = (
            nn.Linear(n_covariates, n_hidden, bias=False) if n_covariates else None
        )
        self.trunk = ResidualTrunk(n_hidden, n_layers)
        self.to_genes = nn.Linear(n_hidden, n_genes)

    @torch.no_grad()
    def start_at(self, share: torch.Tensor) -> None:
        """Set the output bias to the mean share of each gene (G) over training cells."""
        share = share.clamp(min=1e-8)
        self.to_genes.bias.copy_(
            torch.log(share) if self.sums_to_one else share + torch.log(-torch.expm1(-share))
        )

    def forward(self, z: torch.Tensor, covariates: torch.Tensor) -> torch.Tensor:
        """Log share (... x B x G) of states (... x B x K) under covariates (B x C)."""
        first = self.from_state(z)  # ... x B x H
        if self.from_covariates is not None:
            first = first + self.from_covariates(covariates)
        logits = self.to_genes(self.trunk(first))  # ... x B x G
        if self.sums_to_one:
            return F.log_softmax(logits, dim=-1)
        # softplus(y) -> exp(y) far below zero, where its own log would be -inf
        return torch.where(logits < -15, logits, torch.log(F.softplus(logits.clamp(min=-15))))
