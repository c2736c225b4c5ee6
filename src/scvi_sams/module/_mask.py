r"""The mask of each perturbation: which latent dimensions it touches."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F


class BernoulliMask(nn.Module):
    r"""Masks with a Bernoulli prior and a mean-field posterior.

    .. math::
        p(m_{tk}) = \mathrm{Bernoulli}(\pi), \qquad
        q(m_{tk}) = \mathrm{Bernoulli}(\sigma(\phi_{tk}))

    where :math:`m_{tk}` says whether perturbation :math:`t` shifts latent dimension :math:`k`,
    :math:`\pi` is the prior inclusion probability and :math:`\phi_{tk}` are the variational
    logits.

    Parameters
    ----------
    n_perturbations
        Number of perturbations T.
    n_latent
        Number of latent dimensions K.
    prior
        Prior inclusion probability π, in (0, 1).
    initial_inclusion
        Inclusion probability at which optimisation starts.
    temperature
        Of the straight-through Gumbel-sigmoid; smaller follows the hard mask more closely, with
        noisier gradients.
    """

    def __init__(
        self,
        n_perturbations: int,
        n_latent: int,
        *,
        prior: float,
        initial_inclusion: float = 0.5,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if not isinstance(prior, int | float) or not 0 < prior < 1:
            raise ValueError(f"`mask_prior` must be a probability in (0, 1); it is {prior!r}.")
        self.prior_logit = math.log(prior) - math.log1p(-prior)
        self.temperature = temperature
        start = math.log(initial_inclusion) - math.log1p(-initial_inclusion)
        self.logits = nn.Parameter(torch.full((n_perturbations, n_latent), start))  # T x K

    @property
    def inclusion_probability(self) -> torch.Tensor:
        """q(m = 1), of shape T x K."""
        return torch.sigmoid(self.logits)

    def rsample(self, rows: torch.Tensor, n_particles: int) -> torch.Tensor:
        r"""Sample masks: 0 or 1, with the gradient of a relaxed sample.

        .. math::
            m = 1[\tilde m > 1/2] + \tilde m - \mathrm{stop}(\tilde m), \qquad
            \tilde m = \sigma((\phi + l) / \tau), \quad l \sim \mathrm{Logistic}(0, 1)

        (Maddison et al. 2017; Bengio et al. 2013 for the straight-through gradient.)

        Parameters
        ----------
        rows
            Perturbations to sample, of shape R.
        n_particles
            Number of samples P.

        Returns
        -------
        Tensor of shape P x R x K.
        """
        logits = self.logits[rows]  # R x K
        uniform = torch.rand(
            (n_particles, *logits.shape), dtype=logits.dtype, device=logits.device
        )
        logistic = torch.logit(uniform, eps=torch.finfo(logits.dtype).eps)
        relaxed = torch.sigmoid((logits + logistic) / self.temperature)  # P x R x K
        hard = (relaxed > 0.5).to(relaxed.dtype)
        return hard + (relaxed - relaxed.detach())  # the bracket is exactly 0

    def kl(self, rows: torch.Tensor) -> torch.Tensor:
        r"""Exact divergence from the prior, in nats.

        .. math::
            \mathrm{KL}(q \| p) = q \log\frac{q}{\pi} + (1 - q) \log\frac{1 - q}{1 - \pi},
            \qquad q = \sigma(\phi)

        Parameters
        ----------
        rows
            Perturbations, of shape R.

        Returns
        -------
        Tensor of shape R x K.
        """
        logits = self.logits[rows]
        prior_logit = logits.new_tensor(self.prior_logit)
        # log q = -softplus(-φ) and log(1 - q) = -softplus(φ) stay finite for any logit
        included = F.softplus(-prior_logit) - F.softplus(-logits)
        excluded = F.softplus(prior_logit) - F.softplus(logits)
        q = torch.sigmoid(logits)
        return q * included + (1 - q) * excluded

    @torch.no_grad()
    def reset_to_prior(self, rows: torch.Tensor) -> None:
        """Make the posterior of ``rows`` the prior."""
        self.logits[rows] = self.prior_logit
