"""Terms of the log likelihoods of counts that do not hold the mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

_LARGE = 20


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
        is_of_genes = log_theta.ndim == 1
        of_counts = log_theta if is_of_genes else log_theta[..., row, gene]
        terms = terms + _LogRising.apply(count, of_counts, gene if is_of_genes else None)
    return terms.new_zeros(*terms.shape[:-1], len(x)).index_add(-1, row, terms)


class _LogRising(torch.autograd.Function):
    r"""Logarithm of the rising factorial of θ over :math:`\theta^x`.

    .. math::
        \log\frac{\Gamma(x + \theta)}{\Gamma(\theta) \theta^x}
        = (x + \theta - \tfrac12) \log(1 + x / \theta) - x + s(x + \theta) - s(\theta), \quad
        s(t) = \frac{1}{12 t} - \frac{1}{360 t^3} + \frac{1}{1260 t^5} - \dots

    with derivative :math:`\theta (\psi(x + \theta) - \psi(\theta)) - x` by log θ. The right-hand
    side (Stirling's series) is exact to 10⁻¹² for θ ≥ 20, and there numbers no larger than x
    cancel; on the left those that do are as large as θ log θ.

    Of counts x (N), and log θ of each (... x N) or of genes (G), of which each count has one (N).
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, log_theta: torch.Tensor, gene: torch.Tensor | None
    ) -> torch.Tensor:
        theta = torch.exp(log_theta)
        start, log_theta_at, theta_at = (
            _at(each, gene) for each in (torch.lgamma(theta), log_theta, theta)
        )
        ctx.save_for_backward(x, theta, theta_at, gene)
        found = torch.lgamma(x + theta_at).sub_(start).sub_(x * log_theta_at)
        return _where_large(found, _series, x, theta_at)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, theta, theta_at, gene = ctx.saved_tensors
        slope = torch.digamma(x + theta_at).sub_(_at(torch.digamma(theta), gene))
        slope = _where_large(slope.mul_(theta_at).sub_(x), _slope_of_series, x, theta_at)
        slope = slope * upstream
        if gene is not None:
            slope = torch.zeros_like(theta).index_add_(0, gene, slope)
        return None, slope, None


def _at(of_genes: torch.Tensor, gene: torch.Tensor | None) -> torch.Tensor:
    return of_genes if gene is None else of_genes[gene]


def _where_large(
    found: torch.Tensor,
    otherwise: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    theta: torch.Tensor,
) -> torch.Tensor:
    """Replace in place what was found where θ is large."""
    is_large = theta > _LARGE
    if is_large.any():
        found[is_large] = otherwise(x.expand_as(theta)[is_large], theta[is_large])
    return found


def _series(x: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    total = x + theta
    return (total - 0.5) * torch.log1p(x / theta) - x + _stirling(total) - _stirling(theta)


def _slope_of_series(x: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    total = x + theta
    of_stirling = _stirling_slope(total) * theta / total - _stirling_slope(theta)
    return theta * torch.log1p(x / theta) - x + 0.5 * x / total + of_stirling


def _stirling(t: torch.Tensor) -> torch.Tensor:
    inverse = 1 / t
    square = inverse.square()
    return inverse * (1 / 12 - square * (1 / 360 - square / 1260))


def _stirling_slope(t: torch.Tensor) -> torch.Tensor:
    """Its derivative by log t."""
    inverse = 1 / t
    square = inverse.square()
    return -inverse * (1 / 12 - square * (1 / 120 - square / 252))
