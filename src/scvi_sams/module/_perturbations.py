r"""The global variables of the model: masks and effects of all perturbations."""

from __future__ import annotations

import torch
from torch import nn

from scvi_sams.module._effects import EffectGuide
from scvi_sams.module._mask import BernoulliMask


class PerturbationPosterior(nn.Module):
    r"""Posterior of masks and effects, and the bookkeeping of their divergence.

    .. math::
        \mathrm{KL}_t = \sum_k \mathrm{KL}(q(m_{tk}) \| p(m_{tk}))
        + E_{q(m)} \mathrm{KL}(q(e_{tk} | m_{tk}) \| p(e_{tk}))

    The evidence lower bound holds each :math:`\mathrm{KL}_t` once. A mini-batch estimates that
    without bias when every cell that received perturbation :math:`t` carries
    :math:`\mathrm{KL}_t / N_t`, with :math:`N_t` the number of *training* cells that received it;
    the same :math:`N_t` serve validation cells, so that both bounds have one scale. A
    perturbation without a training cell has no share anywhere: its posterior is its prior.

    Parameters
    ----------
    mask
        Posterior of the masks.
    effects
        Posterior of the effects given the masks.
    """

    n_cells: torch.Tensor

    def __init__(self, mask: BernoulliMask, effects: EffectGuide) -> None:
        super().__init__()
        self.mask = mask
        self.effects = effects
        self.register_buffer("n_cells", torch.zeros(mask.logits.shape[0]))  # T

    def set_n_cells(self, n_cells: torch.Tensor) -> None:
        """Take the numbers of training cells N_t, of shape T; untrained rows become the prior."""
        self.n_cells.copy_(n_cells)
        untrained = torch.nonzero(self.n_cells == 0).squeeze(-1)
        self.mask.reset_to_prior(untrained)
        self.effects.reset_to_prior(untrained)

    def rsample_shifts(self, rows: torch.Tensor, n_particles: int) -> torch.Tensor:
        r"""Sample the shifts :math:`m_t \odot e_t` of ``rows`` (R); P x R x K."""
        return self.effects.rsample_shift(self.mask.rsample(rows, n_particles), rows)

    def expected_shifts(self) -> torch.Tensor:
        r"""Posterior mean :math:`E[m_t \odot e_t]`, of shape T x K."""
        return self.mask.inclusion_probability * self.effects.loc

    def kl(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Divergences of masks and of effects of ``rows`` (R), each of shape R, in nats."""
        inclusion = torch.sigmoid(self.mask.logits[rows])
        return self.mask.kl(rows).sum(-1), self.effects.kl(inclusion, rows).sum(-1)

    def shares(self, index: torch.Tensor, dosage: torch.Tensor) -> torch.Tensor:
        """Share 1 / N_t that each cell carries of each of its perturbations.

        Parameters
        ----------
        index, dosage
            The cells' perturbations, each of shape B x D.

        Returns
        -------
        Tensor of shape B x D; 0 for padding and for perturbations without a training cell.
        """
        n_cells = self.n_cells[index]
        return torch.where((dosage != 0) & (n_cells > 0), 1 / n_cells.clamp(min=1), 0.0)


def offset(shifts: torch.Tensor, position: torch.Tensor, dosage: torch.Tensor) -> torch.Tensor:
    r"""Sum of a cell's shifts, :math:`\sum_t d_{it} (m_t \odot e_t)`.

    Parameters
    ----------
    shifts
        Shifts of R perturbations, of shape ... x R x K.
    position
        Rows of ``shifts`` that belong to each cell, of shape B x D.
    dosage
        Their doses, of shape B x D; 0 for padding.

    Returns
    -------
    Tensor of shape ... x B x K.
    """
    return (shifts[..., position, :] * dosage.unsqueeze(-1)).sum(-2)


def unpack(perturbations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices and doses, each B x D, of packed perturbations (B x 2D)."""
    index, dosage = perturbations.chunk(2, dim=-1)
    return index.long(), dosage
