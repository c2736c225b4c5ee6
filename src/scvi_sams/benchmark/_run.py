"""One entry of the grid: a model on a split of a dataset with a seed."""

from __future__ import annotations

import hashlib
import json
import re
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_sams.benchmark._config import add_modules_of
from scvi_sams.benchmark._data import SPLIT_KEY, prepared, subsets
from scvi_sams.benchmark._fit import contents, fitted
from scvi_sams.benchmark._scoring import Scores, score_model, score_references
from scvi_sams.benchmark._storage import read_json, write_json, write_parquet, write_text
from scvi_sams.benchmark._terms import CANNOT, DONE, FAILED, REFERENCES

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_sams.benchmark._config import Benchmark

_COLUMNS = (
    *("dataset", "split", "model", "seed", "status", "message", "seconds"),
    *("split_hash", "n_genes", "versions"),
)


@dataclass(frozen=True)
class Run:
    """What is trained and scored at once.

    Attributes
    ----------
    dataset, split
        Names in the config.
    seed
        Of the split and of the model.
    model
        Name in the config; None of the baselines and the ceiling.
    """

    dataset: str
    split: str
    seed: int
    model: str | None

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.dataset}, {self.split}, seed {self.seed}: {self.model or REFERENCES}"

    def folder(self, out: Path) -> Path:
        """Where its results are."""
        parts = [self.dataset, self.split, str(self.seed)]
        model = f"model {self.model}" if self.model is not None else REFERENCES
        return out.joinpath("runs", *map(_file_name, [*parts, model]))


def runs_of(benchmark: Benchmark) -> list[Run]:
    """All runs, seed by seed, so that a run cut short has all models of some seeds."""
    return [
        Run(dataset, split, seed, model)
        for dataset, split, seed in benchmark.tasks()
        for model in (None, *benchmark.models)
    ]


def is_finished(benchmark: Benchmark, run: Run, out: Path) -> bool:
    """Whether a run has been done with the same settings; one that failed has not."""
    record = _record(run, out)
    return record.get("fingerprint") == _fingerprint(benchmark, run) and (
        record["status"] != FAILED
    )


def execute(benchmark: Benchmark, run: Run, out: Path) -> dict[str, Any]:
    """Train and score, and write the results to the folder of the run.

    Returns
    -------
    The record of the run: its status, a message if it failed, seconds and more. Errors of a model
    end in it, and not the benchmark.
    """
    add_modules_of(benchmark.folder)  # this may be another process
    folder = run.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").unlink(missing_ok=True)
    start = time.perf_counter()
    record: dict[str, Any] = {
        "dataset": run.dataset,
        "split": run.split,
        "model": run.model or REFERENCES,
        "seed": run.seed,
        "status": DONE,
        "message": "",
        "versions": _versions(),
        "fingerprint": _fingerprint(benchmark, run),
    }
    try:
        scores, more = _scored(benchmark, run, folder)
        write_parquet(scores.per_condition, folder / "scores.parquet")
        write_parquet(scores.summary, folder / "summary.parquet")
        record |= more
        if scores.cannot:
            record |= {"status": CANNOT, "message": scores.cannot}
    except Exception as error:  # noqa: BLE001  # what one model does must not end the others
        record |= {
            "status": FAILED,
            "message": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
        }
    record["total_seconds"] = time.perf_counter() - start
    write_json(record, folder / "run.json")
    return record


def collected(runs: Iterable[Run], out: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Scores, summaries and records of all runs that ended."""
    scores, summaries, records = [], [], []
    for run in runs:
        record = _record(run, out)
        if not record:
            continue
        records.append({key: value for key, value in record.items() if key != "traceback"})
        if record["status"] != FAILED:
            scores.append(pd.read_parquet(run.folder(out) / "scores.parquet"))
            summaries.append(pd.read_parquet(run.folder(out) / "summary.parquet"))
    return (
        pd.concat(scores, ignore_index=True) if scores else pd.DataFrame(),
        pd.concat(summaries, ignore_index=True) if summaries else pd.DataFrame(),
        pd.DataFrame(records, columns=list(dict.fromkeys([*_COLUMNS, *chain(*records)]))),
    )


def _scored(benchmark: Benchmark, run: Run, folder: Path) -> tuple[Scores, dict[str, Any]]:
    dataset = benchmark.datasets[run.dataset]
    split = benchmark.splits[run.split]
    adata = prepared(
        dataset.read(benchmark.data_folder),
        split.method,
        split.arguments(dataset),
        run.seed,
        layer=dataset.layer,
        min_counts=dataset.min_counts,
        n_top_genes=dataset.n_top_genes,
    )
    about = {"split_hash": adata.uns[SPLIT_KEY]["hash"], "n_genes": adata.n_vars}
    parts = subsets(adata, **dataset.columns)
    training = _without_test(adata)
    if run.model is None:
        cells = adata.obs[SPLIT_KEY].astype(str).rename_axis("cell").reset_index()
        write_parquet(cells, folder / "split.parquet")
        write_text("\n".join(adata.var_names) + "\n", folder / "genes.txt")
        return score_references(benchmark, run, adata, training, parts), about
    predictor, seconds = fitted(
        benchmark, run, training, folder, _fingerprint(benchmark, run, of_fit=True)
    )
    scores = score_model(benchmark, run, predictor, adata, training, parts)
    return scores, about | seconds


def _without_test(adata: AnnData) -> AnnData:
    training = adata[(adata.obs[SPLIT_KEY] != "test").to_numpy()].copy()
    # what is known of test cells is no business of a model
    training.obs = training.obs.drop(columns=f"{SPLIT_KEY}_parts_seen", errors="ignore")
    del training.uns[SPLIT_KEY]
    return training


def _record(run: Run, out: Path) -> dict[str, Any]:
    return read_json(run.folder(out) / "run.json")


def _fingerprint(benchmark: Benchmark, run: Run, *, of_fit: bool = False) -> str:
    """Hash of all settings that the results of a run, or its fit alone, depend on."""
    dataset = benchmark.datasets[run.dataset]
    path = dataset.file(benchmark.data_folder)
    settings: dict[str, Any] = {
        "dataset": dataset.model_dump(mode="json", exclude={"splits"}),
        "size": path.stat().st_size if path is not None and path.exists() else None,
        "split": benchmark.splits[run.split].model_dump(mode="json"),
        "seed": run.seed,
    }
    if run.model is not None:
        settings["model"] = benchmark.models[run.model].model_dump(mode="json")
    if not of_fit:
        settings |= {"metrics": benchmark.metrics, "n_cells": benchmark.n_cells}
        settings["contents"] = contents(benchmark, run)
        if run.model is None:
            settings["baselines"] = benchmark.baselines
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _versions() -> str:
    packages = ("scvi-sams", "scvi-tools", "torch")
    return json.dumps({package: version(package) for package in packages})


def _file_name(name: str) -> str:
    """The name itself where all file systems take it; else something like it, and its hash."""
    safe = re.sub(r"[^\w.+-]+", "_", name)[:60]
    # dots may lead elsewhere, and some file systems do not tell upper from lower case
    is_plain = safe == name.lower() and not safe.startswith(".") and not safe.endswith(".")
    return name if is_plain else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:4]}"
