"""Scores of predictions, beside those of baselines and of the ceiling."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from scvi_sams.evaluation._scores import DIRECTION

CEILING = "ceiling"


@dataclass(frozen=True)
class Evaluation:
    """What :func:`scvi_sams.evaluate` found.

    Attributes
    ----------
    per_perturbation
        Metrics of each model, perturbation and context; NaN where one is not defined.
    summary
        Mean of each metric of each model over conditions, with a 95 % interval of the mean over
        perturbations (``lower``, ``upper``; bootstrap) and the number ``n`` of conditions that it
        is of; metrics of all conditions together too, of which ``n`` is the number of conditions.
    baselines
        Names of the models that are baselines.
    """

    per_perturbation: pd.DataFrame
    summary: pd.DataFrame
    baselines: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> str:
        """In words, for each metric: which is best, and whether a baseline wins."""
        means = self.summary["mean"].unstack("model")
        lines = []
        for metric, direction in DIRECTION.items():
            if not direction or metric not in means.index:
                continue
            scores = means.loc[metric].drop(labels=CEILING, errors="ignore").dropna()
            models = scores.drop(labels=list(self.baselines), errors="ignore")
            rivals = scores.reindex(self.baselines).dropna()
            if models.empty:
                continue
            best = models.index[np.argmax(direction * models)]
            line = f"{metric}: {best} {models[best]:.3g}"
            if len(rivals):
                rival = rivals.index[np.argmax(direction * rivals)]
                gain = direction * (models[best] - rivals[rival])
                word = "beats" if gain > 0 else "is level with" if gain == 0 else "loses to"
                line += f", {word} {rival} {rivals[rival]:.3g}"
            if CEILING in means and np.isfinite(means.loc[metric, CEILING]):
                line += f" (ceiling {means.loc[metric, CEILING]:.3g})"
            lines.append(line)
        return "\n".join(lines)


def summarised(
    per_perturbation: pd.DataFrame,
    joint: dict[str, dict[str, tuple[float, float, float, int]]],
    n_bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """Means of metrics by model, with bootstrap intervals over perturbations."""
    rng = np.random.default_rng(seed)
    rows: dict[tuple[str, str], tuple[float, float, float, int]] = {}
    for model, scores in per_perturbation.groupby(level="model", sort=False):
        cluster = pd.factorize(scores.index.get_level_values("perturbation"))[0]
        drawn = rng.multinomial(
            cluster.max() + 1, np.full(cluster.max() + 1, 1 / (cluster.max() + 1)), n_bootstrap
        )[:, cluster]  # how often each row counts
        for metric, values in scores.items():
            known = values.notna().to_numpy()
            rows[str(metric), str(model)] = (
                *_interval(values.to_numpy()[known], drawn[:, known]),
                known.sum(),
            )
        rows |= {(metric, str(model)): value for metric, value in joint[str(model)].items()}
    index = pd.MultiIndex.from_tuples(rows, names=["metric", "model"])
    columns = ["mean", "lower", "upper", "n"]
    return pd.DataFrame(list(rows.values()), index=index, columns=columns).sort_index(
        level="metric", key=lambda names: names.map(list(DIRECTION).index), sort_remaining=False
    )


def _interval(
    values: npt.NDArray[np.float64], drawn: npt.NDArray[np.int64]
) -> tuple[float, float, float]:
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    total = drawn.sum(axis=1)
    means = (drawn @ values)[total > 0] / total[total > 0]
    lower, upper = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(lower), float(upper)
