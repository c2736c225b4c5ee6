"""The spike-and-slab effect guide."""

from __future__ import annotations

import torch

from scvi_sams.module._effects import GaussianEffects, gaussian_kl, gaussian_log_ratio


class SpikeSlabEffects(GaussianEffects):
    r"""Effects that fall back to their prior where the mask is off.

    .. math::
        q(e_{tk} | m_{tk} = 1) = N(\mu_{tk}, s_{tk}^2), \qquad
        q(e_{tk} | m_{tk} = 0) = N(0, \sigma_e^2)

    With :math:`m_{tk} = 0` the effect does not touch the likelihood, so its exact conditional
    posterior is its prior, and the divergence is paid only where the mask is on:
    :math:`q(m_{tk} = 1) \, \mathrm{KL}(N(\mu_{tk}, s_{tk}^2) \| N(0, \sigma_e^2))`. At equal
    parameters this bound is never looser than the mean-field one (Titsias & Lázaro-Gredilla
    2011).
    """

    def kl(self, mask: torch.Tensor, inclusion: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Gaussian divergence where the mask is on; shape R x K."""
        return inclusion * gaussian_kl(*self.mean_and_sd(mask, rows), self.prior_scale)

    def log_ratio(
        self, effect: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """Ratio of the two Gaussians where the mask is on."""
        ratio = gaussian_log_ratio(effect, *self.mean_and_sd(mask, rows), self.prior_scale)
        return mask * ratio
