"""What a benchmark runs: datasets × splits × models × seeds, checked before anything runs."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PrivateAttr, ValidationError

from scvi_sams import baselines, splits
from scvi_sams.benchmark._dataset import Dataset
from scvi_sams.benchmark._fields import Names, Seeds, SomeNames
from scvi_sams.benchmark._model import Model
from scvi_sams.benchmark._section import Problem, Section, items, mapping, meant, shown
from scvi_sams.benchmark._signatures import argument_problems, expected_instead, parameters
from scvi_sams.benchmark._terms import CEILING, REFERENCES
from scvi_sams.benchmark._yaml import Mistake, read_yaml
from scvi_sams.data._download import FOLDER_VARIABLE, data_folder
from scvi_sams.data._screens import SCREENS
from scvi_sams.evaluation._scores import DIRECTION

BASELINES = tuple(name for name in baselines.__all__ if name != "Baseline")
METRICS = (*DIRECTION, "iwelbo")
METHODS: dict[str, Callable[..., None]] = {
    name: getattr(splits, name)
    for name in splits.__all__
    if "key_added" in inspect.signature(getattr(splits, name)).parameters
}

_OF_SPLITS = dict.fromkeys(("adata", "seed", "key_added"), "the benchmark") | dict.fromkeys(
    ("perturbation_key", "control", "delimiter", "covariate_keys"), "the dataset"
)
_MAY_BE_MISSING = ("delimiter", "batch_key", "covariate_keys")  # in a dataset


class ConfigError(ValueError):
    """A config has mistakes; the message has a line for each."""


class Split(Section):
    """A split of cells: a function of ``sams.splits`` and its arguments.

    Attributes
    ----------
    method
        Name of the function. All other keys are its arguments.
    """

    model_config = ConfigDict(extra="allow")

    method: str

    @classmethod
    def problems(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Whether the function exists, and takes the arguments."""
        method = given.get("method")
        if not isinstance(method, str):
            return
        if method not in METHODS:
            yield ("method",), f"no split is called {method!r}{meant(method, METHODS)}"
            return
        own = {key: value for key, value in given.items() if key != "method"}
        for argument, message in argument_problems(own, METHODS[method], _OF_SPLITS):
            yield (argument,), message

    def arguments(self, dataset: Dataset) -> dict[str, Any]:
        """Arguments of the function for a dataset, whose columns it gets where it takes them."""
        takes = parameters(METHODS[self.method])
        columns = dataset.columns
        if dataset.batch_key is not None:
            columns["batch_key"] = dataset.batch_key
        return {key: value for key, value in columns.items() if key in takes} | (
            self.model_extra or {}
        )


class Benchmark(Section):
    """A benchmark.

    Attributes
    ----------
    name
        What the report is called.
    data_folder
        Where files of data are.
    datasets, splits, models
        By the names that results have.
    baselines, metrics
        Names of baselines, and of metrics; by default all.
    seeds
        Of splits, models and baselines.
    n_cells
        Predicted cells of each condition in each context.
    engine, n_workers, gpus_per_run
        What runs the trainings, how many at a time, and the GPUs that Ray gives to each.
    """

    _folder: Path = PrivateAttr(Path())
    _text: str = PrivateAttr("")

    name: str = Field(min_length=1)
    data_folder: Annotated[Path, Field(strict=False)] = Path()
    datasets: dict[str, Dataset] = Field(min_length=1)
    splits: dict[str, Split] = Field(min_length=1)
    models: dict[str, Model] = Field(default_factory=dict)
    baselines: Names = BASELINES
    seeds: Seeds = (0, 1, 2)
    metrics: SomeNames | None = None
    n_cells: int = Field(1000, ge=1)
    engine: Literal["local", "ray"] = "local"
    n_workers: int = Field(1, ge=1)
    gpus_per_run: float = Field(0, ge=0)

    @classmethod
    def problems(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Names that are unknown, repeated or taken, and columns that splits lack.

        Parameters
        ----------
        given
            What the file holds.

        Yields
        ------
        Where, as a path of keys, and what.
        """
        yield from _unknown(given, ("baselines",), "baseline", BASELINES)
        yield from _unknown(given, ("metrics",), "metric", METRICS)
        for key in ("baselines", "metrics", "seeds"):
            yield from _repeated(given, (key,))
        for key in ("datasets", "splits", "models"):
            if "" in mapping(given.get(key)):
                yield (key, ""), "must have a name"
        for name in mapping(given.get("models")):
            if name in (*BASELINES, CEILING, REFERENCES):
                yield ("models", name), "is what results call a baseline or the ceiling; rename it"
        known = mapping(given.get("splits"))
        for name, dataset in mapping(given.get("datasets")).items():
            where, dataset = ("datasets", name), mapping(dataset)
            if known:
                yield from _unknown(dataset, (*where, "splits"), "split", known)
            yield from _repeated(dataset, (*where, "splits"))
            chosen = dataset.get("splits")
            for split in known if chosen is None else items(chosen):
                for column in _lacking(dataset, mapping(known.get(str(split)))):
                    lacks = f"split {split!r} needs `{column}`, which is not given"
                    yield where, f"{lacks}; add it, or name other `splits`"
        yield from _predictions_of_many(given)

    @property
    def folder(self) -> Path:
        """Folder of the config, which holds predictions and the modules of predictors too."""
        return self._folder

    @property
    def text(self) -> str:
        """The config as it was written."""
        return self._text

    def tasks(self) -> list[tuple[str, str, int]]:
        """What there is to run.

        Returns
        -------
        Dataset, split and seed of every task; those of the first seed come first.
        """
        return [
            (name, split, seed)
            for seed in self.seeds
            for name, dataset in self.datasets.items()
            for split in (self.splits if dataset.splits is None else dataset.splits)
        ]


def read_config(path: str | Path) -> Benchmark:
    """Read and check the config of a benchmark.

    Parameters
    ----------
    path
        A YAML file. Its data folder is relative to it; by default the one that the environment
        variable ``SCVI_SAMS_DATA_DIR`` names, else the folder of the file.

    Returns
    -------
    The benchmark, with the path of its data folder.

    Raises
    ------
    ConfigError
        If there is no such file, or it has mistakes; the message lists all of them by line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no UTF-8 text.") from error
    add_modules_of(path.absolute().parent)
    document = read_yaml(text)
    mistakes = list(document.mistakes)
    if document.content is None and mistakes:  # as a whole, it says nothing
        raise ConfigError(_report(path, mistakes))
    folder = _data_folder(path, mapping(document.content).get("data_folder"))
    try:
        benchmark = Benchmark.model_validate(document.content)
    except ValidationError as error:
        mistakes += [document.mistake(one["loc"], one["msg"]) for one in error.errors()]
    for name, dataset in mapping(mapping(document.content).get("datasets")).items():
        file = mapping(dataset).get("path")
        if isinstance(file, str) and not (folder / file).exists():
            where = ("datasets", name, "path")
            mistakes.append(document.mistake(where, f"there is no file {folder / file}"))
    if mistakes:
        raise ConfigError(_report(path, mistakes))
    benchmark = benchmark.model_copy(update={"data_folder": folder})
    benchmark._folder, benchmark._text = path.absolute().parent, text
    return benchmark


def add_modules_of(folder: Path) -> None:
    """Let modules beside a config be imported, after all others."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _report(path: Path, mistakes: list[Mistake]) -> str:
    count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    lines = [f"  {mistake}" for mistake in sorted(mistakes, key=lambda one: one.line)]
    return "\n".join([f"{path.name} has {count}:", *lines])


def _data_folder(config: Path, given: object) -> Path:
    """Folder of the data: the one given, that of the environment, or that of the config."""
    if given is None and os.environ.get(FOLDER_VARIABLE):
        return data_folder().absolute()
    folder = Path(given if isinstance(given, str) else "").expanduser()
    return (config.parent / folder).absolute()


def _unknown(
    given: Mapping[str, Any], where: tuple[str, ...], what: str, known: Iterable[str]
) -> Iterator[Problem]:
    """Names in the list at the end of ``where`` that are not known."""
    for position, name in enumerate(items(given.get(where[-1]))):
        if isinstance(name, str) and name not in known:
            yield (*where, position), f"no {what} is called {name!r}{meant(name, known)}"


def _repeated(given: Mapping[str, Any], where: tuple[str, ...]) -> Iterator[Problem]:
    """What is twice in the list at the end of ``where``."""
    found = items(given.get(where[-1]))
    for position, item in enumerate(found):
        if item in found[:position]:
            yield (*where, position), f"{shown(item)} is there twice"


def _predictions_of_many(given: Mapping[str, Any]) -> Iterator[Problem]:
    """Files of predictions that would be scored on test cells which their model may have seen."""
    known, found = mapping(given.get("splits")), mapping(given.get("datasets")).values()
    chosen = [mapping(dataset).get("splits") for dataset in found]
    n_splits = [len(known if splits is None else items(splits)) for splits in chosen]
    n_seeds = len(items(given.get("seeds", Benchmark.model_fields["seeds"].default)))
    numbers = {"dataset": len(chosen), "split": max(n_splits, default=0), "seed": n_seeds}
    for name, model in mapping(given.get("models")).items():
        template = mapping(model).get("predictions")
        for field, number in numbers.items() if isinstance(template, str) else ():
            if number > 1 and not re.search(rf"{{{field}\W", str(template)):
                message = f"needs {{{field}}}, since there are {number}: their test cells differ"
                yield ("models", name, "predictions"), message


def _lacking(dataset: Mapping[str, Any], split: Mapping[str, Any]) -> Iterator[str]:
    """Columns that a split needs, and neither it nor the dataset names."""
    function = METHODS.get(str(split.get("method")))
    if function is None or dataset.get("loader") not in (None, *SCREENS):
        return
    columns = {"delimiter": "+", **Dataset.completed(dataset)}
    for name, parameter in parameters(function).items():
        value = split.get(name, columns.get(name)) or None
        may_lack = name in _MAY_BE_MISSING and value is None
        if may_lack and expected_instead(None, function, parameter):
            yield name
