"""From the decoder's hidden state to a distribution of what was measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from scvi.distributions import Normal
from torch import nn
from torch.distributions import Distribution
from torch.nn import functional as F

from scvi_sams.module._count_terms import count_terms
from scvi_sams.module._distributions import (
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
)
from scvi_sams.module._effects import inverse_softplus
from scvi_sams.module._fused import Kernel, fused_log_likelihood
from scvi_sams.module._kernels import (
    Link,
    NegativeBinomialKernel,
    NormalKernel,
    PoissonKernel,
    Softmax,
    Softplus,
    ZeroInflatedNegativeBinomialKernel,
)


class GeneLikelihood(nn.Module, ABC):
    """Distribution of each gene given the decoder's hidden state.

    Parameters
    ----------
    n_hidden, n_genes
        Width H of the hidden state, and number of genes G.
    dispersion
        ``"gene"``: one dispersion per gene; ``"gene-cell"``: one per gene and cell, from the
        hidden state.
    sums_to_one
        Whether the shares of counts are those of the observed library (softmax), rather than
        relative to a size factor (softplus).
    """

    is_of_counts = True
    log_dispersion: nn.Parameter | nn.Linear | None

    def __init__(
        self,
        n_hidden: int,
        n_genes: int,
        *,
        dispersion: Literal["gene", "gene-cell"] = "gene",
        sums_to_one: bool = True,
    ) -> None:
        super().__init__()
        self.sums_to_one = sums_to_one
        self.to_genes = nn.Linear(n_hidden, n_genes)
        if dispersion == "gene":
            self.log_dispersion = nn.Parameter(torch.zeros(n_genes))  # G
        else:
            self.log_dispersion = nn.Linear(n_hidden, n_genes)

    @abstractmethod
    def start_at(self, mean: torch.Tensor, sd: torch.Tensor) -> None:
        """Start at the mean (G) of training cells, as counts per library; ``sd`` is their spread.

        Without counts, mean and spread are those of the values themselves.
        """

    @abstractmethod
    def forward(self, hidden: torch.Tensor, log_library: torch.Tensor) -> Distribution:
        """Distribution (... x B x G) of hidden states (... x B x H), log libraries (B x 1)."""

    @property
    @abstractmethod
    def kernel(self) -> Kernel:
        """What is done with each cell; see :mod:`._kernels`."""

    @property
    def heads(self) -> list[nn.Linear]:
        """Layers from hidden states to the first parameters of the kernel."""
        others = [self.log_dispersion] if isinstance(self.log_dispersion, nn.Linear) else []
        return [self.to_genes, *others]

    def log_likelihood(
        self, x: torch.Tensor, hidden: torch.Tensor, log_library: torch.Tensor
    ) -> torch.Tensor:
        """Sum of the log densities of a cell's genes, ... x B.

        The same as ``self(hidden, log_library).log_prob(x).sum(-1)``, faster and in less memory.

        Parameters
        ----------
        x
            Observed values, of shape B x G.
        hidden, log_library
            As in :meth:`forward`; at most one axis of particles.
        """
        of_genes = [self.log_dispersion] if isinstance(self.log_dispersion, torch.Tensor) else []
        return fused_log_likelihood(self.kernel, x, log_library, hidden, self.heads, of_genes)

    @abstractmethod
    def mean_slope(self, measured: Distribution) -> torch.Tensor:
        """Derivative of the mean of each gene with respect to its linear output; ... x B x G."""

    def information(self, measured: Distribution) -> torch.Tensor:
        r"""Information that a cell holds on the linear output of each gene; ... x B x G.

        .. math::
            (d\mu / dy)^2 / \mathrm{Var}(x)

        which is Fisher's for the negative binomial, the Poisson and the normal mean, and that of
        a quasi-likelihood otherwise (Wedderburn 1974).
        """
        return self.mean_slope(measured).square() / measured.variance.clamp(min=1e-12)

    def dispersion(self, hidden: torch.Tensor) -> torch.Tensor:
        """Positive dispersion, of shape G or ... x B x G."""
        return torch.exp(self.log_dispersion_of(hidden))

    def log_dispersion_of(self, hidden: torch.Tensor) -> torch.Tensor:
        """Its logarithm, in the precision of the parameters under autocast too."""
        assert self.log_dispersion is not None
        if isinstance(self.log_dispersion, nn.Linear):
            return self.log_dispersion(hidden).to(self.log_dispersion.weight.dtype)
        return self.log_dispersion


class CountLikelihood(GeneLikelihood):
    r"""Counts whose mean is a share of the library.

    .. math::
        \mu_{ig} = \ell_i \rho_{ig}, \qquad \log\rho_i = \log\mathrm{softmax}(y_i)
        \quad\text{or}\quad \log\mathrm{softplus}(y_i)

    with library size (or size factor) :math:`\ell_i` and a linear output :math:`y_i`.
    """

    @torch.no_grad()
    def start_at(self, mean: torch.Tensor, sd: torch.Tensor) -> None:
        """Set the output bias to the mean share of each gene (G) over training cells."""
        share = mean.clamp(min=1e-8)
        self.to_genes.bias.copy_(torch.log(share) if self.sums_to_one else inverse_softplus(share))

    def log_share(self, hidden: torch.Tensor) -> torch.Tensor:
        """Log share of each gene, ... x B x G."""
        logits = self.to_genes(hidden)  # ... x B x G
        if self.sums_to_one:
            return F.log_softmax(logits, dim=-1)
        # softplus(y) -> exp(y) far below zero, where its own log would be -inf
        return torch.where(logits < -15, logits, torch.log(F.softplus(logits.clamp(min=-15))))

    def log_likelihood(
        self, x: torch.Tensor, hidden: torch.Tensor, log_library: torch.Tensor
    ) -> torch.Tensor:
        """Sum of the log probabilities of a cell's counts, ... x B."""
        log_theta = None if self.log_dispersion is None else self.log_dispersion_of(hidden)
        return super().log_likelihood(x, hidden, log_library) + count_terms(x, log_theta)

    @property
    def link(self) -> type[Link]:
        """From linear outputs to means."""
        return Softmax if self.sums_to_one else Softplus

    def mean_slope(self, measured: Distribution) -> torch.Tensor:
        """The mean itself: exact for Poisson shares far below one, and near it otherwise."""
        return measured.mean

    def means(self, hidden: torch.Tensor, log_library: torch.Tensor) -> dict[str, torch.Tensor]:
        """Means, their logarithms and the shares, named as distributions do; ... x B x G."""
        log_share = self.log_share(hidden)
        log_mu = log_share + log_library
        return {"mu": torch.exp(log_mu), "log_mu": log_mu, "scale": torch.exp(log_share)}


class NegativeBinomialLikelihood(CountLikelihood):
    r"""Negative binomial with mean :math:`\ell_i \rho_{ig}` and inverse dispersion θ."""

    @property
    def kernel(self) -> Kernel:
        """That of the negative binomial."""
        return NegativeBinomialKernel(self.link)

    def forward(self, hidden: torch.Tensor, log_library: torch.Tensor) -> NegativeBinomial:
        """Negative binomial of shape ... x B x G."""
        return NegativeBinomial(theta=self.dispersion(hidden), **self.means(hidden, log_library))


class ZeroInflatedNegativeBinomialLikelihood(CountLikelihood):
    """Negative binomial whose counts are lost with a probability of their own."""

    def __init__(self, n_hidden: int, n_genes: int, **kwargs: object) -> None:
        super().__init__(n_hidden, n_genes, **kwargs)  # type: ignore[arg-type]
        self.to_dropout = nn.Linear(n_hidden, n_genes)

    @property
    def kernel(self) -> Kernel:
        """That of the zero-inflated negative binomial."""
        return ZeroInflatedNegativeBinomialKernel(self.link)

    @property
    def heads(self) -> list[nn.Linear]:
        """Layers to genes, to the probabilities of lost counts and maybe to dispersions."""
        to_genes, *others = super().heads
        return [to_genes, self.to_dropout, *others]

    def forward(
        self, hidden: torch.Tensor, log_library: torch.Tensor
    ) -> ZeroInflatedNegativeBinomial:
        """Zero-inflated negative binomial of shape ... x B x G."""
        return ZeroInflatedNegativeBinomial(
            theta=self.dispersion(hidden),
            zi_logits=self.to_dropout(hidden),
            **self.means(hidden, log_library),
        )


class PoissonLikelihood(CountLikelihood):
    """Poisson with the same mean; it has no dispersion."""

    def __init__(self, n_hidden: int, n_genes: int, **kwargs: object) -> None:
        super().__init__(n_hidden, n_genes, **kwargs)  # type: ignore[arg-type]
        self.log_dispersion = None

    @property
    def kernel(self) -> Kernel:
        """That of the Poisson."""
        return PoissonKernel(self.link)

    def forward(self, hidden: torch.Tensor, log_library: torch.Tensor) -> Poisson:
        """Poisson of shape ... x B x G."""
        return Poisson(**self.means(hidden, log_library))


class NormalLikelihood(GeneLikelihood):
    r"""Real values with a normal distribution.

    .. math::
        x_{ig} \sim N(a_g + u_g y_{ig}, (u_g \sigma)^2)

    with a linear output :math:`y_i`, and mean :math:`a_g` and standard deviation :math:`u_g` of
    the gene over training cells, so that the unit of the data does not matter. There is no
    library size.
    """

    is_of_counts = False
    origin: torch.Tensor
    unit: torch.Tensor

    def __init__(self, n_hidden: int, n_genes: int, **kwargs: object) -> None:
        super().__init__(n_hidden, n_genes, **kwargs)  # type: ignore[arg-type]
        self.register_buffer("origin", torch.zeros(n_genes))
        self.register_buffer("unit", torch.ones(n_genes))

    @property
    def kernel(self) -> Kernel:
        """That of the normal."""
        return NormalKernel(self.origin, self.unit)

    @torch.no_grad()
    def start_at(self, mean: torch.Tensor, sd: torch.Tensor) -> None:
        """Take mean and standard deviation of each gene (G) over training cells."""
        self.origin.copy_(mean)
        self.unit.copy_(torch.where(sd > 1e-6, sd, 1.0))

    def mean_slope(self, measured: Distribution) -> torch.Tensor:
        """The unit of the gene."""
        return self.unit.expand_as(measured.mean)

    def forward(self, hidden: torch.Tensor, log_library: torch.Tensor) -> Normal:
        """Normal of shape ... x B x G."""
        mean = self.origin + self.unit * self.to_genes(hidden)
        sd = self.unit * self.dispersion(hidden) + 1e-6
        return Normal(mean, sd, validate_args=False, normal_mu=mean)


GENE_LIKELIHOODS: dict[str, type[GeneLikelihood]] = {
    "nb": NegativeBinomialLikelihood,
    "zinb": ZeroInflatedNegativeBinomialLikelihood,
    "poisson": PoissonLikelihood,
    "normal": NormalLikelihood,
}
