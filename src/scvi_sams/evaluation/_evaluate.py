"""Scoring predictions against observed cells."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scvi import settings

from scvi_sams.data._names import listed
from scvi_sams.evaluation._bench import Bench
from scvi_sams.evaluation._condition_table import ConditionTable
from scvi_sams.evaluation._evaluation import CEILING, Evaluation, summarised
from scvi_sams.evaluation._mean_baselines import (
    Additive,
    ControlMean,
    LinearAdditive,
    PerturbedMean,
)
from scvi_sams.evaluation._means import (
    COUNTS,
    LOG1P_CP10K,
    check_counts,
    mean_profiles,
)
from scvi_sams.evaluation._scores import joint_scores
from scvi_sams.evaluation._split_record import stratified_ranks

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_sams.evaluation._baseline import Baseline

Array = npt.NDArray[np.float64]

_MOST_DRAWS, _MOST_VALUES = 200, 2e8
BASELINES: dict[str, type[Baseline]] = {
    cls.__name__: cls for cls in (ControlMean, PerturbedMean, Additive, LinearAdditive)
}


def evaluate(
    predicted: AnnData | Mapping[str, AnnData],
    observed: AnnData,
    *,
    perturbation_key: str,
    control: str | Sequence[str],
    delimiter: str | None = "+",
    covariate_keys: str | Sequence[str] | None = None,
    training: AnnData | None = None,
    observed_units: str = COUNTS,
    predicted_units: str | None = None,
    intersect_genes: bool = False,
    min_cells: int = 2,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Evaluation:
    r"""Score predicted cells against observed ones, beside baselines and the ceiling.

    All metrics are of mean profiles of log1p counts per 10,000, within each combination of
    covariate values (context); effects are differences from the control cells that were
    *observed* there, of the prediction as of the truth.

    Parameters
    ----------
    predicted
        Cells (or a mean profile each) of the conditions that were observed, with the same labels
        and covariates in obs; or several predictions by the names of their models. What
        ``predict`` of a model or baseline returned, or an AnnData from elsewhere.
    observed
        Test cells, with control cells of each context.
    perturbation_key, control, delimiter
        Column of labels, the label or labels of control cells, and what separates the parts of a
        combination. ``"A+B"`` and ``"B+A"`` are one condition.
    covariate_keys
        Columns of obs whose values make the contexts.
    training
        Cells that were learned from, raw counts: then the baselines are fitted to them and scored
        too, and their mean over perturbations is a reference.
    observed_units, predicted_units
        ``"counts"`` or ``"log1p counts per 10,000"``; the second by default what
        ``uns["prediction"]["units"]`` of a prediction says. Nothing is guessed from the values.
    intersect_genes
        Whether to compare the genes in common if they differ, rather than to raise.
    min_cells
        Conditions of fewer observed cells are left out, with a warning.
    n_bootstrap, seed
        Resamples of perturbations for the intervals, and the seed of these and of the halves of
        the ceiling.

    Returns
    -------
    :class:`~scvi_sams.evaluation._evaluation.Evaluation` with ``per_perturbation``, ``summary``
    and ``verdict``. The ceiling is one half of the cells of each condition predicting the other.

    Raises
    ------
    KeyError
        If a column is missing.
    ValueError
        If genes differ, units are not stated or not what they are said to be, a context has no
        control cells, or a prediction lacks a condition.
    """
    models = dict(predicted) if isinstance(predicted, Mapping) else {"model": predicted}
    _check_units(observed, observed_units, "observed")
    units = {name: _units_of(cells, name, predicted_units) for name, cells in models.items()}
    genes = _common_genes(models, observed, intersect_genes)
    columns: dict[str, Any] = {
        "perturbation_key": perturbation_key,
        "control": control,
        "delimiter": delimiter,
        "covariate_keys": covariate_keys,
    }
    observed = observed[:, genes]
    table = ConditionTable.of(observed, **columns)
    truth = mean_profiles(observed.X, table.of_cell, len(table.parts), units=observed_units)
    bench = Bench(table, _chosen(table, truth.n_cells, min_cells), np.asarray(genes))
    baselines: dict[str, Baseline] = {}
    if training is not None:
        baselines = {
            name: cls().fit(training[:, genes], **columns) for name, cls in BASELINES.items()
        }
        taken = [name for name in models if name in baselines]
        if taken:
            raise ValueError(f"{listed(taken)} names a baseline; name the model another way.")
        bench.learn(next(iter(baselines.values())))
    found = {
        name: bench.matched(
            ConditionTable.of(cells, **columns, require_control=False),
            cells[:, genes].X,
            units[name],
            name,
        )
        for name, cells in models.items()
    } | {name: bench.predicted_by(baseline) for name, baseline in baselines.items()}
    scored = {name: bench.scores(profiles, truth) for name, profiles in found.items()}
    half = _halves(table, seed)
    one, other = (
        mean_profiles(
            observed.X,
            np.where(half == part, table.of_cell, -1),
            len(table.parts),
            units=observed_units,
        )
        for part in (0, 1)
    )
    scored[CEILING] = bench.scores(one[bench.rows], other)
    per_perturbation = pd.concat({name: one for name, (one, _) in scored.items()}, names=["model"])
    joint = {
        name: _joint(*effects, bench.context, n_bootstrap, seed)
        for name, (_, effects) in scored.items()
    }
    return Evaluation(
        per_perturbation,
        summarised(per_perturbation, joint, n_bootstrap, seed),
        tuple(baselines),
    )


def _check_units(cells: AnnData, units: str, name: str) -> None:
    if units not in (COUNTS, LOG1P_CP10K):
        raise ValueError(f"`{name}_units` is {units!r}; it must be {COUNTS!r} or {LOG1P_CP10K!r}.")
    if units == COUNTS:
        check_counts(cells.X, f"X of `{name}`")


def _units_of(cells: AnnData, name: str, asked: str | None) -> str:
    stated = asked or cells.uns.get("prediction", {}).get("units")
    if stated is None:
        raise ValueError(
            f"Nothing says what X of the prediction {name!r} is: state it by `predicted_units=`, "
            f"{COUNTS!r} or {LOG1P_CP10K!r}."
        )
    _check_units(cells, stated, "predicted")
    return str(stated)


def _common_genes(models: Mapping[str, AnnData], observed: AnnData, intersect: bool) -> pd.Index:
    genes = observed.var_names
    for name, cells in models.items():
        common = genes.intersection(cells.var_names)
        n_other = len(cells.var_names) + len(genes) - 2 * len(common)
        if n_other and not intersect:
            raise ValueError(
                f"The prediction {name!r} and `observed` share {len(common)} genes and differ in "
                f"{n_other}. `intersect_genes=True` compares those in common."
            )
        genes = common
    if len(genes) < 2:
        raise ValueError(f"There are {len(genes)} genes in common; there must be at least 2.")
    return genes


def _chosen(
    table: ConditionTable, n_cells: npt.NDArray[np.int64], min_cells: int
) -> npt.NDArray[np.intp]:
    """Perturbed conditions with enough cells, in contexts with control cells."""
    with_control = {values for parts, values in table.keys if not parts}
    bare = sorted({", ".join(values) for _, values in table.keys if values not in with_control})
    if not with_control or bare:
        where = f" in {listed(bare)}" if bare and bare != [""] else ""
        raise ValueError(
            f"`observed` has no control cells{where}; effects are differences from them. Put some "
            "of them into the test cells."
        )
    is_few = ~table.is_control & (n_cells < min_cells)
    if is_few.any():
        few = listed([table.name(int(row)) for row in np.flatnonzero(is_few)])
        warnings.warn(
            f"{few} is left out, with fewer than {min_cells} cells (`min_cells=`).",
            UserWarning,
            stacklevel=settings.warnings_stacklevel,
        )
    rows = np.flatnonzero(~table.is_control & ~is_few)
    if not len(rows):
        raise ValueError(f"No perturbed condition of `observed` has {min_cells} cells.")
    return rows


def _halves(table: ConditionTable, seed: int) -> npt.NDArray[np.intp]:
    """One of two halves for each cell, of equal size within conditions; -1 of a lone cell."""
    rank = stratified_ranks(table.of_cell, np.random.default_rng(seed))
    n_cells = np.bincount(table.of_cell)[table.of_cell]
    return np.where(n_cells > 1, (rank >= 0.5).astype(int), -1)


def _joint(
    predicted: Array,
    observed: Array,
    context: npt.NDArray[np.intp],
    n_bootstrap: int,
    seed: int,
) -> dict[str, tuple[float, float, float, int]]:
    """Metrics of all conditions together, with bootstrap intervals over conditions."""
    rng, n = np.random.default_rng(seed), len(observed)
    n_draws = min(n_bootstrap, _MOST_DRAWS, max(int(_MOST_VALUES / observed.size), 2))
    rows = [np.arange(n), *rng.integers(n, size=(n_draws, n))]
    scores = pd.DataFrame([joint_scores(predicted[r], observed[r], context[r]) for r in rows])
    drawn = scores.iloc[1:]
    return {
        str(metric): (
            float(values.iloc[0]),
            float(drawn[metric].quantile(0.025)),
            float(drawn[metric].quantile(0.975)),
            n,
        )
        for metric, values in scores.items()
    }
