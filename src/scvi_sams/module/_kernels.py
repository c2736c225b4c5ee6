r"""What likelihoods do with a cell: values and derivatives, for :mod:`._fused`.

Shapes are those of :class:`~scvi_sams.module._fused.Kernel`. Terms that hold no parameter of the
mean are left to :func:`~scvi_sams.module._count_terms.count_terms`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from scvi_sams.module._fused import Grads


class Link(ABC):
    """From linear outputs y to means, as shares of the library."""

    @staticmethod
    @abstractmethod
    def log_share(y: torch.Tensor) -> torch.Tensor:
        """Logarithms of the shares ρ = μ / ℓ, of shape B x P x G."""

    @staticmethod
    @abstractmethod
    def pull(slope: torch.Tensor, mu: torch.Tensor, library: torch.Tensor) -> torch.Tensor:
        """From derivatives by log μ to those by y, in place.

        Both are of shape B x P x G, as are the means μ; libraries B x 1 x 1.
        """


class Softmax(Link):
    r"""Shares of the observed library.

    .. math::
        \mu_g = \ell \rho_g, \quad \rho_g = e^{y_g} / \sum_h e^{y_h}, \qquad
        \frac{\partial L}{\partial y_g} = a_g - \rho_g \sum_h a_h, \quad
        a = \frac{\partial L}{\partial \log\mu}
    """

    @staticmethod
    def log_share(y: torch.Tensor) -> torch.Tensor:
        """Log softmax."""
        return torch.log_softmax(y, -1)

    @staticmethod
    def pull(slope: torch.Tensor, mu: torch.Tensor, library: torch.Tensor) -> torch.Tensor:
        """Take from each what the others lose."""
        return slope.addcmul_(mu, slope.sum(-1, keepdim=True) / library, value=-1)


class Softplus(Link):
    r"""Means relative to a size factor.

    .. math::
        \mu_g = \ell \rho_g, \quad \rho_g = \log(1 + e^{y_g}), \qquad
        \frac{\partial\log\mu_g}{\partial y_g} = \frac{1 - e^{-\rho_g}}{\rho_g}

    Far below zero log ρ is y, and the derivative 1.
    """

    @staticmethod
    def log_share(y: torch.Tensor) -> torch.Tensor:
        """Logarithm of softplus."""
        return torch.where(y < -15, y, torch.log(F.softplus(y.clamp(min=-15))))

    @staticmethod
    def pull(slope: torch.Tensor, mu: torch.Tensor, library: torch.Tensor) -> torch.Tensor:
        """Multiply by the derivative."""
        share = (mu / library).clamp_(min=1e-30)
        return slope.mul_(torch.expm1(-share).neg_().div_(share))


@dataclass(frozen=True)
class NegativeBinomialKernel:
    r"""Terms of the negative binomial that hold the mean.

    .. math::
        \sum_g x \log\mu - (x + \theta) \log(1 + \mu / \theta)

    with derivatives :math:`x - w` by log μ and :math:`w - \theta \log(1 + \mu / \theta)` by
    log θ, where :math:`w = (x + \theta) r / (1 + r)`. What is left in the place of y is
    :math:`r = \mu / \theta`. Where θ is large, nothing larger than a count or its mean cancels.
    """

    link: type[Link]

    def value(
        self,
        x: torch.Tensor,
        log_library: torch.Tensor,
        y: torch.Tensor,
        log_theta: torch.Tensor,
    ) -> torch.Tensor:
        """Sum over genes, B x P."""
        log_share = self.link.log_share(y)
        of_counts = _dot(x, log_share) + log_library.squeeze(-1) * x.sum(-1)
        ratio = torch.sub(log_share, log_theta - log_library, out=y).exp_()
        excess = torch.log1p(ratio, out=log_share)
        return of_counts - _dot(x + torch.exp(log_theta), excess)

    def derivatives(
        self,
        by_y: torch.Tensor,
        x: torch.Tensor,
        log_library: torch.Tensor,
        ratio: torch.Tensor,
        log_theta: torch.Tensor,
    ) -> Grads:
        """By y, written to ``by_y``, and by log θ."""
        theta = torch.exp(log_theta)
        weight = torch.add(ratio, 1, out=by_y)
        torch.div(ratio, weight, out=weight).mul_(x + theta)
        excess = torch.log1p(ratio)
        by_log_theta = torch.addcmul(weight, excess, theta, value=-1, out=excess)
        by_log_mu = torch.sub(x, weight, out=by_y)
        self.link.pull(by_log_mu, ratio * theta, torch.exp(log_library))
        return (by_log_theta,)


@dataclass(frozen=True)
class ZeroInflatedNegativeBinomialKernel:
    r"""The same of a negative binomial whose counts are lost with probability κ = σ(ψ).

    .. math::
        \log\{\kappa 1[x = 0] + (1 - \kappa) \mathrm{NB}(x)\}

    Its derivatives are those of the negative binomial times the probability that the count was
    kept, :math:`r = \sigma(\log\mathrm{NB}(0) - \psi)` where x is zero and 1 elsewhere, and
    :math:`1 - r - \kappa` by ψ. What is left in the place of y is :math:`\mu / \theta`.
    """

    link: type[Link]

    def value(
        self,
        x: torch.Tensor,
        log_library: torch.Tensor,
        y: torch.Tensor,
        logits: torch.Tensor,
        log_theta: torch.Tensor,
    ) -> torch.Tensor:
        """Sum over genes, B x P."""
        log_mu = self.link.log_share(y).add_(log_library)
        excess = torch.log1p(torch.sub(log_mu, log_theta, out=y).exp_())
        counted = x * log_mu - (x + torch.exp(log_theta)) * excess
        kept = counted + F.logsigmoid(-logits)
        maybe_lost = torch.logaddexp(kept, F.logsigmoid(logits))
        return torch.where(x == 0, maybe_lost, kept).sum(-1)

    def derivatives(
        self,
        by_y: torch.Tensor,
        x: torch.Tensor,
        log_library: torch.Tensor,
        ratio: torch.Tensor,
        logits: torch.Tensor,
        log_theta: torch.Tensor,
    ) -> Grads:
        """By y, written to ``by_y``, and by ψ and log θ."""
        theta = torch.exp(log_theta)
        excess = theta * torch.log1p(ratio)  # minus the log probability of a zero
        was_kept = torch.where(x == 0, torch.sigmoid(-excess - logits), 1.0)
        weight = (x + theta) * (ratio / (ratio + 1))
        by_log_mu = torch.mul(was_kept, x - weight, out=by_y)
        self.link.pull(by_log_mu, ratio * theta, torch.exp(log_library))
        return 1 - was_kept - torch.sigmoid(logits), was_kept * (weight - excess)


@dataclass(frozen=True)
class PoissonKernel:
    r"""Terms of the Poisson that hold the mean, :math:`\sum_g x \log\mu - \mu`.

    What is left in the place of y is μ.
    """

    link: type[Link]

    def value(self, x: torch.Tensor, log_library: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Sum over genes, B x P."""
        log_mu = self.link.log_share(y).add_(log_library)
        return _dot(x, log_mu) - torch.exp(log_mu, out=y).sum(-1)

    def derivatives(
        self, by_y: torch.Tensor, x: torch.Tensor, log_library: torch.Tensor, mu: torch.Tensor
    ) -> Grads:
        """By y, written to ``by_y``."""
        self.link.pull(torch.sub(x, mu, out=by_y), mu, torch.exp(log_library))
        return ()


@dataclass(frozen=True)
class NormalKernel:
    r"""Normal with mean :math:`a + u y` and standard deviation :math:`u \sigma`.

    Attributes
    ----------
    origin, unit
        Numbers a and u of each gene, of shape G.
    """

    origin: torch.Tensor
    unit: torch.Tensor

    def value(
        self,
        x: torch.Tensor,
        log_library: torch.Tensor,
        y: torch.Tensor,
        log_dispersion: torch.Tensor,
    ) -> torch.Tensor:
        """Sum over genes, B x P."""
        sd = self._sd(log_dispersion)
        residual = (x - self.origin - self.unit * y) / sd
        return (-0.5 * residual.square() - torch.log(sd) - 0.5 * math.log(2 * math.pi)).sum(-1)

    def derivatives(
        self,
        by_y: torch.Tensor,
        x: torch.Tensor,
        log_library: torch.Tensor,
        y: torch.Tensor,
        log_dispersion: torch.Tensor,
    ) -> Grads:
        """By y, written to ``by_y``, and by log σ."""
        sd = self._sd(log_dispersion)
        residual = (x - self.origin - self.unit * y) / sd
        spread = self.unit * torch.exp(log_dispersion)
        torch.mul(residual, self.unit / sd, out=by_y)
        return ((residual.square() - 1) * spread / sd,)

    def _sd(self, log_dispersion: torch.Tensor) -> torch.Tensor:
        return self.unit * torch.exp(log_dispersion) + 1e-6


def _dot(x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Sum over genes of products of x (B x 1 x G or B x P x G) and values (B x P x G); B x P."""
    if x.shape[1] > 1:
        return (x * values).sum(-1)
    return (values @ x.transpose(-1, -2)).squeeze(-1)  # without an array of the products
