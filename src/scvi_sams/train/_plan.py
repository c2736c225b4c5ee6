"""How the model is optimised."""

from __future__ import annotations

import copy
import logging
import warnings
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from scvi import settings
from scvi.train import TrainingPlan

from scvi_sams.train._best_weights import KeepBestWeights
from scvi_sams.train._ending import has_error
from scvi_sams.train._epoch_mean import EpochMean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scvi.module.base import LossOutput
    from torchmetrics import Metric

    from scvi_sams.module._module import SAMSVAEModule

logger = logging.getLogger("scvi.sams")

_NEVER = 10**9
# what the schedule has come to; everything else of it follows from the arguments
_SCHEDULE = ("_first_masked_step", "_is_stale", "_is_dense", "_is_rising", "_patiences")


class SAMSTrainingPlan(TrainingPlan):
    r"""scvi-tools' training plan with the settings that this model needs.

    It trains with several particles, and groups the parameters. Only the weight matrices of the
    networks decay: masks and effects have their priors in the objective already, and biases and
    dispersions follow the genes. The logits of the masks take larger steps, since between
    undecided and decided lie several units of a logit.

    Models with masks start dense: at first every mask is full, so that shifts and networks are
    learned as in a CPA-VAE. After some steps, or earlier if the validation bound no longer
    improves, the latent space is rotated to the axes on which the shifts are sparsest, and the
    masks are set free. Basal states are standard normal, so the rotation changes nothing that the
    data can tell; but masks learned from the start settle on the axes of chance, and training does
    not leave these again.

    The module's ``mask_kl_weight`` then rises linearly from zero. An effect that is spread over
    several axes is worth less on each of them than a mask costs; at the full weight its masks
    would close one by one before it gathers on one axis.

    Parameters
    ----------
    module
        The module to train.
    lr
        Learning rate of the networks and of the effects.
    lr_mask
        Learning rate of the logits of the masks.
    weight_decay
        L2 penalty of the networks' weight matrices, as of a Gaussian prior of each weight with
        the variance 1 / (weight_decay × training cells).
    eps
        Adam's epsilon.
    n_steps_dense
        Most steps of the dense start, at most a third of the run; 0 for none. With early
        stopping, it ends from the best weights when a quarter of the patience is used up.
    n_steps_mask_kl, n_epochs_mask_kl
        Steps and epochs after which the module's ``mask_kl_weight`` is in full force once masks
        are free, whichever is over first, and at most a third of the run; 0 for at once. Early
        stopping counts from there.
    initial_kl_weight
        Weight of the basal states' divergence at the start, from where it goes to 1 linearly.
    n_steps_kl
        Steps after which that weight is 1, at most a third of the run.
    initial_temperature, temperature
        Temperatures of the straight-through samples of the masks, when they are set free and
        from ``n_steps_temperature`` steps later on, geometrically in between.
    n_steps_temperature
        See ``temperature``.
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
        weight_decay: float = 1e-3,
        eps: float = 1e-8,
        n_steps_dense: int = 2_000,
        n_steps_mask_kl: int = 5_000,
        n_epochs_mask_kl: int = 200,
        initial_kl_weight: float = 1.0,
        n_steps_kl: int = 1_000,
        initial_temperature: float = 1.0,
        temperature: float = 1.0,
        n_steps_temperature: int = 1_000,
        n_epochs_kl_warmup: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.initial_kl_weight = initial_kl_weight
        self.n_steps_kl = n_steps_kl
        super().__init__(
            module,
            lr=lr,
            weight_decay=weight_decay,
            eps=eps,
            n_epochs_kl_warmup=n_epochs_kl_warmup,
            **kwargs,
        )
        self.lr_mask = lr_mask
        self.n_steps_dense = n_steps_dense
        self.n_steps_mask_kl = n_steps_mask_kl
        self.n_epochs_mask_kl = n_epochs_mask_kl
        self.initial_temperature = initial_temperature
        self.temperature = temperature
        self.n_steps_temperature = n_steps_temperature
        self._resumed_schedule: dict[str, Any] | None = None
        self._means = torch.nn.ModuleDict()
        self._told: set[str] = set()  # modes that were logged in this epoch

    def on_fit_start(self) -> None:
        """Remember the steppers as they are before the first step."""
        self._fresh = [copy.deepcopy(part.state_dict()) for part in self._steppers()]

    def on_train_start(self) -> None:
        """Start dense if the model never was, and fit the schedules to a short run."""
        if self.trainer.world_size > 1:
            # the same random numbers on every device would be fewer of them
            seeds = np.random.SeedSequence([int(torch.randint(2**31, ())), self.global_rank])
            torch.manual_seed(int(seeds.generate_state(1)[0]))
        third = int(self.trainer.estimated_stepping_batches // 3)
        self.n_steps_kl = min(self.n_steps_kl, third)
        self.n_steps_dense = min(self.n_steps_dense, third)
        steps_per_epoch = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        self.n_steps_mask_kl = int(
            min(self.n_steps_mask_kl, self.n_epochs_mask_kl * steps_per_epoch, third)
        )
        if self._resumed_schedule is not None:
            for name, value in self._resumed_schedule.items():
                setattr(self, name, value)
            return
        self._first_masked_step = 0
        self._is_stale = False
        is_new = self.module.has_masks and not self.module.is_settled
        self._is_dense = bool(is_new and self.n_steps_dense)
        self._is_rising = bool(is_new and self.n_steps_mask_kl and self.module.mask_kl_weight)
        self.module.perturbations.masks_are_free.fill_(not self._is_dense)
        # nothing stops training before the masks are free and at their full price
        self._patiences = [stopping.patience for stopping in self._of(EarlyStopping)]
        for stopping in self._of(EarlyStopping) if self._is_dense or self._is_rising else ():
            stopping.patience = _NEVER

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the schedule has come to."""
        checkpoint["schedule"] = {name: getattr(self, name) for name in _SCHEDULE}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the schedule where it was."""
        self._resumed_schedule = checkpoint["schedule"]

    def on_train_epoch_start(self) -> None:
        """Log what comes anew; tell loaders, which Lightning tells only if they have a sampler."""
        self._told.discard("train")
        loader = self.trainer.train_dataloader
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(self.current_epoch)

    def on_validation_epoch_start(self) -> None:
        """Log what comes anew."""
        self._told.discard("validation")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Go on to the next part of the schedule; set temperature and weight of the masks."""
        if self._is_dense and (self._is_stale or self.global_step >= self.n_steps_dense):
            self._end_dense_start()
        if not self.module.has_masks:
            return
        steps = max(self.global_step - self._first_masked_step, 0)
        if self._is_rising and not self._is_dense and steps >= self.n_steps_mask_kl:
            self._end_rise()
        self.loss_kwargs["mask_weight"] = (
            steps / self.n_steps_mask_kl if self._is_rising and not self._is_dense else 1.0
        )
        progress = min(steps / max(self.n_steps_temperature, 1), 1.0)
        self.module.perturbations.masks.temperature = (
            self.initial_temperature ** (1 - progress) * self.temperature**progress
        )

    def on_validation_end(self) -> None:
        """See whether the bound still improves."""
        patience = min(self._patiences, default=_NEVER)
        self._is_stale = any(
            best.n_since_best > patience / 4 for best in self._of(KeepBestWeights)
        )

    def on_train_end(self) -> None:
        """Remember axes on which masks were learned; say so if they are not done."""
        for stopping, patience in self._stoppings():
            stopping.patience = patience
        self.module.is_settled.copy_(self.module.perturbations.masks_are_free)
        if has_error(self.trainer):
            return  # which says more
        if self._is_dense:
            warnings.warn(
                "Training ended before the masks were set free: every inclusion probability is "
                "one. Train on, or shorten the dense start: "
                "`plan_kwargs={'n_steps_dense': ...}`.",
                UserWarning,
                stacklevel=settings.warnings_stacklevel,
            )
        elif self._is_rising:
            warnings.warn(
                "Training ended before `mask_kl_weight` was in full force: masks are less sparse "
                "than they would be. Train longer, or let it rise faster: "
                "`plan_kwargs={'n_steps_mask_kl': ...}`.",
                UserWarning,
                stacklevel=settings.warnings_stacklevel,
            )

    def _end_dense_start(self) -> None:
        self._is_dense = False
        self._first_masked_step = self.global_step
        for best in self._of(KeepBestWeights):
            best.restore(self.module)
        self.module.settle_axes()
        if self.trainer.world_size > 1:  # axes that are as sparse may come in another order
            for tensor in self.module.state_dict().values():
                torch.distributed.broadcast(tensor, 0)
        logger.info("Latent axes settled at step %d; the masks are free.", self.global_step)
        # moments of the gradient along the old axes mean nothing along the new ones, and the step
        # sizes fell, if at all, for the bound of another model
        for part, fresh in zip(self._steppers(), self._fresh, strict=True):
            part.load_state_dict(fresh)
        if not self._is_rising:
            self._let_early_stopping_begin()

    def _end_rise(self) -> None:
        self._is_rising = False
        for best in self._of(KeepBestWeights):
            best.forget()
        # the step sizes fell, if at all, for the bound of cheap masks
        optimizer, *schedulers = self._steppers()
        fresh, *of_schedulers = self._fresh
        for group, at_start in zip(optimizer.param_groups, fresh["param_groups"], strict=True):
            group["lr"] = at_start["lr"]
        for scheduler, at_start in zip(schedulers, of_schedulers, strict=True):
            scheduler.load_state_dict(at_start)
        self._let_early_stopping_begin()

    def _let_early_stopping_begin(self) -> None:
        for stopping, patience in self._stoppings():
            worst = float("inf") if stopping.mode == "min" else -float("inf")
            stopping.best_score = torch.full_like(stopping.best_score, worst)
            stopping.wait_count = 0
            stopping.patience = patience

    def _steppers(self) -> list[Any]:
        """The optimizer, and the scheduler of its step sizes if there is one."""
        scheduler = self.lr_schedulers()
        optimizer = self.optimizers(use_pl_optimizer=False)
        return [optimizer] if scheduler is None else [optimizer, scheduler]

    def _stoppings(self) -> Iterable[tuple[EarlyStopping, int]]:
        """Early stopping, if there is any, and its patience as it was asked for."""
        return zip(self._of(EarlyStopping), self._patiences, strict=True)

    def _of(self, kind: type[Callback]) -> list[Any]:
        return [callback for callback in self.trainer.callbacks if isinstance(callback, kind)]

    @property
    def kl_weight(self) -> torch.Tensor:
        """Weight of the basal states' divergence at the current step."""
        progress = min(self.global_step / max(self.n_steps_kl, 1), 1.0)
        return super().kl_weight * (1 + (self.initial_kl_weight - 1) * (1 - progress))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Pass through the module with all particles."""
        return super().forward(
            *args, inference_kwargs={"n_samples": self.module.n_particles}, **kwargs
        )

    @torch.no_grad()
    def compute_and_log_metrics(
        self, loss_output: LossOutput, metrics: dict[str, Metric], mode: str
    ) -> None:
        """Add a mini-batch to the means over the epoch.

        Lightning is told of them once an epoch: what it keeps of each value takes as long as a
        layer of the networks. With ``on_step``, scvi-tools tells it of all of them.
        """
        if self.on_step is not False:
            TrainingPlan.compute_and_log_metrics.__wrapped__(self, loss_output, metrics, mode)
            return
        n_cells = loss_output.n_obs_minibatch
        metrics[f"elbo_{mode}"].update(
            reconstruction_loss=loss_output.reconstruction_loss_sum,
            kl_local=loss_output.kl_local_sum,
            kl_global=loss_output.kl_global_sum,
            n_obs_minibatch=n_cells,
        )
        found = {f"{name}_{mode}": value for name, value in loss_output.extra_metrics.items()}
        means = cast("dict[str, EpochMean]", self._means)
        for name, value in found.items():
            if name not in means:
                means[name] = EpochMean().to(self.device)
            means[name].update(torch.as_tensor(value).detach(), n_cells)
        if mode in self._told:
            return
        self._told.add(mode)
        self.log_dict(metrics, on_step=False, on_epoch=self.on_epoch)
        for name in found:
            self.log(
                name,
                means[name],
                on_step=False,
                on_epoch=self.on_epoch,
                metric_attribute=f"_means.{name}",
            )

    def get_optimizer_creator(self) -> Callable[[Any], torch.optim.Optimizer]:
        """Create the optimizer over the groups of parameters."""
        create = super().get_optimizer_creator()
        masks = list(self.module.perturbations.masks.parameters())
        effects = list(self.module.perturbations.effects.parameters())
        apart = {id(parameter) for parameter in (*masks, *effects)}
        networks = [p for p in self.module.parameters() if id(p) not in apart]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in networks if p.ndim > 1]},
            {"params": [p for p in networks if p.ndim < 2], "weight_decay": 0.0},
            {"params": effects, "weight_decay": 0.0},
            {"params": masks, "weight_decay": 0.0, "lr": self.lr_mask},
        ]
        groups = [group for group in groups if group["params"]]
        if self.optimizer_name in ("Adam", "AdamW") and not hasattr(self, "fused_optimizer"):
            # one pass over all perturbations' state; scvi-tools 1.5 does it by itself
            for group in groups:
                group["fused"] = all(p.device.type in ("cpu", "cuda") for p in group["params"])

        def create_groups(_: Any) -> torch.optim.Optimizer:
            optimizer = create(groups)
            # gradients are clipped, for which the scaler of mixed precision must unscale them
            optimizer._step_supports_amp_scaling = False
            return optimizer

        return create_groups
