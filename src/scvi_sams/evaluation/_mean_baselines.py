"""Baselines that are arithmetic of means."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge

from scvi_sams.evaluation._baseline import Array, Baseline
from scvi_sams.evaluation._condition_table import Parts


class ControlMean(Baseline):
    r"""Nothing happens: the mean of the control cells of the context.

    .. math::
        \hat x_{p,c} = \bar x_{0,c}
    """

    def _mean(self, parts: Parts, context: Parts) -> Array:
        return self.means[(), context]


class PerturbedMean(Baseline):
    r"""All perturbations do the same: control cells, and the mean effect of those trained on.

    .. math::
        \hat x_{p,c} = \bar x_{0,c} + \frac1{|P_c|} \sum_{q \in P_c}
        (\bar x_{q,c} - \bar x_{0,c})

    with :math:`P_c` the perturbed conditions of the context; those of all contexts if it has none.
    """

    def _mean(self, parts: Parts, context: Parts) -> Array:
        control = self.means[(), context]
        return control + self._mean_effect(context) if parts else control

    def _mean_effect(self, context: Parts) -> Array:
        effects = [
            (where, mean - self.means[(), where])
            for (parts, where), mean in self.means.items()
            if parts
        ]
        here = [effect for where, effect in effects if where == context]
        every = here or [effect for _, effect in effects]
        return np.mean(every, axis=0) if every else np.zeros(len(self.gene_names))


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

    def __init__(self, *, alpha: float = 1.0) -> None:
        if alpha < 0:
            raise ValueError(f"`alpha` must not be negative; it is {alpha!r}.")
        self.alpha = alpha

    def _fit(self, rng: np.random.Generator) -> None:
        self._column = {name: i for i, name in enumerate(self.perturbation_names)}
        design = np.stack([self._design(*key) for key in self.means])
        weights = np.array([self.n_cells[key] for key in self.means], dtype=float)
        targets = np.stack(list(self.means.values()))
        self._ridge = Ridge(alpha=self.alpha).fit(design, targets, sample_weight=weights)

    def _design(self, parts: Parts, context: Parts) -> Array:
        row = np.zeros(len(self._column) + len(self.contexts))
        row[[self._column[part] for part in parts]] = 1
        if len(self.contexts) > 1:
            row[len(self._column) + self.contexts.index(context)] = 1
        return row

    def _mean(self, parts: Parts, context: Parts) -> Array:
        return self._ridge.predict(self._design(parts, context)[None])[0]
