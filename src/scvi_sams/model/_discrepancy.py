"""What single genes do that a latent space does not hold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scvi_sams.model._posterior import SpikeMixture

Array = npt.NDArray[np.float64]

# of discrepancies, in standard deviations of the response between cells
SCALES = np.append(0.0, np.geomspace(0.02, 4, 12))
_NULL_RESIDUALS, _OTHER_RESIDUALS = 10.0, 0.05
_MOST_RESIDUALS = 200_000
_WEIGHT_OF_ALL = 10.0
_N_STEPS = 200
_LARGEST_SHARE = 0.9
_LEAST_ERROR = 1e-12


class Comparison(NamedTuple):
    r"""Effects that cells show beside what the model says of them, C x G.

    Attributes
    ----------
    residual
        Observed less predicted effects.
    error
        Sampling variances :math:`\sigma_{tg}^2` of the observed effects.
    before
        Variance :math:`P_{tg}` of the model's effects before it saw the cells.
    spread
        Variance :math:`s_g^2` of the response between cells, G.
    """

    residual: Array
    error: Array
    before: Array
    spread: Array

    @classmethod
    def of(
        cls, residual: Array, error: Array, of_model: Array, spread: Array, *, learned: bool
    ) -> Comparison:
        r"""Comparison with a model of posterior variance V, learned from these cells or not.

        .. math::
            P = V \sigma^2 / (\sigma^2 - V), \qquad r = (\hat a - a) \, \sigma^2 / (\sigma^2 - V)

        undo the update of a normal prior of variance P by an observation of variance σ², after
        which V is left and residuals have shrunk.
        """
        error = np.maximum(error, _LEAST_ERROR)  # of genes that never vary
        if not learned:
            return cls(residual, error, of_model, spread)
        share = np.minimum(of_model / error, _LARGEST_SHARE)
        return cls(residual / (1 - share), error, share * error / (1 - share), spread)

    def total(self, rows: slice) -> Array:
        """Variance of the residuals of some conditions under each scale, C x G x S."""
        known = self.before[rows] + self.error[rows]
        return known[..., None] + SCALES**2 * self.spread[:, None]

    def densities(self, rows: slice = slice(None)) -> Array:
        """Density of these residuals under each scale, up to a factor of each, C x G x S."""
        total = self.total(rows)
        log = -0.5 * (self.residual[rows][..., None] ** 2 / total + np.log(total))
        return np.exp(log - log.max(axis=-1, keepdims=True))

    def corrected(self, row: int, observed: Array, weights: Array, p_spike: Array) -> SpikeMixture:
        """Posterior of the effects of one condition, G.

        Parameters
        ----------
        row
            The condition.
        observed
            Its observed effects, G.
        weights
            Prior weights of the scales, S; the condition has its own around them.
        p_spike
            Probability that it is without effect to the model, G.
        """
        rows = slice(row, row + 1)
        density = self.densities(rows)[0]  # G x S
        density *= _weights(density, _WEIGHT_OF_ALL * weights)
        density /= density.sum(axis=-1, keepdims=True)
        error = self.error[row][:, None]
        share = error / self.total(rows)[0]  # of the residual that is sampling error, G x S
        loc = observed[:, None] - share * self.residual[row][:, None]
        variance = error * (1 - share)
        # without a discrepancy the effect is zero, or what the model has besides
        p_zero = p_spike * density[:, 0]
        on = np.maximum(1 - p_spike, np.finfo(np.float32).eps)
        second = (loc[:, 0] ** 2 + variance[:, 0]) / on
        loc[:, 0] /= on
        variance[:, 0] = np.maximum(second - loc[:, 0] ** 2, 0)
        density[:, 0] -= p_zero
        return SpikeMixture(p_zero, density, loc, np.sqrt(variance))


def fit_discrepancy(comparison: Comparison) -> Array:
    r"""Weights of the scales of discrepancies, by maximum likelihood (EM); S.

    .. math::
        r_{tg} \sim \sum_s \pi_s \, N(0, P_{tg} + \sigma_{tg}^2 + \lambda_s^2 s_g^2)

    with scales :math:`\lambda_0 = 0, \lambda_1, \dots` (adaptive shrinkage, Stephens 2017). It
    starts with nearly all weight on the first, where ten residuals more than there are lie, so
    that a scale counts as none unless residuals can tell it from that.
    """
    prior = np.full(len(SCALES), _OTHER_RESIDUALS)
    prior[0] = _NULL_RESIDUALS
    density = comparison.densities().reshape(-1, len(SCALES))
    return _weights(density[:: -(-len(density) // _MOST_RESIDUALS)], prior)


def _weights(density: Array, prior: Array) -> Array:
    """Weights of a mixture of known densities (N x S), with prior counts of each (S)."""
    weights = prior / prior.sum()
    for _ in range(_N_STEPS):
        member = density * weights
        counts = (member / member.sum(axis=1, keepdims=True)).sum(axis=0) + prior
        new = counts / counts.sum()
        if np.abs(new - weights).max() < 1e-5:
            return new
        weights = new
    return weights
