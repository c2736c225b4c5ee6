"""Distributions of counts, read in log space and once per count rather than once per particle."""

from __future__ import annotations

from typing import Protocol

import torch
from scvi.distributions import NegativeBinomial as _NegativeBinomial
from scvi.distributions import Poisson as _Poisson
from scvi.distributions import ZeroInflatedNegativeBinomial as _ZeroInflatedNegativeBinomial
from torch.nn import functional as F


class CountDistribution(Protocol):
    """What simulations need of a distribution of counts."""

    mean: torch.Tensor

    def sample(self) -> torch.Tensor:
        """Sample counts."""

    def sample_coupled(self, other: CountDistribution) -> tuple[torch.Tensor, torch.Tensor]:
        """Sample counts of this and of another distribution with common random numbers."""


class NegativeBinomial(_NegativeBinomial):
    r"""scvi-tools' negative binomial with a log-space density.

    .. math::
        \log p(x) = x \log\mu - (x + \theta) \log(\theta + \mu) + \theta\log\theta
        + \log\Gamma(x + \theta) - \log\Gamma(\theta) - \log\Gamma(x + 1)

    with mean :math:`\mu` and inverse dispersion :math:`\theta`. The last terms do not depend on
    the mean; they are computed at the shape of x and θ, then shared by all particles.

    Parameters
    ----------
    mu
        Mean, of shape ... x B x G.
    theta
        Inverse dispersion, of shape G or any that broadcasts.
    scale
        Share of each gene, of the shape of ``mu``.
    log_mu
        Logarithm of ``mu``, if it is at hand.
    """

    def __init__(
        self,
        mu: torch.Tensor,
        theta: torch.Tensor,
        scale: torch.Tensor | None = None,
        log_mu: torch.Tensor | None = None,
    ) -> None:
        super().__init__(mu=mu, theta=theta, scale=scale)
        self._compact_theta = theta
        self._log_mu = log_mu

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Log density (... x B x G) of counts (B x G)."""
        return _log_negative_binomial(value, self.mu, self._compact_theta, self._log_mu)

    @torch.inference_mode()
    def sample_coupled(self, other: NegativeBinomial) -> tuple[torch.Tensor, torch.Tensor]:
        r"""Sample counts of this and of another distribution with common random numbers.

        .. math::
            x = s + a, \quad x' = s + a', \qquad s \sim \mathrm{Poisson}(\min(w, w')), \quad
            a \sim \mathrm{Poisson}(w - \min(w, w'))

        with rates :math:`w = \mu g`, :math:`w' = \mu' g'` whose Gamma noise,
        :math:`g \sim \mathrm{Gamma}(\theta, \theta)`, is the same where the inverse
        dispersions are, and shares the part of the smaller one where they are not. Each count
        alone has its own distribution; their difference has far less noise than that of
        independent samples, and none where the distributions agree.

        Parameters
        ----------
        other
            Distribution of the same shape.

        Returns
        -------
        Two tensors of the shape of ``mu``.
        """
        noise, other_noise = _coupled_gamma(self.theta, other.theta)
        return _coupled_poisson(self.mu * noise, other.mu * other_noise)


class ZeroInflatedNegativeBinomial(_ZeroInflatedNegativeBinomial):
    r"""A negative binomial whose counts are lost with some probability.

    .. math::
        p(x) = \kappa \, 1[x = 0] + (1 - \kappa) \, \mathrm{NB}(x; \mu, \theta), \qquad
        \kappa = \sigma(\psi)

    Parameters
    ----------
    mu
        Mean of the negative binomial, of shape ... x B x G.
    theta
        Inverse dispersion, of shape G or any that broadcasts.
    zi_logits
        Logits ψ of the probability of a lost count, of the shape of ``mu``.
    scale
        Share of each gene, of the shape of ``mu``.
    log_mu
        Logarithm of ``mu``, if it is at hand.
    """

    def __init__(
        self,
        mu: torch.Tensor,
        theta: torch.Tensor,
        zi_logits: torch.Tensor,
        scale: torch.Tensor | None = None,
        log_mu: torch.Tensor | None = None,
    ) -> None:
        super().__init__(mu=mu, theta=theta, zi_logits=zi_logits, scale=scale)
        self._compact_theta = theta
        self._log_mu = log_mu

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Log density (... x B x G) of counts (B x G)."""
        counted = _log_negative_binomial(value, self.mu, self._compact_theta, self._log_mu)
        kept = counted + F.logsigmoid(-self.zi_logits)
        return torch.where(value == 0, torch.logaddexp(kept, F.logsigmoid(self.zi_logits)), kept)

    @torch.inference_mode()
    def sample_coupled(
        self, other: ZeroInflatedNegativeBinomial
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sample coupled counts; one uniform number decides which are lost in either."""
        x, other_x = NegativeBinomial.sample_coupled(self, other)  # type: ignore[arg-type]
        uniform = torch.rand_like(self.mu)
        return x * (uniform > self.zi_probs), other_x * (uniform > other.zi_probs)


class Poisson(_Poisson):
    r"""scvi-tools' Poisson distribution with a log-space density.

    .. math::
        \log p(x) = x \log\mu - \mu - \log\Gamma(x + 1)

    Parameters
    ----------
    mu
        Mean, of shape ... x B x G.
    scale
        Share of each gene, of the shape of ``mu``.
    log_mu
        Logarithm of ``mu``, if it is at hand.
    """

    def __init__(
        self,
        mu: torch.Tensor,
        scale: torch.Tensor | None = None,
        log_mu: torch.Tensor | None = None,
    ) -> None:
        super().__init__(rate=mu, validate_args=False, scale=scale)
        self._log_mu = log_mu

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Log density (... x B x G) of counts (B x G)."""
        counted = torch.xlogy(value, self.rate) if self._log_mu is None else value * self._log_mu
        return counted - self.rate - torch.lgamma(value + 1)

    @torch.inference_mode()
    def sample_coupled(self, other: Poisson) -> tuple[torch.Tensor, torch.Tensor]:
        """Sample coupled counts, as the negative binomial does given its Gamma noise."""
        return _coupled_poisson(self.rate, other.rate)


def _log_negative_binomial(
    value: torch.Tensor, mu: torch.Tensor, theta: torch.Tensor, log_mu: torch.Tensor | None
) -> torch.Tensor:
    without_mean = (
        torch.lgamma(value + theta)
        - torch.lgamma(theta)
        - torch.lgamma(value + 1)
        + theta * torch.log(theta)
    )  # B x G where θ is G
    counted = torch.xlogy(value, mu) if log_mu is None else value * log_mu
    return counted - (value + theta) * torch.log(theta + mu) + without_mean


def _coupled_gamma(
    shape: torch.Tensor, other_shape: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gamma samples of mean one that share those of the smaller shape."""
    if torch.equal(shape, other_shape):
        noise = torch.distributions.Gamma(shape, shape).sample()
        return noise, noise
    least = torch.minimum(shape, other_shape)
    shared = torch.distributions.Gamma(least, torch.ones_like(least)).sample()
    return _extended(shared, least, shape), _extended(shared, least, other_shape)


def _extended(shared: torch.Tensor, least: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    """A Gamma(shape, shape) sample from a Gamma(least, 1) sample, least <= shape."""
    rest = shape - least
    more = torch.distributions.Gamma(torch.where(rest > 0, rest, 1.0), torch.ones_like(rest))
    return (shared + torch.where(rest > 0, more.sample(), 0.0)) / shape


def _coupled_poisson(
    rate: torch.Tensor, other_rate: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Poisson samples that share those of the smaller rate."""
    least = torch.minimum(rate, other_rate)
    shared = torch.poisson(least)
    return shared + torch.poisson(rate - least), shared + torch.poisson(other_rate - least)
