"""Scores of predictions, beside those of baselines and of the ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scvi_sams.evaluation._bench import Scored
from scvi_sams.evaluation._profiles import Array
from scvi_sams.evaluation._scores import DIRECTION

CEILING = "ceiling"
_VARIANCE = "variance_ratio"


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What :func:`scvi_sams.evaluate` found.

    Attributes
    ----------
    per_perturbation
        Metrics of each model, perturbation and context; NaN where one is not defined.
    summary
        Mean of each metric of each model over conditions, with a 95 % interval of the mean over
        perturbations (``lower``, ``upper``; bootstrap, NaN for one perturbation) and the number
        ``n`` of conditions that it is of; metrics of all conditions together too, of which ``n``
        is the number of conditions.
    baselines
        Names of the models that are baselines.
    resampled
        Means of each resample of perturbations, the same resamples for all models: one row per
        metric and model, as in ``summary``; so differences of rows are paired.
    compat
        Whose definitions the metrics follow, if not our own.
    """

    per_perturbation: pd.DataFrame
    summary: pd.DataFrame
    baselines: tuple[str, ...]
    resampled: pd.DataFrame
    compat: str | None = None

    def __repr__(self) -> str:
        """What was scored, and the verdict."""
        metrics = self.summary.index.unique("metric")
        models = self.summary.index.unique("model").difference([CEILING, *self.baselines])
        return (
            f"Evaluation of {len(models)} model(s) and {len(self.baselines)} baseline(s) on "
            f"{self._n_conditions} conditions by {len(metrics)} metrics "
            f"(per_perturbation, summary, verdict)\n{self.verdict}"
        )

    @property
    def _n_conditions(self) -> int:
        return len(self.per_perturbation.index.droplevel("model").unique())

    @property
    def verdict(self) -> str:
        """What is best by each metric, and whether a baseline wins, in words.

        A model beats or loses to the best baseline if the 95 % interval of the difference, by
        resamples of perturbations that both share, is on one side of 0; else the two are level.
        The last line is of collapse: how much the predictions of each model vary between
        perturbations, as a share of how much observations do. What else is better neither when
        more nor when less, such as coverage, is left out. A metric that is defined for some of
        the conditions alone says for how many.
        """
        means = self.summary["mean"].unstack("model")
        n_conditions = self.summary["n"].unstack("model")
        if means.columns.drop(CEILING, errors="ignore").empty:
            return "Nothing was predicted; the ceiling is in `summary`."
        lines = [f"Metrics as {self.compat} defines them."] if self.compat else []
        for metric, direction in DIRECTION.items():
            if not direction or metric not in means.index:
                continue
            scores = means.loc[metric].drop(labels=CEILING, errors="ignore").dropna()
            models = scores.drop(labels=list(self.baselines), errors="ignore")
            rivals = scores.reindex(self.baselines).dropna()
            if scores.empty:
                continue
            rival = rivals.index[np.argmax(direction * rivals)] if len(rivals) else None
            if models.empty:
                line = f"{metric}: the best baseline is {rival} {rivals[rival]:.3g}"
            else:
                best = models.index[np.argmax(direction * models)]
                line = f"{metric}: {best} {models[best]:.3g}"
                if rival is not None:
                    word = self._compared(metric, best, rival)
                    line += f", {word} {rival} {rivals[rival]:.3g}"
                others = models.drop(labels=best)
                line += "".join(f", {name} {score:.3g}" for name, score in others.items())
            if CEILING in means and np.isfinite(means.loc[metric, CEILING]):
                line += f" (ceiling {means.loc[metric, CEILING]:.3g})"
            n = int(n_conditions.loc[metric, scores.index].min())
            if n < self._n_conditions:
                line += f", of {n} of {self._n_conditions} conditions"
            lines.append(line)
        if _VARIANCE in means.index:
            ratios = means.loc[_VARIANCE].drop(labels=[CEILING, *self.baselines], errors="ignore")
            said = [f"{name} {ratio:.3g}" for name, ratio in ratios.dropna().items()]
            if said:
                lines.append(f"{_VARIANCE}: {', '.join(said)} (far below 1 is collapse)")
        return "\n".join(lines) or "None of the metrics is better when more or when less."

    def _compared(self, metric: str, model: str, rival: str) -> str:
        gains = DIRECTION[metric] * (
            self.resampled.loc[(metric, model)] - self.resampled.loc[(metric, rival)]
        )
        gains = gains[np.isfinite(gains)]
        if self.per_perturbation.index.get_level_values("perturbation").nunique() < 2:
            return "beside"  # one perturbation says nothing of others
        lower, upper = np.quantile(gains, [0.025, 0.975]) if len(gains) else (np.nan, np.nan)
        return "beats" if lower > 0 else "loses to" if upper < 0 else "is level with"


def resamples(perturbations: Sequence[str], n_bootstrap: int, seed: int) -> Array:
    """How often each condition counts: once, and in resamples of perturbations.

    Parameters
    ----------
    perturbations
        That of each condition; conditions of one perturbation are drawn together.
    n_bootstrap
        Number of resamples.
    seed
        Of the draws.

    Returns
    -------
    Array of shape ``(1 + n_bootstrap, n_conditions)``.
    """
    cluster, names = pd.factorize(np.asarray(perturbations, dtype=object))
    n = len(names)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_bootstrap)
    return np.vstack([np.ones(len(cluster)), drawn[:, cluster]])


def summarised(scored: Mapping[str, Scored], weights: Array) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metrics by model, with bootstrap intervals over perturbations.

    Parameters
    ----------
    scored
        Metrics of each condition and of all together, by model.
    weights
        What :func:`resamples` returned.

    Returns
    -------
    The summary, and the means of each resample, both with one row per metric and model.
    """
    resampled: dict[tuple[str, str], Array] = {}
    rows: dict[tuple[str, str], tuple[float, float, float, int]] = {}
    for model, (of_each, of_all) in scored.items():
        for metric, values in of_each.items():
            known = values.notna().to_numpy()
            total = weights[:, known].sum(axis=1)
            sums = weights[:, known] @ values.to_numpy()[known]
            means = np.divide(sums, total, out=np.full(len(total), np.nan), where=total > 0)
            drawn = _interval(means, of_each.index[known])
            rows[str(metric), model] = *drawn, int(known.sum())
            resampled[str(metric), model] = means[1:]
        for metric, means in of_all.items():
            rows[metric, model] = *_interval(means, of_each.index), len(of_each)
            resampled[metric, model] = means[1:]
    index = pd.MultiIndex.from_tuples(rows, names=["metric", "model"])
    summary = pd.DataFrame(
        list(rows.values()), index=index, columns=["mean", "lower", "upper", "n"]
    ).sort_index(
        level="metric", key=lambda names: names.map(list(DIRECTION).index), sort_remaining=False
    )
    means = np.vstack([resampled[key] for key in summary.index])
    return summary, pd.DataFrame(means, index=summary.index)


def _interval(means: Array, conditions: pd.Index) -> tuple[float, float, float]:
    """The first, and a 95 % interval of the others; NaN without, or with one perturbation."""
    drawn = means[1:][np.isfinite(means[1:])]
    n_perturbations = conditions.get_level_values("perturbation").nunique()
    # every resample of one perturbation is the same, and says nothing of how means vary
    if not np.isfinite(means[0]) or not len(drawn) or n_perturbations < 2:
        return float(means[0]), float("nan"), float("nan")
    lower, upper = np.quantile(drawn, [0.025, 0.975])
    return float(means[0]), float(lower), float(upper)
