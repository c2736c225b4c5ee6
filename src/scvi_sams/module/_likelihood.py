"""The negative binomial, read in log space and once per count rather than once per particle."""

from __future__ import annotations

import torch
from scvi.distributions import NegativeBinomial as _NegativeBinomial


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
        theta = self._compact_theta
        without_mean = (
            torch.lgamma(value + theta)
            - torch.lgamma(theta)
            - torch.lgamma(value + 1)
            + theta * torch.log(theta)
        )  # B x G
        counted = torch.xlogy(value, self.mu) if self._log_mu is None else value * self._log_mu
        return counted - (value + theta) * torch.log(theta + self.mu) + without_mean
