r"""The effect of each perturbation on each latent dimension: what its guides share."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn
from torch.nn import functional as F

from scvi_sams.module._numbers import is_number


class EffectGuide(nn.Module, ABC):
    r"""Variational posterior of the effects given their masks.

    The prior is :math:`p(e_{tk}) = N(0, \sigma_e^2)`. The model reads effects only through
    :math:`m_{tk} e_{tk}`.

    Parameters
    ----------
    prior_scale
        Prior standard deviation σ_e, in units of the latent space.
    """

    def __init__(self, prior_scale: float) -> None:
        super().__init__()
        if not is_number(prior_scale) or not prior_scale > 0:
            raise ValueError(f"`effect_prior_scale` must be positive; it is {prior_scale!r}.")
        self.prior_scale = float(prior_scale)

    @abstractmethod
    def rsample(self, mask: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Sample effects given masks (P x R x K) of perturbations ``rows`` (R); P x R x K."""

    @abstractmethod
    def kl(self, mask: torch.Tensor, inclusion: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Divergence from the prior in nats.

        Parameters
        ----------
        mask
            Sampled masks, of shape P x R x K, for guides without an expectation over masks in
            closed form.
        inclusion
            q(m = 1), of shape R x K.
        rows
            Perturbations, of shape R.

        Returns
        -------
        Tensor of shape R x K or P x R x K.
        """

    @abstractmethod
    def log_ratio(
        self, effect: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """Log p(e) - log q(e | m) of sampled effects and masks, all P x R x K."""

    @abstractmethod
    def mean_and_sd(
        self, mask: torch.Tensor, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of effects where their mask is on.

        Of shape R x K or P x R x K, given masks (P x R x K).
        """

    def mean_and_sd_where_on(
        self, inclusion: torch.Tensor, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of each effect given that its own mask is on.

        Of shape R x K, in expectation over the masks of the other dimensions, which are on with
        probability ``inclusion`` (R x K).
        """
        return self.mean_and_sd(inclusion, rows)

    @abstractmethod
    def reset_to_prior(self, rows: torch.Tensor) -> None:
        """Make the posterior of ``rows`` the prior."""

    @abstractmethod
    def rotate(self, rotation: torch.Tensor) -> None:
        """Follow a rotation of the latent space, z → z R with R of shape K x K."""


class GaussianEffects(EffectGuide):
    r"""Effects with a location and a scale each, where their mask is on.

    .. math::
        q(e_{tk} | m_{tk} = 1) = N(\mu_{tk}, s_{tk}^2)

    The parameters are :math:`\mu / \sigma_e` and :math:`s / \sigma_e`, so that a step of the
    optimizer is as large a part of an effect whatever its prior.

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
        super().__init__(prior_scale)
        self.relative_loc = nn.Parameter(torch.zeros(n_perturbations, n_latent))  # T x K
        start = float(inverse_softplus(torch.tensor(0.1)))
        self.raw_scale = nn.Parameter(torch.full_like(self.relative_loc, start))  # T x K

    def mean_and_sd(
        self, mask: torch.Tensor, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Location and scale, whatever the masks of the other dimensions; R x K."""
        return (
            self.prior_scale * self.relative_loc[rows],
            self.prior_scale * F.softplus(self.raw_scale[rows]),
        )

    def rsample(self, mask: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Sample effects as if every mask was on; the others do not touch the likelihood."""
        loc, scale = self.mean_and_sd(mask, rows)
        return loc + scale * torch.randn_like(mask)  # P x R x K

    @torch.no_grad()
    def reset_to_prior(self, rows: torch.Tensor) -> None:
        """Make the posterior of ``rows`` the prior."""
        self.relative_loc[rows] = 0.0
        self.raw_scale[rows] = inverse_softplus(torch.ones_like(self.raw_scale[rows]))

    @torch.no_grad()
    def rotate(self, rotation: torch.Tensor) -> None:
        """Rotate the locations; of the rotated covariance the diagonal is kept."""
        variance = F.softplus(self.raw_scale).square() @ rotation.square()
        self.relative_loc.copy_(self.relative_loc @ rotation)
        self.raw_scale.copy_(inverse_softplus(variance.sqrt()))


def gaussian_kl(loc: torch.Tensor, scale: torch.Tensor, prior_scale: float) -> torch.Tensor:
    r"""Divergence :math:`\mathrm{KL}(N(\mu, s^2) \| N(0, \sigma_e^2))`, elementwise, in nats.

    .. math::
        \log\frac{\sigma_e}{s} + \frac{s^2 + \mu^2}{2 \sigma_e^2} - \frac12
    """
    ratio, location = scale / prior_scale, loc / prior_scale
    return 0.5 * (ratio.square() + location.square() - 1) - torch.log(ratio)


def gaussian_log_ratio(
    value: torch.Tensor, loc: torch.Tensor, scale: torch.Tensor, prior_scale: float
) -> torch.Tensor:
    r"""Logarithm of :math:`N(v; 0, \sigma_e^2) / N(v; \mu, s^2)`, elementwise."""
    standard, prior = (value - loc) / scale, value / prior_scale
    return 0.5 * (standard.square() - prior.square()) + torch.log(scale / prior_scale)


def inverse_softplus(value: torch.Tensor) -> torch.Tensor:
    """The x with softplus(x) = value > 0."""
    return value + torch.log(-torch.expm1(-value))
