"""The two networks: from a cell to its basal state, and from a state to a hidden layer."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Normal
from torch.nn import functional as F


class ResidualTrunk(nn.Module):
    r"""Hidden layers after the first, each added to what it reads.

    .. math::
        h \leftarrow h + \mathrm{GELU}(W h + b)

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
        hidden = F.gelu(first)
        for layer in self.layers:
            hidden = hidden + F.gelu(layer(hidden))
        return hidden


class Dropout(nn.Module):
    r"""Set a share of the inputs to zero in training, and scale the others up.

    .. math::
        x_j \leftarrow \frac{x_j 1[u_j \ge p]}{1 - p}, \qquad
        u_j \sim \mathrm{Uniform}\{0, 2^{-16}, \dots, 1 - 2^{-16}\}

    where p is rounded to a multiple of :math:`2^{-16}`. One random number of 64 bits serves four
    inputs: a CPU draws them one by one, and one for each input would take a tenth of a step.

    Parameters
    ----------
    rate
        Share p, at least 0 and less than 1.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.dropped = min(round(rate * 2**16), 2**16 - 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs with dropout, of any shape; as they are in evaluation."""
        if not self.training or not self.dropped:
            return x
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
        lots = words.random_(-(2**63), None).view(torch.int16)[: x.numel()].view(x.shape)
        scale = 2**16 / (2**16 - self.dropped)
        return (x * scale).masked_fill(lots < self.dropped - 2**15, 0.0)


class BasalEncoder(nn.Module):
    r"""Posterior of the basal state.

    .. math::
        q(z^b_i | \cdot) = N(\mathrm{NN}([h(x_i), o_i]) + (A h(x_i), 0)), \qquad
        h(x) = (\log(1 + x) - \mathrm{mean}) / \mathrm{sd}

    with counts :math:`x_i` (real values enter without the logarithm) and the sampled offset
    :math:`o_i = \sum_t d_{it} m_t \odot e_t` of the same particle. The first layer is linear in
    its inputs, so x is read once however many particles there are. The linear map A adds to the
    location: most of a state can be read off the data linearly.

    Parameters
    ----------
    n_genes, n_latent, n_hidden, n_layers
        Sizes G, K, H and the number of hidden layers.
    sees_offset
        Whether the offset is an input; without it the posterior is mean-field.
    counts
        Whether x are counts.
    dropout_rate
        Share of the inputs from x that are set to their mean in training.
    """

    input_mean: torch.Tensor
    inverse_sd: torch.Tensor

    def __init__(
        self,
        n_genes: int,
        n_latent: int,
        n_hidden: int,
        n_layers: int,
        *,
        sees_offset: bool,
        counts: bool = True,
        dropout_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.counts = counts
        self.dropout = Dropout(dropout_rate)
        self.register_buffer("input_mean", torch.zeros(n_genes))
        self.register_buffer("inverse_sd", torch.ones(n_genes))
        self.from_genes = nn.Linear(n_genes, n_hidden)
        self.from_offset = nn.Linear(n_latent, n_hidden, bias=False) if sees_offset else None
        self.trunk = ResidualTrunk(n_hidden, n_layers)
        self.loc = nn.Linear(n_hidden, n_latent)
        self.linear_loc = nn.Linear(n_genes, n_latent, bias=False)
        self.raw_scale = nn.Linear(n_hidden, n_latent)

    def set_standardisation(self, mean: torch.Tensor, sd: torch.Tensor) -> None:
        """Take mean and sd (G) of the inputs over training cells; a constant gene reads as 0."""
        self.input_mean.copy_(mean)
        self.inverse_sd.copy_(torch.where(sd > 1e-6, 1 / sd.clamp(min=1e-6), 0.0))

    def forward(
        self, x: torch.Tensor, offset: torch.Tensor, condition: torch.Tensor | None = None
    ) -> Normal:
        """Posterior over z^b, ... x B x K.

        From x (B x G), offsets (... x B x K) and conditions (B x H).
        """
        inputs = torch.log1p(x) if self.counts else x
        standardised = self.dropout((inputs - self.input_mean) * self.inverse_sd)
        first, linear_loc = _together(standardised, self.from_genes, self.linear_loc)  # B x H, K
        if condition is not None:
            first = first + condition
        if self.from_offset is not None:
            first = first + self.from_offset(offset)  # ... x B x H
        hidden = self.trunk(first)
        loc, raw_scale = _together(hidden, self.loc, self.raw_scale)  # ... x B x K
        loc, scale = loc + linear_loc, F.softplus(raw_scale) + 1e-4
        return Normal(loc.expand(offset.shape), scale.expand(offset.shape), validate_args=False)

    @torch.no_grad()
    def rotate(self, rotation: torch.Tensor) -> None:
        """Follow a rotation of the latent space, z → z R (K x K); the scales approximately."""
        if self.from_offset is not None:
            self.from_offset.weight.copy_(self.from_offset.weight @ rotation)
        rotate_head(self.loc, rotation)
        self.linear_loc.weight.copy_(rotation.T @ self.linear_loc.weight)
        rotate_head(self.raw_scale, rotation.square())


class PerturbedStateEncoder(BasalEncoder):
    r"""Posterior of the basal state that follows from one of the perturbed state.

    .. math::
        q(z_i | x_i) = N(\mathrm{NN}(h(x_i))), \qquad z^b_i = z_i - o_i

    as SVAE+ has it (Lopez et al. 2023): the guide does not know the perturbation, and the
    divergence of :math:`z_i` from :math:`N(o_i, I)` is that of :math:`z^b_i` from :math:`N(0, I)`.
    """

    def forward(
        self, x: torch.Tensor, offset: torch.Tensor, condition: torch.Tensor | None = None
    ) -> Normal:
        """Posterior over z^b (... x B x K) from x (B x G) and offsets (... x B x K)."""
        state = super().forward(x, offset, condition)
        return Normal(state.loc - offset, state.scale, validate_args=False)


class Decoder(nn.Module):
    r"""Hidden layer of a latent state, from which the likelihood takes its parameters.

    .. math::
        f_\theta(z_i, c_i)

    with the state :math:`z_i` and the covariates :math:`c_i`.

    Parameters
    ----------
    n_latent, n_covariates, n_hidden, n_layers
        Sizes K, C, H and the number of hidden layers.
    """

    def __init__(self, n_latent: int, n_covariates: int, n_hidden: int, n_layers: int) -> None:
        super().__init__()
        self.from_state = nn.Linear(n_latent, n_hidden)
        self.from_covariates = (
            nn.Linear(n_covariates, n_hidden, bias=False) if n_covariates else None
        )
        self.trunk = ResidualTrunk(n_hidden, n_layers)

    def forward(
        self, z: torch.Tensor, covariates: torch.Tensor, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Hidden layer, ... x B x H.

        From states (... x B x K), covariates (B x C) and conditions (B x H).
        """
        first = self.from_state(z)  # ... x B x H
        if self.from_covariates is not None:
            first = first + self.from_covariates(covariates)
        if condition is not None:
            first = first + condition
        return self.trunk(first)

    @torch.no_grad()
    def rotate(self, rotation: torch.Tensor) -> None:
        """Follow a rotation of the latent space, z → z R (K x K)."""
        self.from_state.weight.copy_(self.from_state.weight @ rotation)


class DosageInput(nn.Module):
    r"""A linear layer on dosages, read from the short list of a cell's perturbations.

    .. math::
        \sum_t d_{it} w_t

    Parameters
    ----------
    n_perturbations, n_hidden
        Number of perturbations T and width H. The weights start at zero, so that a perturbation
        without training cells is as no perturbation.
    """

    def __init__(self, n_perturbations: int, n_hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_perturbations, n_hidden))  # T x H

    def forward(self, index: torch.Tensor, dosage: torch.Tensor) -> torch.Tensor:
        """Conditions (B x H) from indices and doses (B x D)."""
        return (self.weight[index] * dosage.unsqueeze(-1)).sum(-2)

    @torch.no_grad()
    def forget(self, untrained: torch.Tensor) -> None:
        """Set the weights of perturbations without training cells (T, boolean) to zero."""
        self.weight[untrained] = 0.0


def _together(x: torch.Tensor, *layers: nn.Linear) -> tuple[torch.Tensor, ...]:
    """Linear layers of the same input, as one product of matrices."""
    weight = torch.cat([layer.weight for layer in layers])
    bias = torch.cat(
        [
            weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias
            for layer in layers
        ]
    )
    return F.linear(x, weight, bias).split([layer.out_features for layer in layers], dim=-1)


@torch.no_grad()
def rotate_head(head: nn.Linear, rotation: torch.Tensor) -> None:
    """Rotate the outputs of a linear layer, y → y R (K x K)."""
    head.weight.copy_(rotation.T @ head.weight)
    head.bias.copy_(head.bias @ rotation)
