"""Training a network on means of conditions, with early stopping."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from scvi_sams.evaluation._latent_sum import LatentSum

_CONTROLS_OF_VALIDATION = 32  # the mean over them is what validation needs, each epoch


@dataclass(frozen=True)
class Targets:
    """Means of N conditions, to be learned.

    Attributes
    ----------
    indicators
        What they received, N x J.
    context
        Context of each, N.
    change
        Mean expression minus that of the control cells of the context, N x G.
    weight
        Number of cells of each over its mean, N.
    """

    indicators: torch.Tensor
    context: torch.Tensor
    change: torch.Tensor
    weight: torch.Tensor

    def __len__(self) -> int:
        return len(self.weight)

    def __getitem__(self, rows: torch.Tensor) -> Targets:
        return Targets(
            self.indicators[rows], self.context[rows], self.change[rows], self.weight[rows]
        )

    def scaled(self, factor: float) -> Targets:
        """The same with changes multiplied."""
        return replace(self, change=factor * self.change)


def weighted_error(predicted: torch.Tensor, targets: Targets) -> torch.Tensor:
    r"""Mean squared error, each condition as often as it has cells.

    .. math::
        \frac1{NG} \sum_p w_p \lVert \hat\delta_p - \delta_p \rVert^2

    with predicted and target changes :math:`\hat\delta_p` and :math:`\delta_p` (G) of N
    conditions p, and their weights :math:`w_p`. Of some conditions it is an unbiased estimate of
    that of all.
    """
    return (targets.weight * (predicted - targets.change).square().mean(dim=1)).mean()


def train_on_means(
    network: LatentSum,
    training: Targets,
    validation: Targets,
    controls: list[torch.Tensor],
    *,
    lr: float,
    weight_decay: float,
    batch_size: int,
    max_epochs: int,
    patience: int,
) -> list[float]:
    """Fit a network to means by AdamW, and leave it with the weights of the best epoch.

    Parameters
    ----------
    network
        What is trained; draws from torch's random state.
    training, validation
        Means to fit, and to stop by.
    controls
        Control cells of each context, S x G; each step draws one for each condition.
    lr, weight_decay
        Of AdamW.
    batch_size
        Conditions of a step.
    max_epochs, patience
        Most epochs, and after how many without a better one to stop.

    Returns
    -------
    Validation error after each epoch.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=weight_decay)
    errors: list[float] = []
    weights: dict[str, torch.Tensor] = {}
    best = -1
    while len(errors) < max_epochs and len(errors) - best <= patience:
        network.train()
        for rows in torch.randperm(len(training)).split(batch_size):
            batch = training[rows]
            origins = network.origins(_one_each(controls, batch.context))
            loss = weighted_error(network(origins[:, None], batch.indicators), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        errors.append(_validation_error(network, validation, controls))
        if not weights or errors[-1] < errors[best]:
            best = len(errors) - 1
            weights = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(weights)
    network.eval()
    return errors


@torch.no_grad()
def _validation_error(
    network: LatentSum, validation: Targets, controls: list[torch.Tensor]
) -> float:
    """Error of the mean over control cells, which is what will be predicted."""
    network.eval()
    predicted = torch.empty_like(validation.change)
    for context in validation.context.unique().tolist():
        rows = validation.context == context
        origins = network.origins(controls[context][:_CONTROLS_OF_VALIDATION])
        predicted[rows] = network(origins[None], validation.indicators[rows])
    return float(weighted_error(predicted, validation))


def _one_each(controls: list[torch.Tensor], context: torch.Tensor) -> torch.Tensor:
    """Draw a control cell of each context (B), B x G."""
    drawn = torch.rand(len(context)).tolist()
    return torch.stack(
        [
            controls[where][int(share * len(controls[where]))]
            for where, share in zip(context.tolist(), drawn, strict=True)
        ]
    )
