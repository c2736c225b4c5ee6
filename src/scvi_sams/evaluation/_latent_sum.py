"""A network in whose latent space perturbations add up."""

from __future__ import annotations

import torch
from torch import nn

from scvi_sams.module._networks import ResidualTrunk


class LatentSum(nn.Module):
    r"""Decoded change of mean expression.

    .. math::
        g(u, d) = W \, \mathbb{E}_u\Big[h\big(u + \sum_j d_j v_j\big)\Big] + b

    with origins :math:`u` (K), indicators :math:`d_j` of what cells received and their latent
    vectors :math:`v_j` (K), hidden layers :math:`h` (H), and W, b of the output layer, which is
    linear, so that the mean over origins is taken before it. The latent vectors start at zero:
    what no training cell received does nothing.

    Parameters
    ----------
    n_genes, n_indicators, n_latent, n_hidden, n_layers
        Sizes G, J, K, H and the number of hidden layers of each network.
    encodes_cells
        Whether origins are encoded from cells; they are zero otherwise.
    dropout_rate
        Share of the hidden values that are set to zero in training.
    """

    def __init__(
        self,
        n_genes: int,
        n_indicators: int,
        *,
        n_latent: int,
        n_hidden: int,
        n_layers: int,
        encodes_cells: bool,
        dropout_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_latent = n_latent

        def hidden(n_in: int) -> nn.Module:
            return nn.Sequential(
                nn.Linear(n_in, n_hidden),
                ResidualTrunk(n_hidden, n_layers),
                nn.Dropout(dropout_rate),
            )

        self.encoder = (
            nn.Sequential(hidden(n_genes), nn.Linear(n_hidden, n_latent))
            if encodes_cells
            else None
        )
        self.vectors = nn.Linear(n_indicators, n_latent, bias=False)
        nn.init.zeros_(self.vectors.weight)
        self.decoder = hidden(n_latent)
        self.output = nn.Linear(n_hidden, n_genes)

    def origins(self, cells: torch.Tensor) -> torch.Tensor:
        """Origins of cells (... x G), ... x K."""
        if self.encoder is None:
            return cells.new_zeros(*cells.shape[:-1], self.n_latent)
        return self.encoder(cells)

    def forward(self, origins: torch.Tensor, indicators: torch.Tensor) -> torch.Tensor:
        """Changes, B x G, from origins (B or 1 x S x K) and indicators (B x J)."""
        states = origins + self.vectors(indicators).unsqueeze(1)
        return self.output(self.decoder(states).mean(dim=1))
