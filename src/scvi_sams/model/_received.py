"""What was done to cells, read from their registered perturbations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from scvi_sams._constants import REGISTRY_KEYS
from scvi_sams._scvi import _SETUP_ARGS_KEY
from scvi_sams.data._field import PerturbationField
from scvi_sams.data._names import as_tuple, listed, nearest
from scvi_sams.model._conditions import received, spelled

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scvi_sams.model._base import PerturbationModel


@dataclass(frozen=True)
class Spelling:
    """How conditions are written.

    Attributes
    ----------
    delimiter
        What joins the perturbations of a combination.
    controls
        Labels that mean *not perturbed*.
    control
        The one name of control cells.
    names
        Names of the perturbations.
    """

    delimiter: str
    controls: tuple[str, ...]
    control: str
    names: npt.NDArray[np.object_]

    @classmethod
    def of(cls, model: PerturbationModel) -> Spelling:
        """Spelling of the model's setup."""
        state = model.get_state_registry(REGISTRY_KEYS.PERTURBATIONS)
        controls = as_tuple(state[PerturbationField.CONTROL_KEY])
        control = controls[0] if len(controls) == 1 else "control"
        names = model.perturbation_names
        return cls(
            model.registry[_SETUP_ARGS_KEY].get("delimiter") or "+",
            controls,
            f"{control} (unperturbed)" if control in names else control,
            names,
        )

    def normalised(self, name: str) -> str:
        """The same condition with its parts in order and without controls."""
        if name in self.names:
            return name
        parts = {part.strip() for part in name.split(self.delimiter)} - {*self.controls}
        return self.delimiter.join(sorted(parts)) or self.control


@dataclass(frozen=True)
class CellConditions:
    """Which condition each of some cells received.

    Attributes
    ----------
    table
        One row per condition, the control first: ``n_cells``, ``perturbation`` (its name) and
        ``dose``, which is NaN unless its perturbations share one. The index adds doses other
        than 1 to the name.
    code
        Row of each cell, of shape ``(n_cells,)``; -1 for none.
    spelling
        How the conditions are written.
    """

    table: pd.DataFrame
    code: npt.NDArray[np.intp]
    spelling: Spelling

    @classmethod
    def of(
        cls, model: PerturbationModel, adata: AnnData | MuData, cells: npt.NDArray[np.intp]
    ) -> CellConditions:
        """Read the conditions of ``cells`` of data that was set up."""
        manager = model.get_anndata_manager(adata, required=True)
        packed = np.asarray(manager.get_from_registry(REGISTRY_KEYS.PERTURBATIONS))[cells]
        kinds, kind = np.unique(packed, axis=0, return_inverse=True)
        spelling = Spelling.of(model)
        rows = [_row(packed_kind, spelling) for packed_kind in kinds]
        table = pd.DataFrame(rows, columns=["label", "perturbation", "dose"])
        # of the control the label is empty, and sorts first
        code, labels = pd.factorize(table["label"].to_numpy()[kind.ravel()], sort=True)
        table = table.drop_duplicates("label").set_index("label").loc[labels]
        table.insert(0, "n_cells", np.bincount(code, minlength=len(labels)))
        table.index = pd.Index([label or spelling.control for label in labels], dtype=object)
        return cls(table, code, spelling)

    def n_controls(self) -> int:
        """Number of control cells."""
        is_control = self.table["perturbation"] == self.spelling.control
        return int(self.table["n_cells"][is_control].sum())

    def only(self, rows: Sequence[int]) -> CellConditions:
        """The same without conditions other than ``rows``."""
        moved = np.full(len(self.table) + 1, -1)
        moved[list(rows)] = np.arange(len(rows))
        return CellConditions(self.table.iloc[list(rows)], moved[self.code], self.spelling)

    def rows(self, asked: str | Sequence[str] | None, min_cells: int) -> list[int]:
        """Rows of the conditions that are asked for and have enough cells; of all if None.

        A name stands for all doses of its condition, unless it says one.

        Raises
        ------
        ValueError
            If a condition is not there or has too few cells, or there is none.
        """
        n_cells = self.table["n_cells"].to_numpy()
        enough = n_cells >= min_cells
        if asked is None:
            if not enough.any():
                raise ValueError(
                    f"None of the {len(self.table)} condition(s) has {min_cells} cells. "
                    "Choose more cells, or lower `min_cells`."
                )
            return np.flatnonzero(enough).tolist()
        if not as_tuple(asked):
            raise ValueError("`perturbations` is empty; None takes every condition.")
        rows: dict[int, None] = {}
        for name in as_tuple(asked):
            wanted = [name, self.spelling.normalised(name)]
            is_meant = self.table.index.isin(wanted)
            is_meant |= self.table["perturbation"].isin(wanted).to_numpy()
            if not is_meant.any():
                raise ValueError(
                    f"No cell received {name!r}{nearest(name, self.table.index)}. The cells "
                    f"received {listed(self.table.index)}."
                )
            if not (is_meant & enough).any():
                raise ValueError(
                    f"Only {n_cells[is_meant].max()} cells received {name!r}, fewer than "
                    f"{min_cells}. Choose more cells, or lower `min_cells`."
                )
            rows.update(dict.fromkeys(np.flatnonzero(is_meant & enough).tolist()))
        return list(rows)


def _row(packed: npt.NDArray[np.float32], spelling: Spelling) -> tuple[str, str, float]:
    """Label, name and dose of packed perturbations (2D); the label of a control is empty."""
    members, doses = received(packed)
    names = [str(name) for name in spelling.names[members]]
    return (
        spelled(names, doses, spelling.delimiter),
        spelling.delimiter.join(names) or spelling.control,
        float(doses[0]) if len(set(doses)) == 1 else np.nan,
    )
