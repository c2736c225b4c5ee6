"""What a model does not know beyond its masks and effects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

Array = npt.NDArray[np.float64]


class Uncertainty(NamedTuple):
    r"""Uncertainty of the decoder's output layer, and misfit of the model.

    The output layer has a bias and weights :math:`w_g` for gene g on the decoder's hidden states
    :math:`h_i`, here less their mean. Training cells hold the information
    :math:`\sum_i a_{ig} h_i h_i^\top` on the weights, which is about :math:`\bar a_g H` with
    :math:`H = \sum_i h_i h_i^\top`, and :math:`n \bar a_g` on the bias. With a normal prior of
    precision :math:`\alpha_g` on the weights, an effect with gradients :math:`\nabla_g` in the
    weights and :math:`\nabla_{g0}` in the bias has, by Laplace's approximation, the variance

    .. math::
        v_{tg} = \nabla_g^\top (\bar a_g H + \alpha_g I)^{-1} \nabla_g
        + \nabla_{g0}^2 / (n \bar a_g)

    (MacKay 1992; Daxberger et al. 2021: "last-layer Laplace"). What the model cannot fit has the
    variance

    .. math::
        \kappa \, v_{tg} + \gamma \, s_g^2

    where :math:`s_g^2` is the variance of the response between cells; κ and γ are fitted to the
    effects that training cells show (see :func:`fit_misfit`).

    Attributes
    ----------
    n_cells
        Number n of training cells.
    hidden_mean
        Mean of the hidden states, H.
    axes, size
        Eigenvectors and eigenvalues of H, of shapes H x H and H.
    information
        Mean information :math:`\bar a_g` of a cell on the linear output of each gene, G.
    precision
        Prior precision :math:`\alpha_g`: the one at which the weights of the gene have the size
        that they have; G.
    misfit
        κ and γ, by the name of the response.
    spread
        :math:`s_g^2` by the name of the response; G.
    discrepancy
        Weights of the scales of what single genes do beyond the model, by the name of the
        response (see :func:`~scvi_sams.model._discrepancy.fit_discrepancy`); S.
    """

    n_cells: int
    hidden_mean: Array
    axes: Array
    size: Array
    information: Array
    precision: Array
    misfit: dict[str, Array]
    spread: dict[str, Array]
    discrepancy: dict[str, Array]

    def of_decoder(self, in_bias: Array, in_weights: Array) -> Array:
        """Variance of effects on genes with gradients in the biases (G) and weights (G x H); G.

        The gradient in the weights is that with respect to hidden states with their mean.
        """
        centred = in_weights - np.outer(in_bias, self.hidden_mean)
        known = np.outer(self.information, self.size) + self.precision[:, None]  # G x H
        of_bias = in_bias**2 / np.maximum(self.n_cells * self.information, 1e-12)
        return ((centred @ self.axes) ** 2 / known).sum(-1) + of_bias

    def of_model(self, name: str, decoder: Array) -> tuple[Array, Array]:
        """Variances of the misfit, and of it together with that of the decoder; both C x G."""
        kappa, gamma = self.misfit[name]
        unmodelled = np.broadcast_to(gamma * self.spread[name], decoder.shape)
        return unmodelled, unmodelled + (1 + kappa) * decoder


def fit_misfit(
    *,
    residual: Array,
    error: Array,
    expected_error: Array,
    known: Array,
    decoder: Array,
    spread: Array,
) -> Array:
    r"""Fit κ and γ to effects that training cells show, by the method of moments.

    .. math::
        E[r_{tg}^2] = \sigma_{tg}^2 - u_{tg} - v_{tg} + \kappa \, v_{tg} + \gamma \, s_g^2

    for residuals r between effects that cells show, with sampling variance σ², and those of a
    model that has learned from the same cells. Were the model right, with posterior variance
    u + v, residuals would vary less than sampling errors by just that, as those of any Bayesian
    smoother do. What is left is misfit.

    Parameters
    ----------
    residual
        Observed less predicted effects of conditions on genes, C x G.
    error
        Sampling variances σ², C x G, as the cells of each condition show them.
    expected_error
        The same if cells of all conditions vary alike; residuals are weighted by these. Shown
        variances are small, or zero, just where few counts fell, and must not be weights.
    known, decoder
        Variances u of masks and effects, and v of the decoder, C x G.
    spread
        Variance :math:`s_g^2` of the response between cells, G.

    Returns
    -------
    κ and γ, neither below zero.
    """
    excess = residual**2 - error + known + decoder
    design = np.stack([decoder, np.broadcast_to(spread, decoder.shape)], axis=-1)
    # the standard deviation of a squared residual is in proportion to its expectation
    varies = expected_error > 0
    weight = np.divide(1, expected_error, out=np.zeros_like(residual), where=varies)
    coefficients, _ = nnls((design * weight[..., None]).reshape(-1, 2), (excess * weight).ravel())
    return coefficients
