r"""What likelihoods do with a cell: values and derivatives, for :mod:`._fused`.

Each kernel takes observed values x (B x G), log libraries (B x 1) and parameters (each P x B x G
or G), and returns the sum over genes (P x B) and a function of its derivatives by the parameters
(each P x B x G). Terms that hold no parameter of the mean are left to :func:`count_terms`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch.nn import functional as F

from scvi_sams.module._fused import Grads

Link: TypeAlias = "type[SoftmaxMeans] | type[SoftplusMeans]"
Found: TypeAlias = tuple[torch.Tensor, Callable[[], Grads]]

_LOG_LARGE = math.log(20)


class SoftmaxMeans:
    r"""Means as shares of the observed library.

    .. math::
        \mu_g = \ell \rho_g, \quad \rho_g = e^{y_g} / \sum_h e^{y_h}, \qquad
        \frac{\partial L}{\partial y_g} = a_g - \rho_g \sum_h a_h, \quad
        a = \frac{\partial L}{\partial \log\mu}

    Attributes
    ----------
    mu
        Means, of shape P x B x G.
    """

    def __init__(self, y: torch.Tensor, log_library: torch.Tensor) -> None:
        peak = y.amax(-1, keepdim=True)
        powers = torch.sub(y, peak).exp_()
        total = powers.sum(-1, keepdim=True)
        self._y, self._library = y, torch.exp(log_library)
        self._log_scale = log_library - torch.log(total) - peak  # P x B x 1
        self.mu = powers.mul_(self._library / total)

    @property
    def log_mu(self) -> torch.Tensor:
        """Logarithms of the means, also where these are zero."""
        return self._y + self._log_scale

    def dot_log_mu(self, x: torch.Tensor) -> torch.Tensor:
        r""":math:`\sum_g x_g \log\mu_g`, of shape P x B."""
        return _dot(x, self._y) + self._log_scale.squeeze(-1) * x.sum(-1)

    def pull(self, by_log_mu: torch.Tensor) -> torch.Tensor:
        """From derivatives by the logarithms of means to those by y, in place."""
        total = by_log_mu.sum(-1, keepdim=True) / self._library
        return by_log_mu.addcmul_(self.mu, total, value=-1)


class SoftplusMeans:
    r"""Means relative to a size factor.

    .. math::
        \mu_g = \ell \log(1 + e^{y_g}), \qquad
        \frac{\partial\log\mu_g}{\partial y_g} = \frac{\sigma(y_g)}{\log(1 + e^{y_g})}

    The logarithm of a mean is :math:`y + \log\ell` far below zero, and the derivative 1.

    Attributes
    ----------
    mu, log_mu
        Means and their logarithms, of shape P x B x G.
    """

    def __init__(self, y: torch.Tensor, log_library: torch.Tensor) -> None:
        self._y, self._is_far = y, y < -15
        self._share = F.softplus(y.clamp(min=-15))
        self.log_mu = torch.where(self._is_far, y, torch.log(self._share)) + log_library
        self.mu = torch.exp(self.log_mu)

    def dot_log_mu(self, x: torch.Tensor) -> torch.Tensor:
        r""":math:`\sum_g x_g \log\mu_g`, of shape P x B."""
        return _dot(x, self.log_mu)

    def pull(self, by_log_mu: torch.Tensor) -> torch.Tensor:
        """From derivatives by the logarithms of means to those by y."""
        slope = torch.sigmoid(self._y) / self._share
        return torch.where(self._is_far, by_log_mu, by_log_mu * slope)


def negative_binomial(
    x: torch.Tensor,
    log_library: torch.Tensor,
    y: torch.Tensor,
    log_theta: torch.Tensor,
    *,
    link: Link,
) -> Found:
    r"""Terms of the negative binomial that hold the mean.

    .. math::
        \sum_g x \log\mu - (x + \theta) \log(1 + \mu / \theta)

    with derivatives :math:`x - w` by log μ and :math:`w - \theta \log(1 + \mu / \theta)` by
    log θ, where :math:`w = (x + \theta) \mu / (\theta + \mu)`. Where θ is large, nothing larger
    than a count or its mean cancels.
    """
    means, theta = link(y, log_library), torch.exp(log_theta)
    shape = x + theta
    excess = torch.log1p(means.mu / theta)
    value = means.dot_log_mu(x) - _dot(shape, excess)

    def derivatives() -> Grads:
        weight = torch.div(shape, theta + means.mu).mul_(means.mu)
        by_log_theta = torch.addcmul(weight, excess, theta, value=-1)
        return means.pull(weight.neg_().add_(x)), by_log_theta

    return value, derivatives


def zero_inflated_negative_binomial(
    x: torch.Tensor,
    log_library: torch.Tensor,
    y: torch.Tensor,
    logits: torch.Tensor,
    log_theta: torch.Tensor,
    *,
    link: Link,
) -> Found:
    r"""The same of a negative binomial whose counts are lost with probability κ = σ(ψ).

    .. math::
        \log\{\kappa 1[x = 0] + (1 - \kappa) \mathrm{NB}(x)\}

    Its derivatives are those of the negative binomial times the probability r that the count was
    kept, and :math:`1 - r - \kappa` by ψ.
    """
    means, theta = link(y, log_library), torch.exp(log_theta)
    shape = x + theta
    excess = torch.log1p(means.mu / theta)
    counted = x * means.log_mu - shape * excess
    kept = counted + F.logsigmoid(-logits)
    is_zero = x == 0
    each = torch.where(is_zero, torch.logaddexp(kept, F.logsigmoid(logits)), kept)

    def derivatives() -> Grads:
        was_kept = torch.where(is_zero, torch.exp(kept - each), 1.0)
        weight = shape / (theta + means.mu) * means.mu
        by_log_theta = was_kept * (weight - theta * excess)
        by_logits = 1 - was_kept - torch.sigmoid(logits)
        return means.pull(was_kept * (x - weight)), by_logits, by_log_theta

    return each.sum(-1), derivatives


def poisson(x: torch.Tensor, log_library: torch.Tensor, y: torch.Tensor, *, link: Link) -> Found:
    r"""Terms of the Poisson that hold the mean, :math:`\sum_g x \log\mu - \mu`."""
    means = link(y, log_library)
    return means.dot_log_mu(x) - means.mu.sum(-1), lambda: (means.pull(x - means.mu),)


def normal(
    x: torch.Tensor,
    log_library: torch.Tensor,
    y: torch.Tensor,
    log_dispersion: torch.Tensor,
    *,
    origin: torch.Tensor,
    unit: torch.Tensor,
) -> Found:
    r"""Normal with mean :math:`a + u y` and standard deviation :math:`u \sigma`."""
    spread = unit * torch.exp(log_dispersion)
    sd = spread + 1e-6
    residual = (x - origin - unit * y) / sd
    each = -0.5 * residual.square() - torch.log(sd) - 0.5 * math.log(2 * math.pi)
    return each.sum(-1), lambda: (
        residual * unit / sd,
        (residual.square() - 1) * spread / sd,
    )


def count_terms(x: torch.Tensor, log_theta: torch.Tensor | None) -> torch.Tensor:
    r"""Terms of log likelihoods of counts that do not hold the mean, summed over genes.

    .. math::
        \sum_g \log\Gamma(x + \theta) - \log\Gamma(\theta) - x \log\theta - \log\Gamma(x + 1)

    They vanish where x is zero, and are computed where it is not.

    Parameters
    ----------
    x
        Counts, of shape B x G.
    log_theta
        Logarithms of the inverse dispersions θ, of shape G or ... x B x G; None for the Poisson,
        which has the last of the terms alone.

    Returns
    -------
    Tensor of shape B or ... x B.
    """
    row, gene = torch.nonzero(x, as_tuple=True)
    count = x[row, gene]
    terms = -torch.lgamma(count + 1)
    if log_theta is not None:
        of_count = log_theta[gene] if log_theta.ndim == 1 else log_theta[..., row, gene]
        terms = terms + _log_rising(count, of_count)
    return terms.new_zeros(*terms.shape[:-1], len(x)).index_add(-1, row, terms)


def _log_rising(x: torch.Tensor, log_theta: torch.Tensor) -> torch.Tensor:
    r"""Logarithm of the rising factorial of θ over :math:`\theta^x`.

    .. math::
        \log\frac{\Gamma(x + \theta)}{\Gamma(\theta) \theta^x}
        = (x + \theta - \tfrac12) \log(1 + x / \theta) - x + s(x + \theta) - s(\theta), \quad
        s(t) = \frac{1}{12 t} - \frac{1}{360 t^3} + \frac{1}{1260 t^5} - \dots

    The right-hand side (Stirling's series) is exact to 10⁻¹² for θ ≥ 20, and there numbers no
    larger than x cancel; on the left those that do are as large as θ log θ.
    """
    is_large = log_theta > _LOG_LARGE
    theta = torch.exp(torch.where(is_large, log_theta, _LOG_LARGE))
    total = x + theta
    series = (total - 0.5) * torch.log1p(x / theta) - x + _stirling(total) - _stirling(theta)
    small = torch.where(is_large, 0.0, log_theta)
    exact = torch.lgamma(x + torch.exp(small)) - torch.lgamma(torch.exp(small)) - x * small
    return torch.where(is_large, series, exact)


def _stirling(t: torch.Tensor) -> torch.Tensor:
    inverse = 1 / t
    square = inverse.square()
    return inverse * (1 / 12 - square * (1 / 360 - square / 1260))


def _dot(x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Sum over genes of products of x (B x G, or as values) and values (P x B x G); P x B."""
    return torch.einsum("...g,...g->...", x, values)
