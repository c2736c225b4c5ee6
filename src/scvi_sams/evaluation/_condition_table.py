"""What each cell received, whatever the order in which its label names the parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from scvi_sams.data._labels import split_label
from scvi_sams.data._names import as_text, as_tuple, listed, nearest

if TYPE_CHECKING:
    from anndata import AnnData

Parts = tuple[str, ...]


def column(adata: AnnData, key: str, whose: str = "") -> pd.Series:
    """A complete column of obs as text; errors say whose obs it is, such as ``of training``.

    Raises
    ------
    KeyError
        If there is no such column.
    ValueError
        If cells lack a value, or one has a NUL character.
    """
    obs = f"obs {whose}".strip()
    if key not in adata.obs:
        raise KeyError(f"{obs} has no column {key!r}{nearest(key, map(str, adata.obs.columns))}.")
    values = adata.obs[key]
    if values.isna().any():
        missing = values.index[values.isna()]
        raise ValueError(
            f"Column {key!r} of {obs} has no value for {len(missing)} cell(s), first "
            f"{listed(missing, 3)}. Fill them in or drop these cells."
        )
    return as_text(values, f"Column {key!r} of {obs}")


def perturbations_of(
    label: str, controls: Parts, delimiter: str | None, where: str = "perturbations"
) -> Parts:
    """Perturbations that a label names, sorted; none for control.

    Raises
    ------
    ValueError
        If the label is malformed.
    """
    parts = split_label(label, controls, delimiter, where)
    return tuple(sorted({part for part in parts if part not in controls}))


def name_of(key: tuple[Parts, Parts]) -> str:
    """Name of a condition for messages, such as ``A+B in donor1``."""
    parts, values = key
    label = "+".join(parts) or "control"
    return f"{label} in {', '.join(values)}" if values else label


@dataclass(frozen=True)
class ConditionTable:
    """The conditions of some cells: what they received, and in which covariate values.

    Attributes
    ----------
    parts
        Perturbations of each condition, sorted; none for control.
    covariates
        Covariate values of each condition.
    of_cell
        Condition of each cell, of shape ``(n_cells,)``.
    """

    parts: list[Parts]
    covariates: list[Parts]
    of_cell: npt.NDArray[np.intp]

    @classmethod
    def of(
        cls,
        adata: AnnData,
        *,
        perturbation_key: str,
        control: str | Sequence[str] | None,
        delimiter: str | None = "+",
        covariate_keys: str | Sequence[str] | None = None,
        require_control: bool = True,
        whose: str = "",
    ) -> ConditionTable:
        """Read labels and covariates of all cells; errors say whose they are.

        Raises
        ------
        KeyError
            If a column is missing.
        ValueError
            If a label is missing or malformed, or no cell carries a control.
        """
        labels, controls = column(adata, perturbation_key, whose), as_tuple(control)
        covariates = [column(adata, key, whose) for key in as_tuple(covariate_keys)]
        parts_of = {
            label: perturbations_of(label, controls, delimiter, perturbation_key)
            for label in labels.unique()
        }
        if require_control:
            # cells of two control guides carry both, and those of a gene and a control one
            split = (
                split_label(label, controls, delimiter, perturbation_key) for label in parts_of
            )
            carried = {*parts_of, *(part for parts in split for part in parts)}
            absent = [name for name in controls if name not in carried]
            if absent:
                cells = f"cell {whose}".strip()
                raise ValueError(
                    f"No {cells} has the control {absent[0]!r} in column "
                    f"{perturbation_key!r}{nearest(absent[0], parts_of)}. Correct `control=`, or "
                    "add control cells."
                )
        keys = list(zip(labels.map(parts_of), *covariates, strict=True))
        of_cell, kinds = pd.factorize(pd.Series(keys, dtype=object))
        return cls(
            [kind[0] for kind in kinds],
            [tuple(kind[1:]) for kind in kinds],
            of_cell.astype(np.intp),
        )

    @property
    def keys(self) -> list[tuple[Parts, Parts]]:
        """Perturbations and covariate values of each condition."""
        return list(zip(self.parts, self.covariates, strict=True))

    @property
    def is_control(self) -> npt.NDArray[np.bool_]:
        """Whether each condition is without any perturbation."""
        return np.array([not parts for parts in self.parts], dtype=bool)

    def cells(self, conditions: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which cells belong to some of the conditions."""
        return conditions[self.of_cell]

    def name(self, condition: int | np.integer) -> str:
        """Name of a condition for messages."""
        return name_of((self.parts[condition], self.covariates[condition]))
