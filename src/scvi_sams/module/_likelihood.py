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

    @torch.inference_mode()
    def sample_coupled(self, other: NegativeBinomial) -> tuple[torch.Tensor, torch.Tensor]:
        r"""Sample counts of this and of another distribution with common random numbers.

        .. math::
            x = s + a, \quad x' = s + a', \qquad s \sim \mathrm{Poisson}(\min(w, w')), \quad
            a \sim \mathrm{Poisson}(w - \min(w, w'))

        with rates :math:`w = \mu g`, :math:`w' = \mu' g` that share their Gamma noise
        :math:`g \sim \mathrm{Gamma}(\theta, \theta)`. Each count alone has its own
        distribution; their difference has far less noise than that of independent samples, and
        none where the means agree.

        Parameters
        ----------
        other
            Distribution of the same shape and inverse dispersion.

        Returns
        -------
        Two tensors of the shape of ``mu``.
        """
        noise = torch.distributions.Gamma(self.theta, self.theta).sample()
        rate, other_rate = self.mu * noise, other.mu * noise
        least = torch.minimum(rate, other_rate)
        shared = torch.poisson(least)
        return (
            shared + torch.poisson(rate - least),
            shared + torch.poisson(other_rate - least),
        )
