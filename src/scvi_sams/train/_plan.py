"""How the model is optimised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from scvi.train import TrainingPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from scvi_sams.module._module import SAMSVAEModule


class SAMSTrainingPlan(TrainingPlan):
    r"""scvi-tools' training plan with the settings that this model needs.

    It trains with several particles, and groups the parameters in three. The variational
    parameters of masks and effects get no weight decay, since their prior is in the objective
    already. The logits of the masks take larger steps, since between undecided and decided lie
    several units of a logit.

    .. math::
        w(s) = w_0 + (1 - w_0) \min(s / S, 1)

    is the weight of the basal states' divergence at step s. It starts above one, so that at first
    the perturbations choose the axes of the latent space and basal variation then settles in;
    the other way around, shared effects end up spread over many dimensions.

    Parameters
    ----------
    module
        The module to train.
    lr
        Learning rate of the networks and of the effects.
    lr_mask
        Learning rate of the logits of the masks.
    weight_decay
        Weight decay of the networks.
    eps
        Adam's epsilon.
    initial_kl_weight
        Weight w₀ of the basal states' divergence at the start; 1 for no schedule.
    n_steps_kl_decay
        Steps S after which the weight is one; at most a third of the run.
    n_epochs_kl_warmup
        scvi-tools' warm-up, which multiplies the weight; None for none.
    **kwargs
        Passed on to :class:`~scvi.train.TrainingPlan`.
    """

    module: SAMSVAEModule

    def __init__(
        self,
        module: SAMSVAEModule,
        *,
        lr: float = 1e-3,
        lr_mask: float = 1e-2,
        weight_decay: float = 1e-6,
        eps: float = 1e-8,
        initial_kl_weight: float = 10.0,
        n_steps_kl_decay: int = 1_000,
        n_epochs_kl_warmup: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.initial_kl_weight = initial_kl_weight
        self.n_steps_kl_decay = n_steps_kl_decay
        super().__init__(
            module,
            lr=lr,
            weight_decay=weight_decay,
            eps=eps,
            n_epochs_kl_warmup=n_epochs_kl_warmup,
            **kwargs,
        )
        self.lr_mask = lr_mask

    def on_train_start(self) -> None:
        """Let a short run end at the weight that the bound asks for, too."""
        third = self.trainer.estimated_stepping_batches // 3
        self.n_steps_kl_decay = min(self.n_steps_kl_decay, int(third))

    @property
    def kl_weight(self) -> torch.Tensor:
        """Weight of the basal states' divergence at the current step."""
        progress = min(self.global_step / max(self.n_steps_kl_decay, 1), 1.0)
        return super().kl_weight * (1 + (self.initial_kl_weight - 1) * (1 - progress))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Pass through the module with all particles."""
        return super().forward(
            *args, inference_kwargs={"n_samples": self.module.n_particles}, **kwargs
        )

    def get_optimizer_creator(self) -> Callable[[Any], torch.optim.Optimizer]:
        """Create the optimizer over the three groups of parameters."""
        create = super().get_optimizer_creator()
        masks = list(self.module.perturbations.mask.parameters())
        effects = list(self.module.perturbations.effects.parameters())
        apart = {id(parameter) for parameter in (*masks, *effects)}
        networks = [p for p in self.module.parameters() if id(p) not in apart]
        return lambda _: create(
            [
                {"params": networks},
                {"params": effects, "weight_decay": 0.0},
                {"params": masks, "weight_decay": 0.0, "lr": self.lr_mask},
            ]
        )
