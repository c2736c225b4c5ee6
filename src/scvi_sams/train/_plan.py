"""How the model is optimised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from scvi.train import TrainingPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from scvi_sams.module._module import SAMSVAEModule


class SAMSTrainingPlan(TrainingPlan):
    """scvi-tools' training plan with the settings that this model needs.

    It trains with several particles, and gives the variational parameters of masks and effects a
    group of their own: no weight decay, since their prior is in the objective already, and a
    larger step, since each is moved only by the cells that received its perturbation.

    Parameters
    ----------
    module
        The module to train.
    lr
        Learning rate of the networks.
    lr_perturbations
        Learning rate of the variational parameters of masks and effects.
    weight_decay
        Weight decay of the networks.
    eps
        Adam's epsilon.
    n_epochs_kl_warmup
        Epochs over which the divergence of the basal states gains its full weight; None for full
        weight from the start.
    **kwargs
        Passed on to :class:`~scvi.train.TrainingPlan`.
    """

    module: SAMSVAEModule

    def __init__(
        self,
        module: SAMSVAEModule,
        *,
        lr: float = 1e-3,
        lr_perturbations: float = 1e-2,
        weight_decay: float = 1e-6,
        eps: float = 1e-8,
        n_epochs_kl_warmup: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            module,
            lr=lr,
            weight_decay=weight_decay,
            eps=eps,
            n_epochs_kl_warmup=n_epochs_kl_warmup,
            **kwargs,
        )
        self.lr_perturbations = lr_perturbations

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Pass through the module with all particles."""
        return super().forward(
            *args, inference_kwargs={"n_samples": self.module.n_particles}, **kwargs
        )

    def get_optimizer_creator(self) -> Callable[[Any], torch.optim.Optimizer]:
        """Create the optimizer over two groups of parameters."""
        create = super().get_optimizer_creator()
        perturbations = list(self.module.perturbations.parameters())
        taken = {id(parameter) for parameter in perturbations}
        networks = [p for p in self.module.parameters() if p.requires_grad and id(p) not in taken]
        return lambda _: create(
            [
                {"params": networks},
                {"params": perturbations, "lr": self.lr_perturbations, "weight_decay": 0.0},
            ]
        )
