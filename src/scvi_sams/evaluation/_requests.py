"""What is asked of an evaluation, checked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from scvi import settings

from scvi_sams.data._names import as_tuple, listed, nearest
from scvi_sams.evaluation._means import COUNTS, LOG1P_CP10K, TARGET_SUM, check_counts
from scvi_sams.evaluation._perturbench import PERTURBENCH
from scvi_sams.evaluation._scores import DIRECTION

if TYPE_CHECKING:
    from scvi_sams.evaluation._baseline import Baseline

_CELLS_AT_ONCE = 1_000
_HIGHEST_LOG = np.log1p(TARGET_SUM) + 1  # predictions may err beyond what counts can show
_OF_PREDICTIONS = "perturbation"
_OF_MEANS = ("ControlMean", "PerturbedMean", "Additive", "LinearAdditive")


def chosen_metrics(
    metrics: str | Sequence[str] | None, compat: str | None, has_effects: bool
) -> tuple[str, ...]:
    """Names of metrics in their usual order.

    Raises
    ------
    ValueError
        If a name is unknown, or coverage is asked without intervals.
    """
    if compat not in (None, "perturbench"):
        raise ValueError(f"`compat` is {compat!r}; it must be 'perturbench' or None.")
    known = PERTURBENCH if compat else tuple(DIRECTION)
    if metrics is None:
        return tuple(name for name in known if name != "coverage" or has_effects)
    asked = as_tuple(metrics)
    for name in asked:
        if name not in known:
            whose = " of PerturBench" if compat else ""
            raise ValueError(
                f"No metric{whose} is called {name!r}{nearest(name, known)}. There are "
                f"{listed(known, len(known))}."
            )
    if not asked:
        raise ValueError("`metrics` is empty; name at least one.")
    if "coverage" in asked and not has_effects:
        raise ValueError(
            "Coverage is of intervals: give `effects=`, what `get_average_treatment_effects` "
            "returned."
        )
    return tuple(name for name in known if name in asked)


def chosen_baselines(
    baselines: str | Sequence[str] | None, has_training: bool
) -> dict[str, type[Baseline]]:
    """Classes of ``sams.baselines`` by their names, by default those of means.

    Raises
    ------
    ValueError
        If a name is unknown, or there is nothing to fit them to.
    """
    from scvi_sams import baselines as module

    known = [name for name in module.__all__ if name != "Baseline"]
    default = _OF_MEANS if has_training else ()
    names = default if baselines is None else as_tuple(baselines)
    for name in names:
        if name not in known:
            raise ValueError(f"No baseline is called {name!r}{nearest(name, known)}.")
    if names and not has_training:
        raise ValueError("Baselines are fitted to training cells: give `training=`.")
    return {name: getattr(module, name) for name in names}


def by_model(
    given: AnnData | Mapping[str, AnnData] | None, models: Mapping[str, AnnData]
) -> dict[str, AnnData]:
    """Something of each model, by its name; of the only one where it comes without a name.

    Raises
    ------
    ValueError
        If a name is of no model.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        if len(models) != 1:
            raise ValueError(
                f"`effects` are of one model, and there are {len(models)}; give a mapping from "
                "names of models."
            )
        return {next(iter(models)): given}
    for name in given:
        if name not in models:
            raise ValueError(
                f"`effects` are of {name!r}, which is not predicted{nearest(name, models)}."
            )
    return dict(given)


def check_are_cells(
    models: Mapping[str, AnnData], observed: AnnData, training: AnnData | None
) -> None:
    """Check that predictions and cells to compare them with are AnnData.

    Raises
    ------
    TypeError
        If one is not, such as a model in place of what it predicts.
    ValueError
        If one holds no cells, or no values.
    """
    given = {f"the prediction {name!r}": cells for name, cells in models.items()}
    given |= {"`observed`": observed} | ({} if training is None else {"`training`": training})
    for name, cells in given.items():
        if not isinstance(cells, AnnData):
            raise TypeError(
                f"For {name} give an AnnData of cells, and nothing of type "
                f"{type(cells).__name__}; of a model it is `model.predict(perturbations)`."
            )
        # X of a view would be copied to look at it
        lacks = (
            "cells" if not cells.n_obs else "X" if not cells.is_view and cells.X is None else ""
        )
        if lacks:
            raise ValueError(
                f"The AnnData for {name} has no {lacks}; its X must hold the expression of cells."
            )


def check_units(cells: AnnData, units: str, name: str) -> None:
    """Check that values are what they are said to be.

    Raises
    ------
    ValueError
        If they are not.
    """
    if units not in (COUNTS, LOG1P_CP10K):
        raise ValueError(f"`{name}_units` is {units!r}; it must be {COUNTS!r} or {LOG1P_CP10K!r}.")
    if units == COUNTS:
        remedy = f"Put raw counts there, or say what the values are (`{name}_units=`)."
        if name == "training":
            remedy = "Put raw counts there."
        check_counts(cells.X, f"X of `{name}`", remedy)
        return
    # the extremes of a sparse matrix itself would sort its indices in place
    values = cells.X.data if sparse.issparse(cells.X) else np.asarray(cells.X)
    if not values.size:
        return
    lowest, highest = float(values.min()), float(values.max())
    if not np.isfinite([lowest, highest]).all():
        raise ValueError(f"X of `{name}` holds NaN or infinite values; drop these cells or genes.")
    if highest > _HIGHEST_LOG or (lowest < 0 and name == "observed"):
        extreme = f"up to {highest:.4g}" if highest > _HIGHEST_LOG else f"down to {lowest:.4g}"
        raise ValueError(
            f"X of `{name}` goes {extreme}, which is no {LOG1P_CP10K}: all values of those are "
            f"from 0 to {np.log1p(TARGET_SUM):.3g}. Counts? Or logs of another scale?"
        )


def units_of(cells: AnnData, name: str, asked: str | None) -> str:
    """Units of a prediction, as asked or as it says itself.

    Raises
    ------
    ValueError
        If nothing says them, they are wrong, or the prediction says others than are asked.
    """
    own = cells.uns.get("prediction", {}).get("units")
    if own is None and asked is None:
        raise ValueError(
            f"Nothing says what X of the prediction {name!r} is: state it by `predicted_units=`, "
            f"{COUNTS!r} or {LOG1P_CP10K!r}."
        )
    if own is not None and asked not in (None, own):
        raise ValueError(
            f"The prediction {name!r} says that X is {own!r} and `predicted_units` that it is "
            f"{asked!r}. Correct `uns['prediction']['units']`, where each of several predictions "
            "can say its own."
        )
    if asked is None and own not in (COUNTS, LOG1P_CP10K):
        raise ValueError(
            f"X of the prediction {name!r} is {own!r}, which is not compared; it must be "
            f"{COUNTS!r} (of a model, `kind='counts'`) or {LOG1P_CP10K!r}."
        )
    stated = str(asked or own)
    check_units(cells, stated, "predicted")
    return stated


def warn_of_training_cells(training: AnnData, observed: AnnData, genes: pd.Index) -> None:
    """Warn if cells to be predicted were learned from."""
    names = _shared_cells(training, observed, genes)
    if len(names):
        warnings.warn(
            f"{len(names)} cell(s) of `observed` are in `training` too, such as "
            f"{listed(names, 3)}: baselines were fitted to what they are scored on. Give cells "
            "that are not for test, such as `adata[adata.obs['split'] != 'test']`.",
            UserWarning,
            stacklevel=settings.warnings_stacklevel,
        )


def warn_of_observed_cells(
    predicted: AnnData, observed: AnnData, genes: pd.Index, name: str
) -> None:
    """Warn if a prediction holds the very cells that it is to predict."""
    names = _shared_cells(predicted, observed, genes)
    if len(names):
        warnings.warn(
            f"{len(names)} cell(s) of the prediction {name!r}, such as {listed(names, 3)}, are "
            "cells of `observed`, with the same values: they predict nothing.",
            UserWarning,
            stacklevel=settings.warnings_stacklevel,
        )


def _shared_cells(first: AnnData, second: AnnData, genes: pd.Index) -> pd.Index:
    """Names of cells of one name and the same values on both sides.

    Names alone may be numbers that start anew in each data set.
    """
    names = second.obs_names.intersection(first.obs_names, sort=False)
    if not (first.obs_names.is_unique and second.obs_names.is_unique):
        return names[:0]
    same = np.zeros(len(names), dtype=bool)
    for start in range(0, len(names), _CELLS_AT_ONCE):
        some = slice(start, start + _CELLS_AT_ONCE)
        one, other = (adata[names[some], genes].to_df().to_numpy() for adata in (first, second))
        same[some] = (one == other).all(axis=1)
    return names[same]


def warn_of_pooled_contexts(observed: AnnData, covariate_keys: Sequence[str]) -> None:
    """Warn if a split held out perturbations in some contexts, and contexts are not told apart."""
    for key, record in observed.uns.items():
        method = record.get("method") if isinstance(record, Mapping) else None
        if not isinstance(method, str) or method != "transfer":
            continue
        lacking = {
            str(name)
            for name in record.get("covariate_keys", ())
            if name not in covariate_keys
            and name in observed.obs
            and observed.obs[name].nunique() > 1
        }
        if lacking:
            warnings.warn(
                f"uns[{key!r}] says that perturbations were held out within {listed(lacking)}, "
                "whose values are pooled here: an effect of one is averaged with that of another. "
                "Pass `covariate_keys=`.",
                UserWarning,
                stacklevel=settings.warnings_stacklevel,
            )


def label_key(cells: AnnData, key: str) -> str:
    """Column of labels of a prediction: as in what was observed, or as ``predict`` calls it."""
    is_ours = "prediction" in cells.uns and _OF_PREDICTIONS in cells.obs
    return _OF_PREDICTIONS if is_ours and key not in cells.obs else key


def common_genes(
    models: Mapping[str, AnnData],
    observed: AnnData,
    intersect: bool,
    training: AnnData | None = None,
) -> pd.Index:
    """Genes to compare, in the order of ``observed``; training cells may have others too.

    Raises
    ------
    ValueError
        If they differ without ``intersect``, names stand twice, training cells lack some, or fewer
        than two are left.
    """
    genes = observed.var_names
    sides = {"`observed`": observed, "`training`": training}
    sides |= {f"the prediction {name!r}": cells for name, cells in models.items()}
    for what, side in sides.items():
        if side is not None and not side.var_names.is_unique:
            twice = side.var_names[side.var_names.duplicated()].unique()
            raise ValueError(
                f"Genes of {what} have one name, {listed(twice)}; make them unique "
                "(`adata.var_names_make_unique()`)."
            )
    for name, cells in models.items():
        common = genes.intersection(cells.var_names, sort=False)
        n_other = len(cells.var_names) + len(genes) - 2 * len(common)
        if n_other and not intersect:
            raise ValueError(
                f"The prediction {name!r} and `observed` share {len(common)} genes and differ in "
                f"{n_other}. `intersect_genes=True` compares those in common."
            )
        genes = common
    if len(genes) < len(observed.var_names):
        warnings.warn(
            f"{len(genes)} of the {len(observed.var_names)} genes of `observed` are compared; "
            "predictions lack the others.",
            UserWarning,
            stacklevel=settings.warnings_stacklevel,
        )
    if len(genes) < 2:
        raise ValueError(
            f"`observed` and predictions have {len(genes)} gene(s) in common; "
            "2 or more are needed."
        )
    unknown = genes[:0] if training is None else genes.difference(training.var_names)
    if len(unknown):
        raise ValueError(
            f"`training` lacks {len(unknown)} gene(s) that are compared: {listed(unknown)}. Take "
            "training and test cells of the same genes."
        )
    return genes


def warn_of_scales(cells: Mapping[str, tuple[AnnData, str]], n_genes: int) -> None:
    """Warn if logs lose genes that they were normalised over, while counts are normalised anew.

    Parameters
    ----------
    cells
        Cells and their units, by what they are.
    n_genes
        Number of genes that are compared.
    """
    logs = [what for what, (x, units) in cells.items() if units != COUNTS and x.n_vars > n_genes]
    if logs and any(units == COUNTS for _, units in cells.values()):
        warnings.warn(
            f"Logs of {listed(logs)} were normalised with genes that are not compared, and counts "
            f"are per 10,000 of the {n_genes} that are: the two are on different scales. Give "
            "counts, or logs normalised over these genes.",
            UserWarning,
            stacklevel=settings.warnings_stacklevel,
        )


def of_genes(adata: AnnData, genes: pd.Index) -> AnnData:
    """Cells with the genes that are compared; the same cells where these are all."""
    return adata if adata.var_names.equals(genes) else adata[:, genes].copy()
