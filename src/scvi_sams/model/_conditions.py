"""Conditions that are asked of a model: perturbations, their doses, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata.utils import make_index_unique

from scvi_sams._constants import REGISTRY_KEYS
from scvi_sams._scvi import _SETUP_ARGS_KEY
from scvi_sams.data._field import PerturbationField
from scvi_sams.data._labels import doses_of_parts, split_label
from scvi_sams.data._names import as_tuple, listed, nearest, positions
from scvi_sams.model._base import PerturbationModel

Array = npt.NDArray[np.float64]
Doses = float | str | Sequence[float | str]


class Condition(NamedTuple):
    """Perturbations that cells receive together.

    Attributes
    ----------
    label
        As it was asked for, such as ``"KLF1+MAP2K6"``.
    members, doses
        Positions of the perturbations in the model, sorted, and the dose of each; of shape D.
    """

    label: str
    members: npt.NDArray[np.intp]
    doses: npt.NDArray[np.float64]

    @property
    def dose(self) -> float:
        """The dose that all perturbations share; NaN if they differ or there are none."""
        return float(self.doses[0]) if len(set(self.doses)) == 1 else np.nan

    @property
    def key(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Equal for equal conditions; doses in the precision of data, and none of zero."""
        given = self.doses != 0
        doses = self.doses[given].astype(np.float32)
        return tuple(self.members[given].tolist()), tuple(doses.tolist())


NO_PERTURBATION = Condition("control", np.array([], dtype=np.intp), np.array([]))


def received(packed: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.intp], Array]:
    """Positions of the perturbations that a cell received, sorted, and their doses; each of D.

    Parameters
    ----------
    packed
        Packed perturbations of the cell, of shape 2D; those of dose 0 are padding.
    """
    index, doses = np.split(packed, 2)
    order = np.argsort(index[doses != 0])
    return (
        index[doses != 0][order].astype(np.intp),
        doses[doses != 0][order].astype(np.float64),
    )


class SeenConditions:
    """What perturbations, together and at which doses, the training cells received.

    Parameters
    ----------
    packed
        Packed perturbations of one cell of each kind, kinds × 2D.
    n_cells
        Number of training cells of each kind.

    Attributes
    ----------
    n_cells
        Number of training cells of each set of perturbations, by its sorted positions.
    doses
        Doses of each perturbation, sorted, by its position.
    """

    def __init__(self, packed: npt.NDArray[np.float32], n_cells: npt.NDArray[np.int64]) -> None:
        self.n_cells: dict[tuple[int, ...], int] = {}
        doses: dict[int, set[float]] = {}
        for row, count in zip(packed, n_cells.tolist(), strict=True):
            members, amounts = received(row)
            key = tuple(members.tolist())
            self.n_cells[key] = self.n_cells.get(key, 0) + count
            for member, dose in zip(key, amounts.tolist(), strict=True):
                doses.setdefault(member, set()).add(dose)
        self.doses = {member: np.array(sorted(some)) for member, some in doses.items()}

    def dose_support(self, condition: Condition) -> str:
        """Whether the doses were ``"seen"``, lie ``"between"`` or ``"beyond"`` those seen.

        The worst of the perturbations counts; ``"untrained"`` if one has no training cell.
        """
        order = ["seen", "between", "beyond", "untrained"]
        return max(
            (
                self._support(member, dose)
                for member, dose in zip(condition.members, condition.doses, strict=True)
            ),
            key=order.index,
            default="seen",
        )

    def _support(self, member: int, dose: float) -> str:
        seen = self.doses.get(int(member))
        if seen is None:
            return "untrained"
        if np.isclose(seen, dose, rtol=1e-5, atol=0).any():
            return "seen"
        return "between" if seen[0] < dose < seen[-1] else "beyond"


class ConditionsMixin(PerturbationModel):
    """Reading conditions as the setup reads labels."""

    seen_conditions_: dict[str, Any]

    def _read_conditions(
        self, perturbations: str | Sequence[str] | None, doses: Doses | None
    ) -> list[Condition]:
        """Conditions of labels, every perturbation by default, at doses, 1 by default."""
        names = as_names(self.perturbation_names if perturbations is None else perturbations)
        if not names:
            raise ValueError("`perturbations` is empty; None takes every perturbation.")
        if doses is None:
            doses = 1.0
        given: Sequence[float | str] = [doses] if isinstance(doses, Real | str) else list(doses)  # type: ignore[list-item, arg-type]
        if not given:
            raise ValueError("`doses` is empty; None takes a dose of 1.")
        if len(given) == 1:
            given = [*given] * len(names)
        elif len(names) == 1:
            names *= len(given)
        if len(given) != len(names):
            raise ValueError(
                f"`doses` has {len(given)} entries for {len(names)} conditions. Give one for "
                "all, or one for each."
            )
        return [self._condition(name, dose) for name, dose in zip(names, given, strict=True)]

    def _condition(self, label: str, dose: float | str) -> Condition:
        control = self._control_labels
        known = self.perturbation_names
        delimiter = self.registry[_SETUP_ARGS_KEY].get("delimiter", "+")
        if not isinstance(label, str) or not label.strip():
            raise ValueError(f"A condition is a name such as {known[0]!r}; one is {label!r}.")
        parts: tuple[str, ...] = (label,)
        if label not in known:
            parts = split_label(label, control, delimiter, "perturbations")
        delimiter = delimiter or "+"
        received = doses_of_parts(parts, dose, control, delimiter, label, "`doses`")
        # in one order, so that A+B and B+A share their random numbers
        names = sorted(received)
        if self._one_perturbation_per_cell and len(names) > 1:
            raise ValueError(
                f"{label!r} is a combination, and this model takes one perturbation per cell. "
                "Set the data up with `delimiter=None` to take combinations as perturbations of "
                "their own."
            )
        unknown = [name for name in names if name not in known]
        if unknown:
            hint = nearest(unknown[0], [*known, *control])
            raise ValueError(
                f"The model does not know the perturbation(s) {listed(unknown)}{hint}. Ask for "
                "those that it was set up with, or for combinations of them."
            )
        members = positions(names, known)
        order = np.argsort(members)
        return Condition(label, members[order], np.array([received[n] for n in names])[order])

    @property
    def _control_labels(self) -> list[str]:
        state = self.get_state_registry(REGISTRY_KEYS.PERTURBATIONS)
        labels = list(state[PerturbationField.CONTROL_KEY])
        # what results call it; several labels, a matrix of dosages or a screen without any
        # give it no other name
        if NO_PERTURBATION.label not in [*labels, *self.perturbation_names]:
            labels.append(NO_PERTURBATION.label)
        return labels

    def _name_of(self, condition: Condition) -> str:
        """Label of a condition, with its doses unless all are 1."""
        if (condition.doses == 1).all():
            return condition.label
        if not np.isnan(condition.dose):
            return f"{condition.label} ({condition.dose:g})"
        names = self.perturbation_names[condition.members]
        return spelled(names, condition.doses, self._delimiter)

    @property
    def _delimiter(self) -> str:
        return self.registry[_SETUP_ARGS_KEY].get("delimiter") or "+"

    def _obs_of(self, conditions: Sequence[Condition]) -> pd.DataFrame:
        """What is known of each condition, one row each, under unique names."""
        seen = SeenConditions(**self.seen_conditions_)
        labels = pd.Series([condition.label for condition in conditions])
        names = [self._name_of(condition) for condition in conditions]
        n_cells = [seen.n_cells.get(tuple(map(int, c.members)), 0) for c in conditions]
        return pd.DataFrame(
            {
                "perturbation": labels.to_numpy(),
                "dose": [condition.dose for condition in conditions],
                "trained": np.array(n_cells) > 0,
                "n_cells": n_cells,
                "dose_support": [seen.dose_support(condition) for condition in conditions],
            },
            index=make_index_unique(pd.Index(names, dtype=object)),
        )


def spelled(names: Iterable[str], doses: Array, delimiter: str) -> str:
    """Label of perturbations that cells receive together, with their doses unless all are 1.

    ``"A+B"``, ``"A+B (0.5)"`` if both have the dose 0.5, or else ``"A (1)+B (0.5)"``.
    """
    label = delimiter.join(names)
    if len(set(doses)) > 1:
        return delimiter.join(f"{n} ({d:g})" for n, d in zip(names, doses, strict=True))
    return label if not len(doses) or doses[0] == 1 else f"{label} ({doses[0]:g})"


def as_names(names: object) -> tuple[str, ...]:
    """One name, or those of any iterable (also a pandas one), as a tuple of strings."""
    several = isinstance(names, Iterable) and not isinstance(names, str)
    return as_tuple(list(names) if several else names)  # type: ignore[arg-type, call-overload]
