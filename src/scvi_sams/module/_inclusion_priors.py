r"""Priors of the masks: how likely a perturbation touches a latent dimension beforehand."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch.distributions import Beta, kl_divergence

from scvi_sams.module._numbers import is_number


class ExpectedLogPrior(NamedTuple):
    r"""Expectations over the inclusion probability π, each of shape R x K.

    Attributes
    ----------
    on, off
        :math:`E[\log \pi]` and :math:`E[\log(1 - \pi)]`.
    divergence
        Divergence of the posterior of π from its prior, in nats.
    """

    on: torch.Tensor
    off: torch.Tensor
    divergence: torch.Tensor


class InclusionPrior(ABC):
    """Prior of the probability π that an entry of a mask is on."""

    mean: float

    @abstractmethod
    def expected_log_prior(self, q: torch.Tensor) -> ExpectedLogPrior:
        """Expectations under the best posterior of π given q(m = 1), R x K."""


class FixedInclusion(InclusionPrior):
    r"""A known probability, :math:`p(m_{tk}) = \mathrm{Bernoulli}(\pi)`.

    Parameters
    ----------
    probability
        π, in (0, 1).
    """

    def __init__(self, probability: float) -> None:
        if not is_number(probability) or not 0 < probability < 1:
            raise ValueError(
                "`mask_prior` must be a probability in (0, 1), ('beta', a, b) or None; it is "
                f"{probability!r}."
            )
        self.mean = float(probability)

    def expected_log_prior(self, q: torch.Tensor) -> ExpectedLogPrior:
        """Logarithms of π and of 1 - π."""
        on, off = math.log(self.mean), math.log1p(-self.mean)
        return ExpectedLogPrior(torch.full_like(q, on), torch.full_like(q, off), q.new_zeros(()))


class BetaInclusion(InclusionPrior):
    r"""An unknown probability for each entry, with a Beta posterior.

    .. math::
        \pi_{tk} \sim \mathrm{Beta}(a, b), \quad m_{tk} \sim \mathrm{Bernoulli}(\pi_{tk}), \quad
        q(\pi_{tk}) = \mathrm{Beta}(a + q_{tk}, b + 1 - q_{tk})

    with :math:`q_{tk} = q(m_{tk} = 1)`. Beta and Bernoulli are conjugate, so this posterior is
    the best one given q, and needs no parameters of its own.

    Parameters
    ----------
    a, b
        Shape of the Beta prior, both positive.
    """

    def __init__(self, a: float, b: float) -> None:
        if not (is_number(a) and is_number(b) and a > 0 and b > 0):
            raise ValueError(
                f"`mask_prior=('beta', a, b)` needs positive numbers a and b; got {a!r}, {b!r}."
            )
        self.a, self.b = float(a), float(b)
        self.mean = self.a / (self.a + self.b)

    def expected_log_prior(self, q: torch.Tensor) -> ExpectedLogPrior:
        """Digamma functions of the posterior, and the divergence of the two Betas."""
        posterior = Beta(self.a + q, self.b + 1 - q, validate_args=False)
        prior = Beta(torch.full_like(q, self.a), torch.full_like(q, self.b), validate_args=False)
        total = math.fsum((self.a, self.b, 1.0))
        normaliser = torch.digamma(q.new_tensor(total))
        return ExpectedLogPrior(
            torch.digamma(posterior.concentration1) - normaliser,
            torch.digamma(posterior.concentration0) - normaliser,
            kl_divergence(posterior, prior),
        )


class BetaPointInclusion(BetaInclusion):
    r"""An unknown probability for each entry, with a point posterior.

    .. math::
        \pi_{tk}^* = \arg\max_\pi \; q_{tk} \log\pi + (1 - q_{tk}) \log(1 - \pi)
        + \log\mathrm{Beta}(\pi; a, b) = \frac{a - 1 + q_{tk}}{a + b - 1}

    as SVAE+ has it (Lopez et al. 2023). The divergence is minus the log density of the prior at
    the point.

    Parameters
    ----------
    a, b
        Shape of the Beta prior, both at least 1, so that its density is bounded.
    """

    def __init__(self, a: float, b: float) -> None:
        super().__init__(a, b)
        if min(a, b) < 1:
            raise ValueError(
                "A point posterior of the inclusion probability needs a and b of at least 1 in "
                f"`mask_prior=('beta', a, b)`; got {a}, {b}."
            )

    def expected_log_prior(self, q: torch.Tensor) -> ExpectedLogPrior:
        """Logarithms at the best point."""
        tiny = torch.finfo(q.dtype).tiny
        total = self.a + self.b - 1
        on = torch.log(((self.a - 1 + q) / total).clamp(min=tiny))
        off = torch.log(((self.b - q) / total).clamp(min=tiny))
        log_beta = math.lgamma(self.a) + math.lgamma(self.b) - math.lgamma(self.a + self.b)
        return ExpectedLogPrior(on, off, log_beta - (self.a - 1) * on - (self.b - 1) * off)


def inclusion_prior(
    mask_prior: float | tuple[str, float, float], posterior: str
) -> InclusionPrior:
    """Prior as the user writes it: a probability, or ``("beta", a, b)``.

    ``posterior``, ``"beta"`` or ``"point"``, is the kind of posterior of an unknown π.
    """
    if not isinstance(mask_prior, tuple | list):
        return FixedInclusion(mask_prior)
    if len(mask_prior) != 3 or mask_prior[0] != "beta":
        raise ValueError(
            "`mask_prior` must be a probability in (0, 1), ('beta', a, b) or None; it is "
            f"{mask_prior!r}."
        )
    kind = {"beta": BetaInclusion, "point": BetaPointInclusion}[posterior]
    return kind(*mask_prior[1:])
