"""What is measured of cells: observed, and expected of simulated ones."""

from __future__ import annotations

import math
from typing import Literal

import torch

from scvi_sams.module._distributions import CountDistribution
from scvi_sams.module._expected_log import expected_log1p
from scvi_sams.module._likelihoods import GeneLikelihood

Normalization = Literal["log2_cp10k", "mean"]

_STEP = 0.05


class Response:
    r"""A scale y of expression.

    ``"log2_cp10k"`` is :math:`y = \log_2(1 + 10^4 x / \ell)` of counts x in a cell of total
    :math:`\ell`, ``"mean"`` is :math:`y = x`. Of simulated cells its expectation over the counting
    noise is taken without sampling counts, with the expected total.

    Parameters
    ----------
    name
        The scale; by default ``"log2_cp10k"`` of counts and ``"mean"`` of real values.
    likelihood
        Likelihood of the model.
    """

    def __init__(self, name: Normalization | None, likelihood: GeneLikelihood) -> None:
        self.name = name or ("log2_cp10k" if likelihood.is_of_counts else "mean")
        if self.name not in ("log2_cp10k", "mean"):
            raise ValueError(f"`normalization` must be 'log2_cp10k' or 'mean'; it is {name!r}.")
        if self.name == "log2_cp10k" and not likelihood.is_of_counts:
            raise ValueError(
                "`normalization='log2_cp10k'` is of counts, and this model is one of real values. "
                "Use `normalization='mean'`."
            )
        self.likelihood = likelihood

    def observed(self, x: torch.Tensor) -> torch.Tensor:
        """Response of measured cells, B x G; a cell without counts reads as zeros."""
        if self.name == "mean":
            return x
        return torch.log2(1 + 1e4 * x / x.sum(-1, keepdim=True).clamp(min=1))

    def expected(self, hidden: torch.Tensor, log_library: torch.Tensor) -> torch.Tensor:
        """Expected response of cells with decoder's hidden states (B x H); B x G."""
        measured = self.likelihood(hidden, log_library)
        if self.name == "mean":
            return measured.mean
        return _expected_log2(measured, measured.mean.sum(-1, keepdim=True))

    def slope(self, hidden: torch.Tensor, log_library: torch.Tensor) -> torch.Tensor:
        """Derivative of the expected response with respect to the linear output; B x G."""
        measured = self.likelihood(hidden, log_library)
        if self.name == "mean":
            return self.likelihood.mean_slope(measured)
        # of one gene: the total stays what it was
        total = measured.mean.sum(-1, keepdim=True)
        low, high = (
            _expected_log2(self.likelihood(hidden, log_library + step), total)
            for step in (-_STEP, _STEP)
        )
        return (high - low) / (2 * _STEP)


def _expected_log2(measured: CountDistribution, total: torch.Tensor) -> torch.Tensor:
    r"""Expectation of :math:`\log_2(1 + 10^4 x / \ell)`, B x G, with totals ℓ (B x 1)."""
    mean, scale = measured.mean, 1e4 / total
    size_biased = mean + measured.variance / mean.clamp(min=torch.finfo(mean.dtype).tiny)
    # not numbers if training diverged
    largest = float(torch.nan_to_num(scale * size_biased).max())
    return expected_log1p(measured, scale, largest) / math.log(2)
