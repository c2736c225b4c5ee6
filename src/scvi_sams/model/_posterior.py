"""Posteriors of effects that may be zero."""

from __future__ import annotations

from collections.abc import Callable
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
        return _quantile(self.at_most, ends, probability)

    @property
    def local_false_sign_rate(self) -> Array:
        r"""Probability that the sign of the slab's mean is wrong; no sign is right of a spike.

        .. math::
            p_0 + (1 - p_0) \, \Phi(-|\mu| / s)

        (Stephens 2017).
        """
        return self.p_spike + (1 - self.p_spike) * _normal_cdf(-np.abs(self.loc), self.scale)


class SpikeMixture(NamedTuple):
    r"""A point at zero beside a mixture of normals.

    .. math::
        p(a) = p_0 \, \delta_0(a) + \sum_s w_s \, N(a; \mu_s, \sigma_s^2), \qquad
        p_0 + \sum_s w_s = 1

    Attributes
    ----------
    p_spike
        Probability :math:`p_0` of exactly zero, of any shape.
    weight, loc, scale
        Weights, means and standard deviations of the normals, of that shape x S.
    """

    p_spike: Array
    weight: Array
    loc: Array
    scale: Array

    @property
    def mean(self) -> Array:
        """Mean."""
        return (self.weight * self.loc).sum(axis=-1)

    @property
    def sd(self) -> Array:
        """Standard deviation."""
        second = (self.weight * (self.loc**2 + self.scale**2)).sum(axis=-1)
        return np.sqrt(np.maximum(second - self.mean**2, 0))

    def at_most(self, value: float | Array) -> Array:
        """P(A <= value)."""
        value = np.asarray(value)
        slab = self.weight * _normal_cdf(value[..., None] - self.loc, self.scale)
        return self.p_spike * (value >= 0) + slab.sum(axis=-1)

    def quantile(self, probability: float) -> Array:
        """Smallest value a with P(A <= a) >= ``probability``, by bisection."""
        ends = np.moveaxis(self.loc + ndtri(probability) * self.scale, -1, 0)
        ends = np.stack([*ends, np.zeros_like(ends[0])])
        up_to_zero = self.at_most(np.zeros_like(ends[0]))
        is_zero = (up_to_zero - self.p_spike < probability) & (probability <= up_to_zero)
        return np.where(is_zero, 0.0, _quantile(self.at_most, ends, probability))

    @property
    def local_false_sign_rate(self) -> Array:
        """Probability that the sign is not that of the mean; no sign is right of zero."""
        towards = np.where(self.mean < 0, -1, 1)[..., None] * self.loc
        return self.p_spike + (self.weight * _normal_cdf(-towards, self.scale)).sum(axis=-1)


def _quantile(at_most: Callable[[Array], Array], ends: Array, probability: float) -> Array:
    """Quantile between the least and the largest of those of the components, by bisection."""
    low, high = ends.min(0), ends.max(0)
    # exactly there, such as at the point of a spike without width
    high = np.where(at_most(low) >= probability, low, high)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        enough = at_most(middle) >= probability
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high


def _normal_cdf(value: float | Array, scale: Array) -> Array:
    """P(scale · Z <= value) of a standard normal Z, also for a scale of zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(scale > 0, ndtr(value / scale), np.asarray(value) >= 0)
