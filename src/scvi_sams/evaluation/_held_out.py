"""Conditions of which no cell is trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scvi_sams.data._names import as_tuple, listed, nearest
from scvi_sams.data._sources import obs_column
from scvi_sams.evaluation._condition_table import ConditionTable, perturbations_of
from scvi_sams.evaluation._split_record import (
    check_shares,
    generator,
    stratified_ranks,
    write_split,
)

if TYPE_CHECKING:
    from anndata import AnnData


class HeldOut:
    """Conditions to hold out, drawn so that what they show stays known from others.

    Attributes
    ----------
    table
        The conditions.
    is_out
        Whether each is held out.
    """

    def __init__(self, adata: AnnData, **columns: Any) -> None:
        self._adata = adata
        self._settings = dict(columns)
        self.table = ConditionTable.of(adata, **columns)
        self.is_out = np.zeros(len(self.table.parts), dtype=bool)
        if not self.table.is_control.any():
            raise ValueError("No cell is a control; name their label: `control=`.")

    def draw(
        self,
        candidates: Sequence[bool],
        share: float,
        seed: int,
        what: str,
        shows: Sequence[tuple[Hashable, ...]] | None = None,
    ) -> None:
        """Hold out a share of the candidates, in random order.

        Each condition ``shows`` something that another one left must show too: its perturbations,
        unless said otherwise.

        Raises
        ------
        ValueError
            If the share is not between 0 and 1, the seed is none, or there is nothing to hold out.
        """
        check_shares(test_share=share)
        self._settings["test_share"] = share
        rows = np.flatnonzero(candidates)
        shows = self.table.parts if shows is None else shows
        n_known = Counter(item for items in shows for item in items)
        n_left = max(round(share * len(rows)), 1)
        for row in generator(seed).permutation(rows):
            if n_left and all(n_known[item] > 1 for item in shows[row]):
                self.is_out[row] = True
                n_known.subtract(shows[row])
                n_left -= 1
        if not self.is_out.any():
            raise ValueError(
                f"Column {self._settings['perturbation_key']!r} has no {what} to hold out without "
                "making a perturbation unknown."
            )

    def choose(self, labels: Sequence[str], candidates: Sequence[bool], what: str) -> None:
        """Hold out the candidates of some labels.

        Raises
        ------
        ValueError
            If there are no labels, or one is no candidate or shows a perturbation that no
            condition left does.
        """
        if not labels:
            raise ValueError(f"`held_out` is empty; name at least one {what}.")
        row_of = {self.table.parts[row]: row for row in np.flatnonzero(candidates)}
        settings = self._settings
        for label in labels:
            parts = perturbations_of(label, as_tuple(settings["control"]), settings["delimiter"])
            if parts not in row_of:
                raise ValueError(
                    f"{label!r} is no {what} of the data"
                    f"{nearest(label, [self.table.name(int(row)) for row in row_of.values()])}."
                )
            self.is_out[row_of[parts]] = True
        left = {part for row in np.flatnonzero(~self.is_out) for part in self.table.parts[row]}
        for row in np.flatnonzero(self.is_out):
            unknown = sorted(set(self.table.parts[row]) - left)
            if unknown:
                raise ValueError(
                    f"Without {self.table.name(int(row))!r} no cell shows {listed(unknown)}; "
                    f"hold out a {what} whose perturbations others show too."
                )
        settings["held_out"] = list(labels)

    def write(
        self,
        method: str,
        control_share: float,
        validation_share: float,
        seed: int,
        key_added: str,
        *,
        seen_share: float = 0.0,
    ) -> None:
        """Write the split: held-out conditions and some cells of the others are for test.

        Raises
        ------
        ValueError
            If a share is not between 0 and 1.
        """
        check_shares(
            control_share=control_share, validation_share=validation_share, seen_share=seen_share
        )
        table = self.table
        rank = stratified_ranks(table.of_cell, generator(seed, 1))
        is_control, is_out = table.is_control[table.of_cell], self.is_out[table.of_cell]
        shift = np.where(is_control, control_share, seen_share)
        is_test = is_out | (rank < shift)
        is_validation = ~is_test & (rank < shift + validation_share * (1 - shift))
        settings = self._settings | {
            key: list(as_tuple(self._settings.get(key))) for key in ("control", "covariate_keys")
        }
        shares = {
            "control_share": control_share,
            "validation_share": validation_share,
            "seen_share": seen_share or None,
        }
        write_split(
            self._adata,
            is_test,
            is_validation,
            method=method,
            settings={
                key: value for key, value in (settings | shares).items() if value is not None
            },
            seed=seed,
            key_added=key_added,
        )


def check_no_leak(
    adata: AnnData,
    *,
    perturbation_key: str,
    control: str | Sequence[str],
    split_key: str = "split",
    delimiter: str | None = "+",
    covariate_keys: str | Sequence[str] | None = None,
) -> None:
    """Check that no condition of the test cells was trained on or stopped by, controls aside.

    ``"A+B"`` and ``"B+A"`` are one condition, and so are ``"A"`` and ``"A+control"``.

    Parameters
    ----------
    adata
        Cells with a split.
    perturbation_key, control, delimiter, covariate_keys
        What makes a condition, as in the functions that split by it.
    split_key
        Column of obs, of ``"train"``, ``"val"`` and ``"test"``.

    Raises
    ------
    KeyError
        If a column is missing.
    ValueError
        If a condition has cells in test and in another part.
    """
    table = ConditionTable.of(
        adata,
        perturbation_key=perturbation_key,
        control=control,
        delimiter=delimiter,
        covariate_keys=covariate_keys,
    )
    is_test = (obs_column(adata, split_key, "split_key") == "test").to_numpy()
    tested, learned = (np.zeros(len(table.parts), dtype=bool) for _ in range(2))
    tested[table.of_cell[is_test]] = True
    learned[table.of_cell[~is_test]] = True
    leaked = np.flatnonzero(tested & learned & ~table.is_control)
    if len(leaked):
        names = listed([table.name(int(row)) for row in leaked])
        raise ValueError(
            f"{len(leaked)} condition(s) of test have cells in train or val too: {names}. Put all "
            "cells of a condition in one part."
        )
