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
    variance: torch.Tensor

    def sample(self) -> torch.Tensor:
        """Sample counts."""

    def log_laplace(self, s: torch.Tensor) -> torch.Tensor:
        """Logarithm of E[exp(-s x)] for s >= 0, of the shape of the counts."""


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

    def log_laplace(self, s: torch.Tensor) -> torch.Tensor:
        r"""Logarithm of :math:`E[e^{-s x}] = (1 + \mu (1 - e^{-s}) / \theta)^{-\theta}`."""
        theta = self._compact_theta
        return -theta * torch.log1p(-torch.expm1(-s) * self.mu / theta)


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

    def log_laplace(self, s: torch.Tensor) -> torch.Tensor:
        r"""Logarithm of :math:`\kappa + (1 - \kappa) L(s)`, with L(s) that of the kept counts."""
        counted = NegativeBinomial.log_laplace(self, s)  # type: ignore[arg-type]
        kept = counted + F.logsigmoid(-self.zi_logits)
        return torch.logaddexp(kept, F.logsigmoid(self.zi_logits))


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

    def log_laplace(self, s: torch.Tensor) -> torch.Tensor:
        r"""Logarithm of :math:`E[e^{-s x}] = \exp(-\mu (1 - e^{-s}))`."""
        return self.rate * torch.expm1(-s)


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
