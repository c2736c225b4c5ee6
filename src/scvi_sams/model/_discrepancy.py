"""What single genes do that a latent space does not hold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from scvi_sams.model._posterior import SpikeMixture

Array = npt.NDArray[np.float64]

# of discrepancies, in standard deviations of the response between cells
SCALES = np.append(0.0, np.geomspace(0.02, 4, 12))
# nearly all weight on the first: a scale counts as none unless residuals can tell it from that
_PRIOR_COUNTS = np.append(10.0, np.full(12, 0.05))
PRIOR_WEIGHTS = _PRIOR_COUNTS / _PRIOR_COUNTS.sum()
_WEIGHT_OF_ALL = 10.0
_N_STEPS = 200
_LARGEST_SHARE = 0.9
_LEAST_ERROR = 1e-12
_MOST_RESIDUALS = 200_000


class Comparison(NamedTuple):
    r"""Effects that cells show beside what the model says of them, each C x G or N.

    The effect of the model is zero with a probability, and else about normal. An effect has a
    discrepancy of one of the scales on top, and is shown with a sampling error.

    Attributes
    ----------
    observed, error
        Observed effects, and their sampling variances :math:`\sigma^2`.
    p_spike
        Probability that the condition has no effect to the model.
    loc, before
        Mean, and variance P, of its effects otherwise, before it saw the cells.
    spread
        Variance :math:`s_g^2` of the response between cells.
    """

    observed: Array
    error: Array
    p_spike: Array
    loc: Array
    before: Array
    spread: Array

    @classmethod
    def of(
        cls,
        observed: Array,
        error: Array,
        *,
        p_spike: Array,
        loc: Array,
        variance: Array,
        spread: Array,
        learned: bool,
    ) -> Comparison:
        r"""Comparison with a model of posterior variance V, learned from these cells or not.

        .. math::
            P = \frac{V \sigma^2}{\sigma^2 - V}, \qquad
            \hat a - \mu_0 = (\hat a - \mu) \frac{\sigma^2}{\sigma^2 - V}

        undo the update of a normal prior of mean :math:`\mu_0` and variance P by an observation
        :math:`\hat a` of variance σ², after which the mean is :math:`\mu` and V is left.
        """
        error = np.maximum(error, _LEAST_ERROR)  # of genes that never vary
        if learned:
            left = 1 - np.minimum(variance / error, _LARGEST_SHARE)
            variance = (1 - left) * error / left
            loc = observed - (observed - loc) / left
        return cls(observed, error, p_spike, loc, variance, np.broadcast_to(spread, loc.shape))

    def take(self, rows: npt.NDArray[np.intp] | int) -> Comparison:
        """Some of the conditions, or of the flat entries."""
        return Comparison(*(array[rows] for array in self))

    def log_densities(self) -> Array:
        """Log density of what is observed: without and with an effect, and by scale, 2 x ... x S.

        The probability of either is not in it.
        """
        discrepancy = SCALES**2 * self.spread[..., None]
        none = np.zeros_like(self.loc)
        return np.stack(
            [
                _log_normal((self.observed - mean)[..., None], known[..., None] + discrepancy)
                for mean, known in ((none, self.error), (self.loc, self.before + self.error))
            ]
        )

    def log_either(self) -> Array:
        """Log probability of no effect, and of one, 2 x ..."""
        with np.errstate(divide="ignore"):
            return np.log(np.stack([self.p_spike, 1 - self.p_spike]))

    def corrected(self, weights: Array, *, learned: bool) -> SpikeMixture:
        """Posterior of the effects of one condition, G.

        Whether it has any effect is a question of all its genes together: the model has answered
        it from cells that it learned from, and others update its answer.

        Parameters
        ----------
        weights
            Prior weights of the scales, S; the condition has its own around them.
        learned
            Whether the model learned from the cells.
        """
        log, either = self.log_densities(), self.log_either()  # 2 x G x S, 2 x G
        own = _weights(_relative(log + either[..., None]), _WEIGHT_OF_ALL * weights)
        with np.errstate(divide="ignore"):
            scaled = log + np.log(own)
        by_state = logsumexp(scaled, axis=2)  # 2 x G
        if not learned:
            either = either + by_state.sum(axis=1, keepdims=True)
            either = either - logsumexp(either, axis=0)
        member = np.exp(scaled - by_state[..., None] + either[..., None])  # 2 x G x S
        discrepancy = SCALES**2 * self.spread[:, None]
        locs, scales = [], []
        for mean, known in ((0 * self.loc, 0 * self.before), (self.loc, self.before)):
            prior = known[:, None] + discrepancy
            share = self.error[:, None] / (prior + self.error[:, None])  # that is sampling error
            locs.append(share * mean[:, None] + (1 - share) * self.observed[:, None])
            scales.append(np.sqrt(prior * share))
        return SpikeMixture(
            member[0, :, 0],  # neither an effect nor a discrepancy
            np.concatenate([member[0, :, 1:], member[1]], axis=1),
            np.concatenate([locs[0][:, 1:], locs[1]], axis=1),
            np.concatenate([scales[0][:, 1:], scales[1]], axis=1),
        )


def fit_discrepancy(comparison: Comparison) -> Array:
    r"""Weights of the scales of discrepancies, by maximum likelihood (EM); S.

    .. math::
        \hat a_{tg} \sim p_t \sum_s \pi_s \, N(0, \sigma_{tg}^2 + \lambda_s^2 s_g^2)
        + (1 - p_t) \sum_s \pi_s \, N(\mu_{tg}, P_{tg} + \sigma_{tg}^2 + \lambda_s^2 s_g^2)

    with scales :math:`\lambda_0 = 0, \lambda_1, \dots` (adaptive shrinkage, Stephens 2017). It
    starts with nearly all weight on the first, where ten effects more than there are lie.
    """
    flat = Comparison(*(np.ravel(array) for array in comparison))
    if len(flat.observed) > _MOST_RESIDUALS:
        rng = np.random.default_rng(0)
        flat = flat.take(rng.choice(len(flat.observed), _MOST_RESIDUALS, replace=False))
    return _weights(_relative(flat.log_densities() + flat.log_either()[..., None]), _PRIOR_COUNTS)


def _relative(log_joint: Array) -> Array:
    """Densities by scale (N x S), up to a factor, of log densities with and without an effect."""
    log = logsumexp(log_joint, axis=0)
    return np.exp(log - log.max(axis=-1, keepdims=True))


def _log_normal(residual: Array, variance: Array) -> Array:
    """Log density of a centred normal, up to a constant."""
    return -0.5 * (residual**2 / variance + np.log(variance))


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
