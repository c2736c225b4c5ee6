"""The mean-field effect guide."""

from __future__ import annotations

import torch

from scvi_sams.module._effects import GaussianEffects, gaussian_kl, gaussian_log_ratio


class MeanFieldEffects(GaussianEffects):
    r"""Effects that do not depend on their masks.

    .. math::
        q(e_{tk} | m_{tk}) = N(\mu_{tk}, s_{tk}^2)

    with location :math:`\mu_{tk}` and scale :math:`s_{tk}` (Bereket & Karaletsos 2023).
    """

    def kl(self, mask: torch.Tensor, inclusion: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Gaussian divergence, whatever the mask; shape R x K."""
        return gaussian_kl(*self.mean_and_sd(mask, rows), self.prior_scale)

    def log_ratio(
        self, effect: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """Ratio of the two Gaussians, whatever the mask."""
        return gaussian_log_ratio(effect, *self.mean_and_sd(mask, rows), self.prior_scale)
