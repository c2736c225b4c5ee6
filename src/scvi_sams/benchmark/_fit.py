"""Predictors of a config, fitted; a model that was trained before is loaded."""

from __future__ import annotations

import json
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad

from scvi_sams.benchmark._data import SPLIT_KEY
from scvi_sams.benchmark._given import GivenPredictions
from scvi_sams.benchmark._model import MODELS, imported
from scvi_sams.benchmark._predictor import ModelPredictor, Predictor
from scvi_sams.benchmark._storage import digest, read_json, write_json
from scvi_sams.benchmark._tune import tuned

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_sams.benchmark._config import Benchmark
    from scvi_sams.benchmark._run import Run


def fitted(
    benchmark: Benchmark, run: Run, training: AnnData, folder: Path, fingerprint: str
) -> tuple[Predictor, dict[str, Any]]:
    """The predictor of a run, fitted to its training cells.

    Parameters
    ----------
    benchmark, run
        The config, and what is run of it.
    training
        Cells with ``"train"`` and ``"val"`` in ``obs["split"]``.
    folder
        Where a trained model is kept, so that a run which ended while it was scored continues.
    fingerprint
        Of what the fit depends on; a kept model of another is not used.

    Returns
    -------
    The predictor, and how long it took.
    """
    columns = benchmark.datasets[run.dataset].columns | {"split_key": SPLIT_KEY}
    predictor = built(benchmark, run)
    if not isinstance(predictor, ModelPredictor):
        start = time.perf_counter()
        # of a copy, which it may change: the cells are needed once more to score it
        predictor.fit(training.copy(), **columns, seed=run.seed)
        return predictor, {"seconds": time.perf_counter() - start}
    data = _data_digest(benchmark, run)
    record = _kept(folder, fingerprint, data)
    if record:
        predictor.load(folder / "model", training, **columns)
        return predictor, record["fit"]
    start = time.perf_counter()
    about: dict[str, Any] = {}
    tune = benchmark.models[str(run.model)].tune
    if tune is not None:
        found = tuned(predictor, training, tune, columns, run.seed, folder / "tuning")
        about["tuned"] = json.dumps(found)
    predictor.fit(training, **columns, seed=run.seed)
    about |= {
        "seconds": time.perf_counter() - start,
        "n_epochs": len(predictor.model.history["elbo_validation"]),
    }
    (folder / "fit.json").unlink(missing_ok=True)  # it must never speak of another model
    predictor.save(folder / "model")
    write_json({"fingerprint": fingerprint, "data": data, "fit": about}, folder / "fit.json")
    return predictor, about


def contents(benchmark: Benchmark, run: Run) -> dict[str, str | None]:
    """Hashes of the files that a run depends on: data, predictions, module of a predictor."""
    found = {"data": _data_digest(benchmark, run)}
    spec = benchmark.models[run.model] if run.model is not None else None
    if spec is not None and spec.predictions is not None:
        found["predictions"] = digest(_predictions(benchmark, run))
    if spec is not None and spec.predictor is not None:
        file = getattr(import_module(spec.predictor.partition(":")[0]), "__file__", None)
        found["module"] = digest(Path(file)) if file is not None else None
    return found


def built(benchmark: Benchmark, run: Run) -> Predictor:
    """The predictor of a run, not fitted."""
    spec, dataset = benchmark.models[str(run.model)], benchmark.datasets[run.dataset]
    if spec.model is not None:
        batch = {"batch_key": dataset.batch_key} if dataset.batch_key is not None else {}
        return ModelPredictor(
            MODELS[spec.model],
            setup=batch | spec.setup,
            train={"enable_progress_bar": False} | spec.train,
            **spec.settings,
        )
    if spec.predictor is not None:
        return imported(spec.predictor)(**spec.settings)
    path = _predictions(benchmark, run)
    if not path.is_file():
        raise ValueError(f"There is no file of predictions {path}.")
    return GivenPredictions(ad.read_h5ad(path), units=spec.units)


def _predictions(benchmark: Benchmark, run: Run) -> Path:
    template = str(benchmark.models[str(run.model)].predictions)
    name = template.format(dataset=run.dataset, split=run.split, seed=run.seed)
    return benchmark.folder / name


def _data_digest(benchmark: Benchmark, run: Run) -> str | None:
    """Hash of the file of a dataset; None of a loader's."""
    path = benchmark.datasets[run.dataset].file(benchmark.data_folder)
    return None if path is None else digest(path)


def _kept(folder: Path, fingerprint: str, data: str | None) -> dict[str, Any]:
    """Record of a kept model, if it is of the same fit and data (or told these by size alone)."""
    record = read_json(folder / "fit.json")
    is_same = record.get("fingerprint") == fingerprint and record.get("data", data) == data
    return record if is_same and (folder / "model" / "model.pt").is_file() else {}
