"""Scores of one run as tables that can be put below those of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from scvi_sams.data._names import as_tuple
from scvi_sams.evaluation._condition_table import ConditionTable
from scvi_sams.evaluation._evaluate import evaluate
from scvi_sams.evaluation._evaluation import CEILING

if TYPE_CHECKING:
    from scvi_sams.benchmark._config import Benchmark
    from scvi_sams.benchmark._predictor import Predictor
    from scvi_sams.benchmark._run import Run
    from scvi_sams.evaluation._evaluation import Evaluation

Parts = Mapping[str, npt.NDArray[np.bool_]]

IWELBO, COVERAGE = "iwelbo", "coverage"
_N_BOOTSTRAP = 1000


@dataclass
class Scores:
    """Tables of scores; see :func:`scvi_sams.benchmark.run`.

    Attributes
    ----------
    about
        Columns that are the same in all rows.
    cannot
        What could not be predicted, and why.
    """

    about: dict[str, Any]
    cannot: str = ""
    _rows: list[pd.DataFrame] = field(default_factory=list)
    _summaries: list[pd.DataFrame] = field(default_factory=list)

    @property
    def per_condition(self) -> pd.DataFrame:
        """One row per subset, model, condition and metric."""
        return self._tidy(self._rows)

    @property
    def summary(self) -> pd.DataFrame:
        """One row per subset, model and metric."""
        return self._tidy(self._summaries)

    def add(self, found: Evaluation, subset: str, kinds: Mapping[str, str]) -> None:
        """Take the scores of some models, of the kinds that are named."""
        rows = found.per_perturbation.melt(var_name="metric", ignore_index=False).reset_index()
        for table, into in ((rows, self._rows), (found.summary.reset_index(), self._summaries)):
            chosen = table[table["model"].isin(list(kinds))].copy()
            chosen.insert(0, "subset", subset)
            chosen.insert(2, "kind", chosen["model"].map(kinds))
            into.append(chosen)

    def add_iwelbo(self, values: pd.Series, conditions: ConditionTable, subset: str) -> None:
        """Take bounds of cells, of shape ``(n_cells,)``, in nats."""
        about = {"subset": subset, "model": self.about["_model"], "kind": "model"}
        groups = values.groupby(conditions.of_cell)
        rows = [
            about
            | {
                "perturbation": "+".join(conditions.parts[row]) or "control",
                "context": ", ".join(conditions.covariates[row]),
                "metric": IWELBO,
                "value": mean,
            }
            for row, mean in groups.mean().items()
        ]
        self._rows.append(pd.DataFrame(rows))
        lower, upper = _interval(groups.sum().to_numpy(), groups.size().to_numpy())
        summary = {"metric": IWELBO, "mean": values.mean(), "lower": lower, "upper": upper}
        self._summaries.append(pd.DataFrame([about | summary | {"n": len(groups)}]))

    def _tidy(self, tables: list[pd.DataFrame]) -> pd.DataFrame:
        if not tables:
            return pd.DataFrame()
        table = pd.concat(tables, ignore_index=True)
        for place, name in enumerate(("dataset", "split", "seed")):
            table.insert(place, name, self.about[name])
        return table


def score_references(
    benchmark: Benchmark, run: Run, adata: AnnData, training: AnnData, parts: Parts
) -> Scores:
    """Score the baselines and the ceiling."""
    scores = _empty(run)
    for subset, cells in parts.items():
        found = evaluate(
            {},
            adata[cells],
            training=training,
            baselines=benchmark.baselines,
            **_arguments(benchmark, run, has_effects=False),
        )
        kinds = dict.fromkeys(found.baselines, "baseline") | {CEILING: "ceiling"}
        scores.add(found, subset, kinds)
    return scores


def score_model(
    benchmark: Benchmark,
    run: Run,
    predictor: Predictor,
    adata: AnnData,
    training: AnnData,
    parts: Parts,
) -> Scores:
    """Score what a predictor says of the test cells, subset by subset."""
    scores, name = _empty(run), str(run.model)
    columns = benchmark.datasets[run.dataset].columns
    for subset, cells in parts.items():
        test = adata[cells].copy()
        labels, covariates = asked(test, **columns)
        try:
            predicted = predictor.predict(
                labels, n_cells=benchmark.n_cells, covariates=covariates or None, seed=run.seed
            )
        except ValueError as error:
            scores.cannot += f"{subset}: {error} "
            continue
        if not isinstance(predicted, AnnData):
            raise TypeError(
                f"`predict` of {name!r} returned {type(predicted).__name__}; it must return an "
                "AnnData."
            )
        effects = _effects(benchmark, predictor, name, labels, covariates)
        found = evaluate(
            {name: predicted},
            test,
            training=training,
            baselines=(),
            effects=effects,
            **_arguments(benchmark, run, has_effects=effects is not None),
        )
        scores.add(found, subset, {name: "model"})
        if hasattr(predictor, "get_predictive_iwelbo") and _wants(benchmark, IWELBO):
            try:
                bounds = predictor.get_predictive_iwelbo(test, seed=run.seed)
            except ValueError as error:  # as of a batch that was not trained on
                scores.cannot += f"{subset}: no {IWELBO}: {error} "
                continue
            scores.add_iwelbo(bounds, ConditionTable.of(test, **columns), subset)
    return scores


def asked(test: AnnData, **columns: Any) -> tuple[list[str], dict[str, list[str]]]:
    """One label of each condition, controls among them, and the values of the covariates."""
    table = ConditionTable.of(test, **columns)
    labels = test.obs[columns["perturbation_key"]].astype(str).to_numpy()
    by_parts = dict(zip((table.parts[row] for row in table.of_cell), labels, strict=True))
    keys = as_tuple(columns["covariate_keys"])
    return list(by_parts.values()), {
        key: sorted(test.obs[key].astype(str).unique()) for key in keys
    }


def _effects(
    benchmark: Benchmark,
    predictor: Predictor,
    name: str,
    labels: list[str],
    covariates: dict[str, list[str]],
) -> dict[str, AnnData] | None:
    if not (hasattr(predictor, "get_average_treatment_effects") and _wants(benchmark, COVERAGE)):
        return None
    return {name: predictor.get_average_treatment_effects(labels, covariates=covariates or None)}


def _wants(benchmark: Benchmark, metric: str) -> bool:
    return benchmark.metrics is None or metric in benchmark.metrics


def _arguments(benchmark: Benchmark, run: Run, *, has_effects: bool) -> dict[str, Any]:
    metrics = benchmark.metrics
    if metrics is not None:
        others = {IWELBO} if has_effects else {IWELBO, COVERAGE}
        metrics = tuple(metric for metric in metrics if metric not in others)
    return benchmark.datasets[run.dataset].columns | {"metrics": metrics, "seed": run.seed}


def _empty(run: Run) -> Scores:
    about = {"dataset": run.dataset, "split": run.split, "seed": run.seed, "_model": run.model}
    return Scores(about)


def _interval(sums: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64]) -> tuple[float, float]:
    """95 % bootstrap interval over conditions of a mean over cells."""
    n = len(sums)
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), _N_BOOTSTRAP)
    lower, upper = np.quantile((drawn @ sums) / (drawn @ sizes), [0.025, 0.975])
    return float(lower), float(upper)
