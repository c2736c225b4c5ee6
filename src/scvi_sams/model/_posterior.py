"""Posterior of an effect that is about zero, or else about normal."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Array = npt.NDArray[np.float64]

_BISECTIONS = 40


class SpikeSlab(NamedTuple):
    r"""A narrow normal at zero beside a wide one anywhere.

    .. math::
        p(a) = p_0 \, N(a; 0, s_0^2) + (1 - p_0) \, N(a; \mu, s^2)

    Attributes
    ----------
    p_spike
        Probability :math:`p_0` of the spike.
    spike_scale
        Its standard deviation :math:`s_0`, which may be zero.
    loc, scale
        Mean and standard deviation of the slab; all four have one shape.
    """

    p_spike: Array
    spike_scale: Array
    loc: Array
    scale: Array

    @property
    def mean(self) -> Array:
        """Mean."""
        return (1 - self.p_spike) * self.loc

    @property
    def sd(self) -> Array:
        """Standard deviation."""
        second = self.p_spike * self.spike_scale**2
        second += (1 - self.p_spike) * (self.loc**2 + self.scale**2)
        return np.sqrt(np.maximum(second - self.mean**2, 0))

    def at_most(self, value: float | Array) -> Array:
        """P(A <= value)."""
        spike = _normal_cdf(value, self.spike_scale)
        return self.p_spike * spike + (1 - self.p_spike) * _normal_cdf(
            value - self.loc, self.scale
        )

    def quantile(self, probability: float) -> Array:
        """Smallest value a with P(A <= a) >= ``probability``, by bisection."""
        z = ndtri(probability)
        ends = np.stack([z * self.spike_scale, self.loc + z * self.scale])
        low, high = ends.min(0), ends.max(0)
        # exactly there, such as at the point of a spike without width
        high = np.where(self.at_most(low) >= probability, low, high)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            enough = self.at_most(middle) >= probability
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return high

    @property
    def local_false_sign_rate(self) -> Array:
        r"""Probability that the sign of the slab's mean is wrong; no sign is right of a spike.

        .. math::
            p_0 + (1 - p_0) \, \Phi(-|\mu| / s)

        (Stephens 2017).
        """
        return self.p_spike + (1 - self.p_spike) * _normal_cdf(-np.abs(self.loc), self.scale)


def _normal_cdf(value: float | Array, scale: Array) -> Array:
    """P(scale · Z <= value) of a standard normal Z, also for a scale of zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(scale > 0, ndtr(value / scale), np.asarray(value) >= 0)
