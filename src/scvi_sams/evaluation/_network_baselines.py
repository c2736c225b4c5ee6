"""Baselines that are small networks, trained on means of conditions."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from scvi_sams.evaluation._baseline import Array, Baseline, FittedCells
from scvi_sams.evaluation._condition_table import Parts
from scvi_sams.evaluation._latent_sum import LatentSum
from scvi_sams.evaluation._mean_training import Targets, train_on_means
from scvi_sams.evaluation._means import COUNTS, mean_profiles
from scvi_sams.evaluation._split_record import stratified_ranks
from scvi_sams.model._simulation import seeded

_VALIDATION_SHARE = 0.1


class NetworkBaseline(Baseline):
    r"""A network that is fitted by least squares.

    .. math::
        \min_\theta \sum_{p,c} \sum_{i \in (p,c)} \mathbb{E}_u \lVert g_\theta(u, p, c) - y_i
        \rVert^2 = \min_\theta \sum_{p,c} n_{p,c} \, \mathbb{E}_u \lVert g_\theta(u, p, c) -
        \bar x_{p,c} \rVert^2 + \text{const}

    with cells :math:`y_i` of perturbations p in context c, :math:`n_{p,c}` in number, their mean
    :math:`\bar x_{p,c}`, and a control cell u of the context that is drawn anew in each step, if
    the network reads one. What goes in does not depend on which of the cells is the target, so
    that training on means, weighted by their cells, is exact: the gradient is that of cells,
    without their noise, at a fraction of the time. Control cells are a condition too, without
    perturbations.

    Training stops by the same error against means of validation cells: those that are ``"val"``
    in the split, otherwise a random tenth of each condition. The best weights are kept.

    Parameters
    ----------
    n_latent, n_hidden, n_layers
        Width of the latent space and of the hidden layers, and the number of the latter.
    dropout_rate
        Share of the hidden values that are set to zero in training.
    lr, weight_decay
        Of AdamW.
    batch_size
        Conditions of a step.
    max_epochs, patience
        Most epochs, and after how many without a better one to stop.

    Attributes
    ----------
    validation_errors
        Mean squared error on validation means after each epoch, each condition as often as it has
        cells.

    Raises
    ------
    ValueError
        If a size is less than 1, or the dropout rate is not between 0 and 1.
    """

    _most_controls: ClassVar[int]

    def __init__(
        self,
        *,
        n_latent: int = 32,
        n_hidden: int = 128,
        n_layers: int = 2,
        dropout_rate: float = 0.4,
        lr: float = 3e-3,
        weight_decay: float = 0.1,
        batch_size: int = 128,
        max_epochs: int = 2000,
        patience: int = 50,
    ) -> None:
        if not 0 <= dropout_rate < 1:
            raise ValueError(
                f"`dropout_rate` must be at least 0 and less than 1; it is {dropout_rate!r}."
            )
        for name, size in {
            "n_latent": n_latent,
            "n_hidden": n_hidden,
            "n_layers": n_layers,
            "batch_size": batch_size,
            "max_epochs": max_epochs,
            "patience": patience,
        }.items():
            if size < 1:
                raise ValueError(f"`{name}` must be at least 1; it is {size!r}.")
        self._build = partial(
            LatentSum,
            n_latent=n_latent,
            n_hidden=n_hidden,
            n_layers=n_layers,
            dropout_rate=dropout_rate,
            encodes_cells=self._most_controls > 0,
        )
        self._train = partial(
            train_on_means,
            lr=lr,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_epochs=max_epochs,
            patience=patience,
        )

    def _fit(self, cells: FittedCells, rng: np.random.Generator) -> None:
        is_validation = cells.is_validation
        if not is_validation.any():
            rank = stratified_ranks(cells.table.of_cell, rng)
            is_validation = rank <= max(_VALIDATION_SHARE, rank.min())  # one cell at least
        if is_validation.all():
            raise ValueError(
                f"No cell is left to train on: {type(self).__name__} needs cells for validation "
                "and others. Mark some as 'train' in the split."
            )
        training, validation = (self._targets(cells, x) for x in (~is_validation, is_validation))
        controls = self._inputs(rng)
        # of about 1, whatever the screen, so that one learning rate does for all
        self._scale = float(training.change.square().mean().sqrt()) or 1.0
        with seeded(int(rng.integers(2**31))):
            self._network = self._build(len(self.gene_names), training.indicators.shape[1])
            errors = self._train(
                self._network,
                training.scaled(1 / self._scale),
                validation.scaled(1 / self._scale),
                controls,
            )
        self.validation_errors = [error * self._scale**2 for error in errors]
        with torch.no_grad():
            self._origins = [self._network.origins(of_context)[None] for of_context in controls]

    def _targets(self, cells: FittedCells, some: npt.NDArray[np.bool_]) -> Targets:
        """Means of some of the cells."""
        table = cells.table
        means = mean_profiles(
            cells.counts, np.where(some, table.of_cell, -1), len(table.parts), units=COUNTS
        )
        rows = np.flatnonzero(means.n_cells)
        keys = [table.keys[row] for row in rows]
        references = np.stack([self.means[(), context] for _, context in keys])
        return Targets(
            _tensor(np.stack([self._indicators(*key) for key in keys])),
            torch.tensor([self.contexts.index(context) for _, context in keys]),
            _tensor(means.log[rows] - references),
            _tensor(means.n_cells[rows] / means.n_cells[rows].mean()),
        )

    def _inputs(self, rng: np.random.Generator) -> list[torch.Tensor]:
        """Control cells of each context that may go in, centred and on one scale."""
        chosen = []
        for context in self.contexts:
            y = self._controls[context]
            y = y[rng.permutation(y.shape[0])[: max(self._most_controls, 1)]]
            chosen.append(_tensor(y.toarray() if sparse.issparse(y) else y))
        together = torch.cat(chosen)
        centre = together.mean(dim=0)
        scale = float((together - centre).square().mean().sqrt()) or 1.0
        return [(y - centre) / scale for y in chosen]

    @torch.no_grad()
    def _mean(self, parts: Parts, context: Parts) -> Array:
        origins = self._origins[self.contexts.index(context)]
        change = self._network(origins, _tensor(self._indicators(parts, context)[None]))[0]
        return self.means[(), context] + self._scale * change.double().numpy()


class DecoderOnly(NetworkBaseline):
    r"""A network of what cells received and of their covariates; no cell goes in.

    .. math::
        \hat x_{p,c} = \bar x_{0,c} + g\Big(\sum_{t \in p} h_t + k_c\Big)

    with a latent vector :math:`h_t` of each perturbation and :math:`k_c` of each context, and the
    mean of control cells :math:`\bar x_{0,c}`; the model of that name in PerturBench (Wu et al.
    2024, arXiv 2408.10609). It is trained by least squares on the means of conditions, weighted by
    their cells, and stops by the same error against means of validation cells: those that are
    ``"val"`` in the split, otherwise a random tenth of each condition. The best weights are kept.

    Parameters
    ----------
    n_latent, n_hidden, n_layers
        Width of the latent space and of the hidden layers, and the number of the latter.
    dropout_rate
        Share of the hidden values that are set to zero in training.
    lr, weight_decay
        Of AdamW.
    batch_size
        Conditions of a step.
    max_epochs, patience
        Most epochs, and after how many without a better one to stop.

    Raises
    ------
    ValueError
        If a size is less than 1, or the dropout rate is not between 0 and 1.
    """

    _most_controls = 0


class LatentAdditive(NetworkBaseline):
    r"""A network that moves the latent state of control cells by a sum of vectors.

    .. math::
        \hat x_{p,c} = \bar x_{0,c} + \frac1{|U_c|} \sum_{u \in U_c}
        g\Big(f(u) + \sum_{t \in p} h_t + k_c\Big)

    with up to 1,000 control cells :math:`U_c` of the context, an encoder f, and the rest as in
    :class:`DecoderOnly`; the model of that name in PerturBench (Wu et al. 2024, arXiv 2408.10609),
    trained like it. Control cells are paired with conditions at random, so that the best fit
    depends on the context of a control cell but not on its state, which is noise to the network.

    Parameters
    ----------
    n_latent, n_hidden, n_layers
        Width of the latent space and of the hidden layers, and the number of the latter.
    dropout_rate
        Share of the hidden values that are set to zero in training.
    lr, weight_decay
        Of AdamW.
    batch_size
        Conditions of a step.
    max_epochs, patience
        Most epochs, and after how many without a better one to stop.

    Raises
    ------
    ValueError
        If a size is less than 1, or the dropout rate is not between 0 and 1.
    """

    _most_controls = 1000


def _tensor(values: npt.ArrayLike) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)
