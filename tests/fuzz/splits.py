"""Strategies of cells to be split and of what is asked, and the conditions read in a plain way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from hypothesis import strategies as st

from tests.fuzz.labels import (
    Labels,
    columns,
    labels,
    naive_reading,
    names,
    rarely,
    tame_names,
)

Condition = tuple[frozenset[str], str]  # what was received, and where

SEEDS = [0, 1, 7, 2**40, np.int64(3)]
ODD_SEEDS = [-1, 1.5, None, "0"]
SHARES = [0.0, 0.1, 0.2, 0.3, 0.5, 0.9, np.float32(0.25), 0]
ODD_SHARES = [-0.1, 1.0, 1.5, np.nan, np.inf]


@dataclass(frozen=True)
class Cells:
    """Cells with labels and contexts.

    Attributes
    ----------
    adata
        With columns ``label`` and ``context``, and another one.
    labels
        How labels are to be read.
    contexts
        Contexts as text, or None where some are missing.
    """

    adata: ad.AnnData
    labels: Labels
    contexts: list[str] | None

    @property
    def received(self) -> list[frozenset[str]] | None:
        """What each cell received; None where labels are malformed or a control has no cell."""
        rows = naive_reading(self.labels)
        return None if rows is None else [frozenset(row) for row in rows]

    def conditions(self, with_context: bool = False) -> list[Condition] | None:
        """Condition of each cell; None where it cannot be said."""
        received = self.received
        if received is None or (with_context and self.contexts is None):
            return None
        where = self.contexts if with_context else [""] * len(received)
        assert where is not None
        return list(zip(received, where, strict=True))

    @property
    def columns(self) -> dict[str, Any]:
        """Arguments that say how to read the labels."""
        return {
            "perturbation_key": "label",
            "control": self.labels.control,
            "delimiter": self.labels.delimiter,
        }


@st.composite
def combined_labels(draw: st.DrawFn) -> Labels:
    """Controls, single perturbations and pairs, one to six cells of each, in any order."""
    pool = draw(st.lists(tame_names, min_size=2, max_size=4, unique=True))
    delimiter = draw(st.sampled_from(["+", "+", "_", "++", "|"]))
    control = draw(st.sampled_from(["control", "NT", ["NT", "control"]]))
    own = [control] if isinstance(control, str) else control
    pairs = [delimiter.join(pair) for pair in permutations([*pool, own[0]], 2)]
    some = draw(st.lists(st.sampled_from([*pool, *pairs]), min_size=2, max_size=9, unique=True))
    raw = [label for label in [*own, *some] for _ in range(draw(st.integers(1, 6)))]
    np.random.default_rng(draw(st.integers(0, 2**32 - 1))).shuffle(raw)
    return Labels(draw(columns(raw)), raw, control, delimiter, None)


@st.composite
def cells(draw: st.DrawFn) -> Cells:
    """Some cells, mostly of tame labels and two contexts."""
    if draw(rarely(4)):
        drawn = draw(labels(draw(st.integers(1, 8))))
        drawn = Labels(drawn.column, drawn.raw, drawn.control, drawn.delimiter, None)
    else:
        drawn = draw(combined_labels())
    n_cells = len(drawn.raw)
    pool = draw(
        st.one_of(
            st.just(["x", "y"]),
            st.just(["x", "y"]),
            st.lists(names, min_size=1, max_size=3, unique=True),
            st.sampled_from([[0, 1], [0.5, 1.5], [True, False], ["nan", "None"]]),
        )
    )
    raw: list[Any] = [draw(st.sampled_from(pool)) for _ in range(n_cells)]
    if draw(rarely(15)):
        raw[-1] = draw(st.sampled_from([None, np.nan, pd.NA]))
    adata = ad.AnnData(np.ones((n_cells, 1), np.float32))
    adata.obs_names = [f"cell {i}" for i in range(n_cells)]
    adata.obs["label"] = _without_index(drawn.column)
    adata.obs["context"] = _without_index(draw(columns(raw)))
    adata.obs["n"] = np.arange(n_cells)
    held = list(adata.obs["context"])
    bad = any(pd.isna(value) or "\0" in str(value) for value in held)
    return Cells(adata, drawn, None if bad else [str(value) for value in held])


def _without_index(column: Any) -> Any:
    return list(column) if isinstance(column, pd.Series) else column


shares = st.sampled_from(SHARES * 8 + ODD_SHARES)
seeds = st.sampled_from(SEEDS * 12 + ODD_SEEDS)


@st.composite
def requests(draw: st.DrawFn, *share_names: str) -> dict[str, Any]:
    """Shares, of which some are left to their defaults, a seed and a column to write."""
    asked = {name: draw(shares) for name in share_names if draw(st.booleans())}
    asked["seed"] = draw(seeds)
    return asked | {"key_added": draw(st.sampled_from(["split"] * 20 + ["my part", "label"]))}


def is_sound(asked: dict[str, Any]) -> bool:
    """Whether shares are shares, the seed is one, and no column is overwritten that is read."""
    given = [value for name, value in asked.items() if name.endswith("_share")]
    seed = asked["seed"]
    return (
        all(0 <= share < 1 for share in given)
        and isinstance(seed, int | np.integer)
        and seed >= 0
        and asked["key_added"] != "label"
    )


def known_without(conditions: set[Condition], out: set[Condition]) -> set[str]:
    """Perturbations that conditions show which are not held out."""
    return {name for received, _ in conditions - out for name in received}


def can_be_spared(condition: Condition, conditions: set[Condition]) -> bool:
    """Whether others show all that a condition does."""
    return condition[0] <= known_without(conditions, {condition})


def cuts(n: int, share: float) -> tuple[int, int]:
    """Fewest and most of n cells that are a share of them, to a cell."""
    exact = round(share * n, 9)
    return int(np.floor(exact)), int(np.ceil(exact))


def parts_by_condition(
    conditions: list[Condition], split: pd.Series
) -> dict[Condition, Counter[str]]:
    """How many cells of each condition are in which part."""
    found: dict[Condition, Counter[str]] = {}
    for condition, part in zip(conditions, split, strict=True):
        found.setdefault(condition, Counter())[part] += 1
    return found
