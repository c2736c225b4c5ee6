"""The mean-field effect guide."""

from __future__ import annotations

import torch

from scvi_sams.module._effects import EffectGuide


class MeanFieldEffects(EffectGuide):
    r"""Effects that do not depend on their masks.

    .. math::
        q(e_{tk} | m_{tk}) = N(\mu_{tk}, s_{tk}^2)

    with location :math:`\mu_{tk}` and scale :math:`s_{tk}` (Bereket & Karaletsos 2023).
    """

    def kl(self, inclusion: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Gaussian divergence, whatever the mask; shape R x K."""
        return self.gaussian_kl(rows)
