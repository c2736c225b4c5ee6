"""Hyper-parameters by scvi-tools' autotune."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from scvi import settings

from scvi_sams._random_state import random_state_restored

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from scvi_sams.benchmark._model import Tune
    from scvi_sams.benchmark._predictor import ModelPredictor

_METRIC = "elbo_validation"


def tuned(
    predictor: ModelPredictor,
    training: AnnData,
    tune: Tune,
    columns: dict[str, Any],
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Give a predictor the settings of the best bound on validation cells.

    Parameters
    ----------
    predictor
        Gets the settings that were found.
    training
        Cells to learn from and to validate on.
    tune
        What to search, and how many settings to try.
    columns
        Arguments of the predictor's ``fit``.
    seed
        Of the search and the models.
    folder
        Where Ray keeps what it logs.

    Returns
    -------
    The settings that were found.
    """
    from ray import tune as ray_tune
    from scvi import autotune

    adata = predictor.set_up(training, **columns)
    own = inspect.signature(predictor.model_class).parameters
    of_training = inspect.signature(predictor.model_class.train).parameters
    space: dict[str, dict[str, Any]] = {
        "model_params": dict(predictor.settings),
        "train_params": {"split_key": columns["split_key"]} | predictor.train,
    }
    plan = dict(predictor.train.get("plan_kwargs", {}))
    for name, values in tune.search.items():
        draw = getattr(ray_tune, values.kind)
        drawn = draw(values.values) if values.kind == "choice" else draw(*values.values)
        if name in own:
            space["model_params"][name] = drawn
        elif name in of_training:
            space["train_params"][name] = drawn
        else:
            plan[name] = drawn
    if plan:
        space["train_params"]["plan_kwargs"] = plan
    with random_state_restored():
        settings.seed = seed  # autotune takes a seed of 0 for none, and this in its place
        experiment = autotune.run_autotune(
            predictor.model_class,
            adata,
            metrics=_METRIC,
            mode="min",
            search_space=space,
            num_samples=tune.n_samples,
            scheduler="fifo",
            searcher="hyperopt",
            seed=seed,
            logging_dir=str(folder.absolute()),
            ignore_reinit_error=True,  # the engine, or the user, may have started Ray
        )
    found = experiment.result_grid.get_best_result(_METRIC, "min").config
    of_train = {key: value for key, value in found["train_params"].items() if key != "split_key"}
    predictor.settings |= found["model_params"]
    predictor.train |= of_train
    return {name: _value(name, found) for name in tune.search}


def _value(name: str, found: dict[str, Any]) -> Any:
    of_train = found["train_params"]
    for place in (found["model_params"], of_train, of_train.get("plan_kwargs", {})):
        if name in place:
            return place[name]
    raise KeyError(name)
