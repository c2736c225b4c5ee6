"""Scoring predictions against observed cells."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scvi import settings

from scvi_sams.data._names import as_tuple, listed
from scvi_sams.evaluation._bench import Bench, Scored
from scvi_sams.evaluation._cell_scores import DISTANCES, Projection
from scvi_sams.evaluation._condition_cells import BaselineCells, GivenCells, Key, Source
from scvi_sams.evaluation._condition_table import ConditionTable, Parts, name_of
from scvi_sams.evaluation._coverage import Intervals
from scvi_sams.evaluation._evaluation import CEILING, Evaluation, resamples, summarised
from scvi_sams.evaluation._means import COUNTS
from scvi_sams.evaluation._profiles import Floats
from scvi_sams.evaluation._requests import (
    by_model,
    check_are_cells,
    check_units,
    chosen_baselines,
    chosen_metrics,
    common_genes,
    label_key,
    of_genes,
    units_of,
    warn_of_observed_cells,
    warn_of_pooled_contexts,
    warn_of_scales,
    warn_of_training_cells,
)
from scvi_sams.evaluation._split_record import stratified_ranks
from scvi_sams.module._numbers import check_whole

if TYPE_CHECKING:
    from anndata import AnnData


def evaluate(
    predicted: AnnData | Mapping[str, AnnData],
    observed: AnnData,
    *,
    perturbation_key: str,
    control: str | Sequence[str],
    delimiter: str | None = "+",
    covariate_keys: str | Sequence[str] | None = None,
    training: AnnData | None = None,
    baselines: str | Sequence[str] | None = None,
    effects: AnnData | Mapping[str, AnnData] | None = None,
    metrics: str | Sequence[str] | None = None,
    compat: Literal["perturbench"] | None = None,
    observed_units: str = COUNTS,
    predicted_units: str | None = None,
    intersect_genes: bool = False,
    min_cells: int = 2,
    max_cells: int = 500,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Evaluation:
    r"""Score predicted cells against observed ones, beside baselines and the ceiling.

    All metrics are of log1p counts per 10,000, within each combination of covariate values
    (context); counts are per 10,000 of the genes that are compared.

    - Of mean profiles: errors (``"rmse"``, ``"mae"``, ``"r2"``), also weighted by the squared
      t-statistics of observed genes (``"weighted_mse"``, ``"weighted_r2_delta"``); agreement of
      changes (``"pearson_delta"``, ``"cosine_delta"``, ``"cosine_logfc"``); ranks (``"rank"``,
      ``"rank_of_truth"``), without targeted genes. Changes are from the control cells that were
      *observed*, of the prediction as of the truth; in ``"pearson_delta_perturbed"`` from the mean
      over the perturbed conditions of ``training``.
    - Of cells: ``"energy_distance"`` and ``"mmd"`` in 50 principal components or fewer, fitted to
      10,000 cells at most of ``training`` (or else of ``observed``); the kernel of a condition has
      one width for all predictions, from observed cells. Agreement of the 50 genes that change
      most by Wilcoxon's test (``"de_recall"``, ``"de_precision"``, ``"de_direction"``,
      ``"de_spearman"``): predicted cells are tested against predicted control cells, if there are
      some. Genes of baselines, whose cells are control cells moved to a mean, are ordered by
      their differences instead.
    - Of all conditions together: average treatment effects (``"ate_pearson"``, ``"ate_r2"``, and
      of the top 20 genes of each condition). Here either side's effects are from *its own* control
      cells: one set of controls on both sides would put the same noise into both, and correlate
      them. A prediction without control cells is compared with the observed ones.
      ``"variance_ratio"`` and ``"similarity"`` show collapse.
    - Of intervals: ``"coverage"``.

    Parameters
    ----------
    predicted
        Cells (or a mean profile each) of the conditions that were observed, with the same labels
        and covariates in obs, best with control cells too; or several predictions by the names of
        their models, or none (``{}``). What ``predict`` of a model or baseline returned, with
        labels in its column ``"perturbation"``, or an AnnData from elsewhere.
    observed
        Test cells, with control cells of each context.
    perturbation_key, control, delimiter
        Column of labels, the label or labels of control cells, and what separates the parts of a
        combination. ``"A+B"`` and ``"B+A"`` are one condition.
    covariate_keys
        Columns of obs whose values make the contexts.
    training
        Cells that were learned from, raw counts: then baselines are fitted to them and scored too,
        and their mean over perturbations is a reference.
    baselines
        Names in ``sams.baselines``; with ``training`` by default those of means.
    effects
        Average treatment effects with intervals, as ``get_average_treatment_effects`` returns
        them, by the names of their models: then coverage is a metric.
    metrics
        Names of metrics; by default all. What takes long are those of cells.
    compat
        ``"perturbench"`` for the metrics of PerturBench by its own definitions: ``"rmse"``;
        ``"cosine_logfc"``, of logs of log-normalised means plus 0.1; ``"rank"`` by the cosine
        distance of these, ties broken at random, targeted genes included; ``"mmd"``, which is the
        energy distance.
    observed_units, predicted_units
        ``"counts"`` or ``"log1p counts per 10,000"``; the second by default what
        ``uns["prediction"]["units"]`` of a prediction says, and needed only without. Nothing is
        guessed from the values.
    intersect_genes
        Whether to compare the genes in common if they differ, rather than to raise.
    min_cells
        Conditions of fewer observed cells are left out, with a warning.
    max_cells
        Most cells of a condition, or of control, for metrics of cells, on either side.
    n_bootstrap, seed
        Resamples of perturbations for the intervals, and the seed of all that is drawn.

    Returns
    -------
    :class:`~scvi_sams.evaluation._evaluation.Evaluation` with ``per_perturbation``, ``summary``
    and ``verdict``. The ceiling is one half of the cells of each condition predicting the other:
    both sides have the noise of half the cells, so that good means of more cells may score above.
    A metric is NaN where it is not defined, such as those of cells for a prediction of mean
    profiles, or ranks of one condition.

    Raises
    ------
    KeyError
        If a column is missing.
    ValueError
        If genes differ, units are not stated or not what they are said to be, a context has no
        control cells, a prediction lacks a condition, or a metric or baseline is unknown.
    TypeError
        If something else than cells is given, such as a model.

    Warns
    -----
    UserWarning
        If conditions or genes are left out, logs and counts are not of the same genes, cells of
        ``observed`` are in ``training`` or in a prediction, average treatment effects of a
        prediction are from observed control cells, or contexts of a transfer split are pooled.
    """
    check_whole(seed, "seed")
    check_whole(min_cells, "min_cells")
    check_whole(max_cells, "max_cells", least=2)
    check_whole(n_bootstrap, "n_bootstrap")
    models = dict(predicted) if isinstance(predicted, Mapping) else {"model": predicted}
    check_are_cells(models, observed, training)
    intervals = by_model(effects, models)
    wanted = chosen_metrics(metrics, compat, has_effects=bool(intervals))
    classes = chosen_baselines(baselines, has_training=training is not None)
    taken = [name for name in models if name in (*classes, CEILING)]
    if taken:
        raise ValueError(f"{listed(taken)} names a baseline; name the model another way.")
    check_units(observed, observed_units, "observed")
    warn_of_pooled_contexts(observed, as_tuple(covariate_keys))
    units = {name: units_of(cells, name, predicted_units) for name, cells in models.items()}
    genes = common_genes(models, observed, intersect_genes, training)
    sides = {name: (cells, units[name]) for name, cells in models.items()}
    for name, cells in models.items():
        if units[name] == observed_units:
            warn_of_observed_cells(cells, observed, genes, name)
    warn_of_scales(sides | {"observed": (observed, observed_units)}, len(genes))
    labels: dict[str, Any] = {
        "control": control,
        "delimiter": delimiter,
        "covariate_keys": covariate_keys,
    }
    columns = labels | {"perturbation_key": perturbation_key}

    def given(
        adata: AnnData,
        units: str,
        whose: str,
        key: str = perturbation_key,
        *,
        require_control: bool = False,
    ) -> GivenCells:
        own = columns | {"perturbation_key": key, "require_control": require_control}
        table = ConditionTable.of(adata, **own, whose=f"of {whose}")
        return GivenCells.of(of_genes(adata, genes), table, units)

    truth = given(observed, observed_units, "`observed`", require_control=True)
    keys = _chosen(truth, min_cells)
    trained = None
    if training is not None:
        check_units(training, COUNTS, "training")
        if observed_units == COUNTS:
            warn_of_training_cells(training, observed, genes)
        trained = given(training, COUNTS, "`training`")
        if classes:
            _check_contexts(trained, keys)
    weights = resamples(["+".join(parts) for parts, _ in keys], n_bootstrap, seed)
    bench = Bench(
        keys,
        genes,
        wanted,
        weights,
        projection=(Projection.fit(trained or truth, seed) if {*wanted} & {*DISTANCES} else None),
        perturbed=_perturbed_means(trained, keys)
        if trained and "pearson_delta_perturbed" in wanted
        else {},
        compat=compat,
        max_cells=max_cells,
        seed=seed,
    )

    def sources() -> Iterator[tuple[str, Source]]:
        """One after the other, so that no two baselines are held."""
        for name, cells in models.items():
            key = label_key(cells, perturbation_key)
            source = given(cells, units[name], f"the prediction {name!r}", key)
            _check_complete(source, keys, name)
            if any(metric.startswith("ate_") for metric in wanted):
                _warn_of_shared_controls(source, keys, name)
            yield name, source
        for name, baseline in classes.items():
            assert training is not None
            cells = of_genes(training, genes)
            yield name, BaselineCells(baseline().fit(cells, **columns, seed=seed), seed)

    scored: dict[str, Scored] = {}
    seen = bench.observe(truth)
    for name, source in sources():
        of_model = intervals.get(name)
        about = None if of_model is None else Intervals.of(of_model, genes, name, **labels)
        scored[name] = bench.scores(source, seen, about)
        del source  # before the next baseline is fitted
    del seen  # as large as a prediction
    half = _halves(truth, seed)
    scored[CEILING] = bench.scores(truth.among(half == 0), bench.observe(truth.among(half == 1)))
    per_perturbation = pd.concat(
        {name: table.sort_index() for name, (table, _) in scored.items()}, names=["model"]
    )
    summary, resampled = summarised(scored, weights)
    return Evaluation(per_perturbation, summary, tuple(classes), resampled, compat)


def _chosen(observed: GivenCells, min_cells: int) -> list[Key]:
    """Perturbed conditions with enough cells, in contexts with control cells, by context."""
    with_control = {values for parts, values in observed.rows if not parts}
    bare = sorted({", ".join(values) for _, values in observed.rows if values not in with_control})
    if not with_control or bare:
        where = f" in {listed(bare)}" if bare and bare != [""] else ""
        raise ValueError(
            f"`observed` has no control cells{where}; effects are differences from them. Put some "
            "of them into the test cells."
        )
    perturbed = [key for key in observed.rows if key[0]]
    few = [key for key in perturbed if observed.n_cells(key) < min_cells]
    if few:
        warnings.warn(
            f"{listed(map(name_of, few))} is left out, with fewer than {min_cells} cells "
            "(`min_cells=`).",
            UserWarning,
            stacklevel=settings.warnings_stacklevel,
        )
    keys = [key for key in perturbed if observed.n_cells(key) >= min_cells]
    if not keys:
        raise ValueError(f"No perturbed condition of `observed` has {min_cells} cells.")
    return sorted(keys, key=lambda key: key[1])


def _check_complete(predicted: GivenCells, keys: Sequence[Key], name: str) -> None:
    missing = [name_of(key) for key in keys if not predicted.n_cells(key)]
    if missing:
        raise ValueError(
            f"The prediction {name!r} lacks {len(missing)} condition(s) of `observed`: "
            f"{listed(missing)}. Predict them too, or leave their cells out of `observed`."
        )


def _warn_of_shared_controls(predicted: GivenCells, keys: Sequence[Key], name: str) -> None:
    bare = _without_control(predicted, keys)
    if bare:
        where = f" in {listed(bare)}" if any(bare) else ""
        warnings.warn(
            f"The prediction {name!r} has no control cells{where}: "
            "its average treatment effects are from the observed ones, whose noise is then on "
            "both sides and raises `ate_*`. Predict control cells too.",
            UserWarning,
            stacklevel=settings.warnings_stacklevel,
        )


def _without_control(cells: GivenCells, keys: Sequence[Key]) -> list[str]:
    """Contexts of the conditions in which no cell is a control."""
    contexts = dict.fromkeys(context for _, context in keys)
    return [", ".join(context) for context in contexts if not cells.n_cells(((), context))]


def _check_contexts(training: GivenCells, keys: Sequence[Key]) -> None:
    bare = _without_control(training, keys)
    if bare:
        raise ValueError(
            f"`training` has no control cells{f' in {listed(bare)}' if any(bare) else ''}, which "
            "baselines start from. Add them, or ask for no baseline: `baselines=()`."
        )


def _perturbed_means(training: GivenCells, keys: Sequence[Key]) -> dict[Parts, Floats]:
    """Mean log profile over perturbed conditions of training cells, of each context."""
    trained = {
        context: [key for key in training.rows if key[0] and key[1] == context]
        for context in {context for _, context in keys}
    }
    return {
        context: training.profiles(here).log.mean(axis=0, dtype=float)
        for context, here in trained.items()
        if here
    }


def _halves(observed: GivenCells, seed: int) -> npt.NDArray[np.intp]:
    """One of two halves for each cell, of equal size within conditions; -1 of a lone cell."""
    of_cell = np.empty(observed.values.shape[0], dtype=np.intp)
    for number, rows in enumerate(observed.rows.values()):
        of_cell[rows] = number
    rank = stratified_ranks(of_cell, np.random.default_rng(seed))
    n_cells = np.bincount(of_cell)[of_cell]
    return np.where(n_cells > 1, (rank >= 0.5).astype(int), -1)
