r"""The mask of each perturbation: which latent dimensions it touches."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import nn
from torch.nn import functional as F

from scvi_sams.module._inclusion_priors import InclusionPrior


class Mask(nn.Module, ABC):
    """Prior and posterior of the masks of T perturbations over K latent dimensions."""

    @abstractmethod
    def inclusion(self, rows: torch.Tensor) -> torch.Tensor:
        """q(m = 1) of perturbations ``rows`` (R), of shape R x K."""

    @abstractmethod
    def rsample(self, rows: torch.Tensor, n_particles: int) -> torch.Tensor:
        """Sample masks of perturbations ``rows`` (R), of shape P x R x K."""

    @abstractmethod
    def kl(self, rows: torch.Tensor) -> torch.Tensor:
        """Exact divergence from the prior in nats, of shape R x K."""

    @abstractmethod
    def log_ratio(self, mask: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Log p(m) - log q(m) of sampled masks, of shape P x R x K."""

    @abstractmethod
    def reset_to_prior(self, rows: torch.Tensor) -> None:
        """Make the posterior of ``rows`` the prior."""


class FullMask(Mask):
    """No mask: every perturbation may touch every dimension, as in the CPA-VAE.

    Parameters
    ----------
    n_latent
        Number of latent dimensions K.
    """

    nothing: torch.Tensor

    def __init__(self, n_latent: int) -> None:
        super().__init__()
        self.register_buffer("nothing", torch.zeros(n_latent), persistent=False)

    def inclusion(self, rows: torch.Tensor) -> torch.Tensor:
        """One everywhere."""
        return 1 + self.nothing.expand(len(rows), -1)

    def rsample(self, rows: torch.Tensor, n_particles: int) -> torch.Tensor:
        """One everywhere, without a random number."""
        return 1 + self.nothing.expand(n_particles, len(rows), -1)

    def kl(self, rows: torch.Tensor) -> torch.Tensor:
        """Zero."""
        return self.nothing.expand(len(rows), -1)

    def log_ratio(self, mask: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Zero."""
        return self.nothing.expand_as(mask)

    def reset_to_prior(self, rows: torch.Tensor) -> None:
        """There is nothing to reset."""


class BernoulliMask(Mask):
    r"""Masks with a mean-field posterior.

    .. math::
        m_{tk} \sim \mathrm{Bernoulli}(\pi_{tk}), \qquad
        q(m_{tk}) = \mathrm{Bernoulli}(\sigma(\phi_{tk}))

    where :math:`m_{tk}` says whether perturbation :math:`t` shifts latent dimension :math:`k`,
    :math:`\pi_{tk}` is the prior inclusion probability, known or not, and :math:`\phi_{tk}` are
    the variational logits.

    Parameters
    ----------
    n_perturbations
        Number of perturbations T.
    n_latent
        Number of latent dimensions K.
    prior
        Prior of π.
    initial_inclusion
        Inclusion probability at which optimisation starts.
    temperature
        Of the straight-through Gumbel-sigmoid; smaller follows the hard mask more closely, with
        noisier gradients.
    """

    def __init__(
        self,
        n_perturbations: int,
        n_latent: int,
        *,
        prior: InclusionPrior,
        initial_inclusion: float = 0.5,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.prior = prior
        self.temperature = temperature
        start = _logit(initial_inclusion)
        self.logits = nn.Parameter(torch.full((n_perturbations, n_latent), start))  # T x K

    def inclusion(self, rows: torch.Tensor) -> torch.Tensor:
        """q(m = 1), of shape R x K."""
        return torch.sigmoid(self.logits[rows])

    def rsample(self, rows: torch.Tensor, n_particles: int) -> torch.Tensor:
        r"""Sample masks: 0 or 1, with the gradient of a relaxed sample.

        .. math::
            m = 1[\tilde m > 1/2] + \tilde m - \mathrm{stop}(\tilde m), \qquad
            \tilde m = \sigma((\phi + l) / \tau), \quad l \sim \mathrm{Logistic}(0, 1)

        (Maddison et al. 2017; Bengio et al. 2013 for the straight-through gradient.)
        """
        logits = self.logits[rows]  # R x K
        uniform = torch.rand(
            (n_particles, *logits.shape), dtype=logits.dtype, device=logits.device
        )
        logistic = torch.logit(uniform, eps=torch.finfo(logits.dtype).eps)
        relaxed = torch.sigmoid((logits + logistic) / self.temperature)  # P x R x K
        hard = (relaxed > 0.5).to(relaxed.dtype)
        return hard + (relaxed - relaxed.detach())  # the bracket is exactly 0

    def kl(self, rows: torch.Tensor) -> torch.Tensor:
        r"""Exact divergence from the prior, in nats.

        .. math::
            q \, (\log q - E[\log\pi]) + (1 - q) (\log(1 - q) - E[\log(1 - \pi)])
            + \mathrm{KL}(q(\pi) \| p(\pi)), \qquad q = \sigma(\phi)

        The last term, and the expectations, are those of a known π if it is known.
        """
        return -self._expected_log_ratio(self.inclusion(rows), rows)

    def log_ratio(self, mask: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The terms of the divergence at sampled masks instead of in expectation, negated."""
        return self._expected_log_ratio(mask, rows)

    def _expected_log_ratio(self, weight_on: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        logits = self.logits[rows]
        prior = self.prior.expected_log_prior(torch.sigmoid(logits))
        # log q = -softplus(-φ) and log(1 - q) = -softplus(φ) stay finite for any logit
        on = prior.on + F.softplus(-logits)
        off = prior.off + F.softplus(logits)
        return weight_on * on + (1 - weight_on) * off - prior.divergence

    @torch.no_grad()
    def reset_to_prior(self, rows: torch.Tensor) -> None:
        """Make the inclusion probability of ``rows`` that of the prior."""
        self.logits[rows] = _logit(self.prior.mean)


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)
