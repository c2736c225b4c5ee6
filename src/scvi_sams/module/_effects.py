r"""The effect of each perturbation on each latent dimension: what its guides share."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn
from torch.nn import functional as F


class EffectGuide(nn.Module, ABC):
    r"""Variational posterior of the effects given their masks.

    The prior is :math:`p(e_{tk}) = N(0, \sigma_e^2)`. A guide says how :math:`q(e_{tk} | m_{tk})`
    uses the location :math:`\mu_{tk}` and the scale :math:`s_{tk}`. The model reads effects only
    through :math:`m_{tk} e_{tk}`.

    Parameters
    ----------
    n_perturbations
        Number of perturbations T.
    n_latent
        Number of latent dimensions K.
    prior_scale
        Prior standard deviation σ_e, in units of the latent space.
    """

    def __init__(self, n_perturbations: int, n_latent: int, *, prior_scale: float) -> None:
        super().__init__()
        if not prior_scale > 0:
            raise ValueError(f"`effect_prior_scale` must be positive; it is {prior_scale}.")
        self.prior_scale = prior_scale
        self.loc = nn.Parameter(torch.zeros(n_perturbations, n_latent))  # T x K
        self.raw_scale = nn.Parameter(
            torch.full((n_perturbations, n_latent), _inverse_softplus(0.1 * prior_scale))
        )  # T x K

    @property
    def scale(self) -> torch.Tensor:
        """Standard deviation s, of shape T x K."""
        return F.softplus(self.raw_scale)

    def rsample_shift(self, mask: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        r"""Sample :math:`m \odot e` with :math:`e \sim q(e | m)`.

        Parameters
        ----------
        mask
            Sampled masks, of shape P x R x K.
        rows
            Perturbations, of shape R.

        Returns
        -------
        Tensor of shape P x R x K.
        """
        noise = torch.randn_like(mask)
        scale = F.softplus(self.raw_scale[rows])
        return mask * (self.loc[rows] + scale * noise)  # P x R x K

    @abstractmethod
    def kl(self, inclusion: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Divergence from the prior in nats, in expectation over the masks.

        Parameters
        ----------
        inclusion
            q(m = 1), of shape R x K.
        rows
            Perturbations, of shape R.

        Returns
        -------
        Tensor of shape R x K.
        """

    def gaussian_kl(self, rows: torch.Tensor) -> torch.Tensor:
        r"""Divergence :math:`\mathrm{KL}(N(\mu, s^2) \| N(0, \sigma_e^2))` of shape R x K.

        .. math::
            \log\frac{\sigma_e}{s} + \frac{s^2 + \mu^2}{2 \sigma_e^2} - \frac12
        """
        ratio = F.softplus(self.raw_scale[rows]) / self.prior_scale
        location = self.loc[rows] / self.prior_scale
        return 0.5 * (ratio.square() + location.square() - 1) - torch.log(ratio)

    @torch.no_grad()
    def reset_to_prior(self, rows: torch.Tensor) -> None:
        """Make the posterior of ``rows`` the prior."""
        self.loc[rows] = 0.0
        self.raw_scale[rows] = _inverse_softplus(self.prior_scale)


def _inverse_softplus(value: float) -> float:
    x = torch.tensor(value, dtype=torch.float64)
    return float(x + torch.log(-torch.expm1(-x)))
