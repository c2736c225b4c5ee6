r"""The global variables of the model: masks and effects of all perturbations."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from scvi_sams.module._effects import EffectGuide
from scvi_sams.module._mask import FullMask, Mask


class PerturbationDraw(NamedTuple):
    """A joint sample of masks and effects.

    Attributes
    ----------
    rows
        Perturbations sampled, of shape R.
    mask, effect
        Samples of m and e, each of shape P x R x K.
    """

    rows: torch.Tensor
    mask: torch.Tensor
    effect: torch.Tensor

    @property
    def shift(self) -> torch.Tensor:
        """M ⊙ e, of shape P x R x K."""
        return self.mask * self.effect

    def split(self, n_particles: int) -> list[PerturbationDraw]:
        """The same in parts of at most ``n_particles``."""
        parts = zip(self.mask.split(n_particles), self.effect.split(n_particles), strict=True)
        return [PerturbationDraw(self.rows, mask, effect) for mask, effect in parts]


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

    While ``masks_are_free`` is False every mask is full: at first, shifts are learned without.

    Parameters
    ----------
    masks
        Posterior of the masks.
    effects
        Posterior of the effects given the masks.
    n_perturbations, n_latent
        Numbers of perturbations T and of latent dimensions K.
    """

    n_cells: torch.Tensor
    masks_are_free: torch.Tensor

    def __init__(
        self, masks: Mask, effects: EffectGuide, n_perturbations: int, n_latent: int
    ) -> None:
        super().__init__()
        self.masks = masks
        self.effects = effects
        self.full_mask = FullMask(n_latent)
        self.register_buffer("n_cells", torch.zeros(n_perturbations))  # T
        self.register_buffer("masks_are_free", torch.ones((), dtype=torch.bool))

    @property
    def mask(self) -> Mask:
        """The masks in use: full ones until they are set free."""
        return self.masks if self.masks_are_free else self.full_mask

    @property
    def everything(self) -> torch.Tensor:
        """Indices of all perturbations, T."""
        return torch.arange(len(self.n_cells), device=self.n_cells.device)

    @property
    def inclusion_probability(self) -> torch.Tensor:
        """q(m = 1), of shape T x K."""
        return self.mask.inclusion(self.everything)

    def set_n_cells(self, n_cells: torch.Tensor) -> None:
        """Take the numbers of training cells N_t, of shape T; untrained rows become the prior."""
        self.n_cells.copy_(n_cells)
        untrained = torch.nonzero(self.n_cells == 0).squeeze(-1)
        self.masks.reset_to_prior(untrained)
        self.effects.reset_to_prior(untrained)

    def rsample(self, rows: torch.Tensor, n_particles: int) -> PerturbationDraw:
        """Sample masks and effects of ``rows`` (R)."""
        mask = self.mask.rsample(rows, n_particles)
        return PerturbationDraw(rows, mask, self.effects.rsample(mask, rows))

    @torch.no_grad()
    def expected_shifts(self, rows: torch.Tensor | None = None) -> torch.Tensor:
        r"""Posterior mean :math:`E[m_t \odot e_t]` of ``rows`` (R), or all of them, R x K."""
        rows = self.everything if rows is None else rows
        mean, _ = self.effect_mean_and_sd(rows)
        return self.mask.inclusion(rows) * mean

    @torch.no_grad()
    def effect_mean_and_sd(
        self, rows: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of each effect given that its mask is on, each R x K."""
        rows = self.everything if rows is None else rows
        return self.effects.mean_and_sd_where_on(self.mask.inclusion(rows), rows)

    def kl(self, draw: PerturbationDraw) -> tuple[torch.Tensor, torch.Tensor]:
        """Divergences of masks and of effects of the rows of a draw, each of shape R, in nats."""
        rows = draw.rows
        kl_effects = self.effects.kl(draw.mask, self.mask.inclusion(rows), rows)
        # given the sampled masks (P x R x K), or in expectation over them (R x K)
        kl_effects = kl_effects.reshape(-1, *kl_effects.shape[-2:]).mean(0)
        return self.mask.kl(rows).sum(-1), kl_effects.sum(-1)

    def log_ratio(self, draw: PerturbationDraw) -> torch.Tensor:
        """Log p(m, e) - log q(m, e) of a draw, of shape P x R."""
        effects = self.effects.log_ratio(draw.effect, draw.mask, draw.rows)
        return (self.mask.log_ratio(draw.mask, draw.rows) + effects).sum(-1)

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
