"""Distribution of what was measured, computed when it is asked for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch.distributions import Distribution

if TYPE_CHECKING:
    from scvi_sams.module._likelihoods import GeneLikelihood


class Measured:
    """Distribution of the genes of cells with given hidden states.

    Training asks for nothing but :meth:`log_likelihood`, which needs no means. Everything else is
    asked of the distribution itself, which is computed when it is first needed.

    Parameters
    ----------
    likelihood
        From hidden states to distributions.
    hidden
        Hidden states, of shape ... x B x H.
    log_library
        Log library sizes, of shape B x 1.
    """

    def __init__(
        self, likelihood: GeneLikelihood, hidden: torch.Tensor, log_library: torch.Tensor
    ) -> None:
        self._likelihood, self._hidden, self._log_library = likelihood, hidden, log_library
        self._has_gradient = torch.is_grad_enabled()

    def log_likelihood(self, x: torch.Tensor) -> torch.Tensor:
        """Sum of the log densities of a cell's genes (... x B) at values of shape B x G."""
        return self._likelihood.log_likelihood(x, self._hidden, self._log_library)

    @cached_property
    def distribution(self) -> Distribution:
        """The distribution itself, of shape ... x B x G; with gradients if those were on."""
        with torch.set_grad_enabled(self._has_gradient):
            return self._likelihood(self._hidden, self._log_library)

    def __getattr__(self, name: str) -> Any:
        """What the distribution has."""
        if name.startswith("_") or name == "distribution":
            raise AttributeError(name)
        return getattr(self.distribution, name)
