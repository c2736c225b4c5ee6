"""What predicts: a model of this package, a predictor from elsewhere, or predictions."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from string import Formatter
from typing import Any

from lightning.pytorch import Trainer
from pydantic import Field
from scvi.train import Trainer as ScviTrainer
from scvi.train import TrainingPlan

from scvi_sams.benchmark._fields import Bounds, Values, WholeBounds
from scvi_sams.benchmark._section import Problem, Section, items, mapping, meant, unknown_key
from scvi_sams.benchmark._signatures import argument_problems, parameters
from scvi_sams.evaluation._means import COUNTS, LOG1P_CP10K
from scvi_sams.model._conditional import ConditionalVAE
from scvi_sams.model._cpavae import CPAVAE
from scvi_sams.model._samsvae import SAMSVAE
from scvi_sams.model._svaeplus import SVAEPlus
from scvi_sams.train._plan import SAMSTrainingPlan

MODELS = {cls.__name__: cls for cls in (SAMSVAE, CPAVAE, SVAEPlus, ConditionalVAE)}

# arguments that a config does not give, and where they come from
_OF_CONSTRUCTOR = dict.fromkeys(("adata", "registry"), "the dataset")
_OF_TRAIN = dict.fromkeys(
    ("split_key", "train_size", "validation_size", "shuffle_set_split"), "the split"
)
_OF_PLAN = {"module": "the model"}
_OF_SETUP = dict.fromkeys(
    (
        "adata",
        "perturbation_key",
        "perturbation_obsm_key",
        "control",
        "delimiter",
        "layer",
        "batch_key",
        "categorical_covariate_keys",
    ),
    "the dataset",
)
_TEMPLATE = "{dataset}, {split} and {seed}"
_GOES_WITH = {
    "settings": ("model", "predictor"),
    "train": ("model",),
    "setup": ("model",),
    "tune": ("model",),
    "units": ("predictions",),
}


class Space(Section):
    """Values of a parameter to choose from: exactly one of a list and three distributions.

    Attributes
    ----------
    choice
        Values, equally likely.
    uniform, loguniform
        Lowest and highest value; uniform, or uniform in the logarithm.
    randint
        Lowest whole number, and the one after the highest.
    """

    choice: Values | None = None
    uniform: Bounds | None = None
    loguniform: Bounds | None = None
    randint: WholeBounds | None = None

    @classmethod
    def problems(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Whether there is one kind, and its logarithm."""
        kinds = [kind for kind in cls.model_fields if given.get(kind) is not None]
        if len(kinds) != 1:
            yield (), "needs exactly one of `choice`, `uniform`, `loguniform` and `randint`"
        lowest = next(iter(items(given.get("loguniform"))), None)
        if isinstance(lowest, int | float) and lowest <= 0:
            yield ("loguniform",), f"must be of positive numbers; the lowest is {lowest}"

    @property
    def kind(self) -> str:
        """Name of the one that is given."""
        return next(kind for kind in type(self).model_fields if getattr(self, kind) is not None)

    @property
    def values(self) -> tuple[Any, ...]:
        """Its values or bounds."""
        return getattr(self, self.kind)


class Tune(Section):
    """How parameters are chosen, by the bound of the validation cells.

    Attributes
    ----------
    n_samples
        Number of settings that are tried.
    search
        Values of each parameter: of the model, of ``train`` or of the training plan.
    """

    n_samples: int = Field(10, ge=1)
    search: dict[str, Space] = Field(min_length=1)


class Model(Section):
    """A model, a predictor or predictions.

    Attributes
    ----------
    model
        Name of a model of this package.
    predictor
        ``"module:Class"`` of anything with ``fit`` and ``predict`` as ``sams.baselines`` have.
    predictions
        Files with ``{dataset}``, ``{split}`` and ``{seed}`` in their name, relative to the config.
    units
        What values of ``predictions`` are: counts, or log1p counts per 10,000.
    settings
        Arguments of the constructor.
    train, setup
        Arguments of ``train`` and of ``setup_anndata``, beside those of split and dataset.
    tune
        Parameters to choose for each training.
    """

    model: str | None = None
    predictor: str | None = None
    predictions: str | None = None
    units: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)
    setup: dict[str, Any] = Field(default_factory=dict)
    tune: Tune | None = None

    @classmethod
    def problems(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Which of the three it is, and what does not go with it."""
        kinds = [kind for kind in _CHECKS if given.get(kind) is not None]
        if len(kinds) != 1:
            also = f"; there are {' and '.join(kinds)}" if kinds else ""
            yield (), f"needs exactly one of `model`, `predictor` and `predictions`{also}"
            return
        for key, goes_with in _GOES_WITH.items():
            if given.get(key) and kinds[0] not in goes_with:
                yield (key,), f"goes with `{'` or `'.join(goes_with)}`, not with `{kinds[0]}`"
        if isinstance(given[kinds[0]], str):
            yield from _CHECKS[kinds[0]](given[kinds[0]], given)


def _model_problems(name: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    if name not in MODELS:
        yield ("model",), f"no model is called {name!r}{meant(name, MODELS)}"
        return
    model = MODELS[name]
    settings, train = mapping(given.get("settings")), mapping(given.get("train"))
    plan, setup = mapping(train.get("plan_kwargs")), mapping(given.get("setup"))
    for argument, message in argument_problems(settings, model, _OF_CONSTRUCTOR):
        yield ("settings", argument), message
    further = (ScviTrainer, Trainer)
    for argument, message in argument_problems(train, model.train, _OF_TRAIN, further):
        of_plan = argument in parameters(SAMSTrainingPlan)
        yield ("train", argument), "belongs under `plan_kwargs`" if of_plan else message
    for argument, message in argument_problems(plan, SAMSTrainingPlan, _OF_PLAN, [TrainingPlan]):
        yield ("train", "plan_kwargs", argument), message
    for argument, message in argument_problems(setup, model.setup_anndata, _OF_SETUP):
        yield ("setup", argument), message
    taken = _OF_PLAN | _OF_CONSTRUCTOR | _OF_TRAIN
    known = [k for k in parameters(model, model.train, SAMSTrainingPlan) if k not in taken]
    for parameter in mapping(mapping(given.get("tune")).get("search")):
        where = ("tune", "search", parameter)
        if parameter not in known:
            yield where, unknown_key(parameter, known)
        elif parameter in {**settings, **train, **plan}:
            yield where, "has a value in `settings` or `train` already; leave one of them out"


def _predictor_problems(name: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    try:
        predictor = imported(name)
    except Exception as error:  # noqa: BLE001  # the module may do anything
        yield ("predictor",), f"cannot be imported: {error}"
        return
    for method in ("fit", "predict"):
        if not callable(getattr(predictor, method, None)):
            yield ("predictor",), f"{name!r} has no method `{method}`"
    try:
        inspect.signature(predictor).bind(**mapping(given.get("settings")))
    except TypeError as error:
        yield ("settings",), f"{name!r} does not take them: {error}"


def _predictions_problems(template: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        yield ("predictions",), f"has braces that do not fit together: {error}"
        return
    for field in fields:
        if field not in ("dataset", "split", "seed"):
            yield ("predictions",), f"may hold {_TEMPLATE}, not {{{field}}}"
    units, known = given.get("units"), (COUNTS, LOG1P_CP10K)
    if units is None:
        yield ("units",), f"is missing; it must be {known[0]!r} or {known[1]!r}"
    elif isinstance(units, str) and units not in known:
        yield ("units",), f"must be {known[0]!r} or {known[1]!r}, not {units!r}"


_CHECKS = {
    "model": _model_problems,
    "predictor": _predictor_problems,
    "predictions": _predictions_problems,
}


def imported(name: str) -> type[Any]:
    """The class that ``"module:Class"`` names.

    Raises
    ------
    ImportError
        If there is none.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute) or module.startswith("."):
        raise ImportError(f"{name!r} is not of the form 'package.module:Class'")
    found = getattr(import_module(module), attribute, None)
    if found is None:
        raise ImportError(f"module {module!r} has no {attribute!r}")
    return found
