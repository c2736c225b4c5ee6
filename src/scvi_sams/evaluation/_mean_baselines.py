"""Baselines that are arithmetic of means."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.linear_model import Ridge

from scvi_sams.evaluation._baseline import Array, Baseline, FittedCells
from scvi_sams.evaluation._condition_table import Parts


class ControlMean(Baseline):
    r"""Nothing happens: the mean of the control cells of the context.

    .. math::
        \hat x_{p,c} = \bar x_{0,c}
    """

    _is_of_means = True

    def _mean(self, parts: Parts, context: Parts) -> Array:
        return self.means[(), context]


class PerturbedMean(Baseline):
    r"""All perturbations do the same: control cells, and the mean effect of those trained on.

    .. math::
        \hat x_{p,c} = \bar x_{0,c} + \frac1{|P_c|} \sum_{q \in P_c}
        (\bar x_{q,c} - \bar x_{0,c})

    with :math:`P_c` the perturbed conditions of the context; those of all contexts if it has none.
    """

    _is_of_means = True

    def _fit(self, cells: FittedCells, rng: np.random.Generator) -> None:
        self._mean_effects: dict[Parts, Array] = {}

    def _mean(self, parts: Parts, context: Parts) -> Array:
        control = self.means[(), context]
        return control + self._mean_effect(context) if parts else control

    def _mean_effect(self, context: Parts) -> Array:
        if context not in self._mean_effects:
            self._mean_effects[context] = self._mean_over_conditions(context)
        return self._mean_effects[context]

    def _mean_over_conditions(self, context: Parts) -> Array:
        perturbed = [key for key in self.means if key[0]]
        chosen = [key for key in perturbed if key[1] == context] or perturbed
        total = np.zeros(len(self.gene_names))
        for parts, where in chosen:  # a list of effects would be as large as all means
            total += self.means[parts, where] - self.means[(), where]
        return total / max(len(chosen), 1)


class Additive(PerturbedMean):
    r"""The effects of the single perturbations add up.

    .. math::
        \hat x_{p,c} = \bar x_{0,c} + \sum_{t \in p} (\bar x_{t,c} - \bar x_{0,c})

    The effect of a perturbation that was not seen alone in the context is its mean effect in other
    contexts; one that was seen alone nowhere adds nothing; and without any that was, the
    prediction is that of :class:`PerturbedMean`. A condition that was itself trained on in the
    context is predicted by its own mean.
    """

    def _mean(self, parts: Parts, context: Parts) -> Array:
        if (parts, context) in self.means:
            return self.means[parts, context]
        own = [effect for part in parts if (effect := self._effect(part, context)) is not None]
        if not own:
            return super()._mean(parts, context)
        return self.means[(), context] + np.sum(own, axis=0)

    def _effect(self, part: str, context: Parts) -> Array | None:
        key = (part,)
        if (key, context) in self.means:
            return self.means[key, context] - self.means[(), context]
        elsewhere = [
            self.means[key, where] - self.means[(), where]
            for where in self.contexts
            if (key, where) in self.means
        ]
        return np.mean(elsewhere, axis=0) if elsewhere else None


class LinearAdditive(Baseline):
    r"""Ridge regression of means on what cells received and on their covariates.

    .. math::
        \min_{b, W} \sum_{p,c} n_{p,c} \lVert \bar x_{p,c} - b - W^\top d_{p,c} \rVert^2
        + \alpha \lVert W \rVert^2

    with :math:`n_{p,c}` cells of a condition, and :math:`d_{p,c}` the indicators of its
    perturbations and covariate values. It uses combinations as well as singles.

    Parameters
    ----------
    alpha
        Penalty :math:`\alpha`, in cells.
    """

    _is_of_means = True

    def __init__(self, *, alpha: float = 1.0) -> None:
        if alpha < 0:
            raise ValueError(f"`alpha` must not be negative; it is {alpha!r}.")
        self.alpha = alpha

    def _fit(self, cells: FittedCells, rng: np.random.Generator) -> None:
        names = [*self.perturbation_names, *(self.contexts if len(self.contexts) > 1 else ())]
        self._column = {name: column for column, name in enumerate(names)}
        columns = [self._received(*key) for key in self.means]
        rows = np.repeat(np.arange(len(columns)), [len(some) for some in columns])
        design = sparse.csr_matrix(
            (np.ones(len(rows)), (rows, np.concatenate(columns))), (len(columns), len(names))
        )
        weights = np.array([self.n_cells[key] for key in self.means], dtype=float)
        targets = np.stack(list(self.means.values()))
        # a solver of sparse designs, since those of whole genomes would not fit into memory
        ridge = Ridge(alpha=self.alpha, solver="sparse_cg", tol=1e-10)
        ridge.fit(design, targets, sample_weight=weights)
        self._intercept, self._weights = ridge.intercept_, np.ascontiguousarray(ridge.coef_.T)

    def _received(self, parts: Parts, context: Parts) -> npt.NDArray[np.intp]:
        """Columns of the design that are 1; what was never seen has none."""
        asked = (*parts, context)
        return np.array([self._column[x] for x in asked if x in self._column], dtype=np.intp)

    def _mean(self, parts: Parts, context: Parts) -> Array:
        return self._intercept + self._weights[self._received(parts, context)].sum(axis=0)
