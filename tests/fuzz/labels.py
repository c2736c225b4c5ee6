"""Strategies of labels as people write them, and a naive reading of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

ODD_NAMES = [
    "control",
    "ctrl",
    "NT",
    "NT+1",
    "KLF1",
    "klf1",
    "A",
    "B",
    "HLA-DR+",
    "CD4_T",
    "a b",
    " A",
    "A ",
    "é ü",
    "e\u0301",
    "基因",
    "🧬",
    "\u200b",
    "\u00a0",
    "A\tB",
    "A\nB",
    "nan",
    "None",
    "NaN",
    "",
    " ",
    "0",
    "1",
    "1.0",
    "-1",
    "1e+3",
    "True",
    "'",
    '"',
    "{}",
    "%s",
    "\\",
    "/",
    "A\0",
    "A\0B",
    "\0",
    "X" * 300,
]
MISSING = [None, np.nan, pd.NA, pd.NaT]


def rarely(chance: int = 10) -> st.SearchStrategy[bool]:
    """True once in so many draws."""
    return st.integers(0, chance - 1).map(lambda n: n == chance - 1)


names = st.one_of(
    st.sampled_from(["A", "B", "KLF1", "MAP2K6", "g7"]),
    st.sampled_from(ODD_NAMES),
    # surrogates are no text that a file or a terminal could hold
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
)
tame_names = st.sampled_from(["A", "B", "C", "KLF1", "MAP2K6", "g7", "é ü", "a b", "1"])
delimiters = st.sampled_from(["+"] * 8 + ["_", "|", " ", ";", "++", ".", "", None, None])


@dataclass(frozen=True)
class Labels:
    """Labels of cells, and how to read them.

    Attributes
    ----------
    column
        One label per cell, as a column of obs.
    raw
        The same labels as a list, before pandas had them.
    control, delimiter, doses
        As in ``setup_anndata``; doses are a list, or None.
    """

    column: Any
    raw: list[Any]
    control: Any
    delimiter: str | None
    doses: list[Any] | None

    @property
    def controls(self) -> list[str]:
        """The controls as a list."""
        if self.control is None:
            return []
        return [self.control] if isinstance(self.control, str) else list(self.control)


@st.composite
def labels(draw: st.DrawFn, n_cells: int, tame: bool | None = None) -> Labels:
    """Labels of some cells; tame ones, by default every other, are seldom malformed."""
    if tame is None:
        tame = draw(st.booleans())
    pool = draw(st.lists(tame_names if tame else names, min_size=2, max_size=5, unique=True))
    delimiter = "+" if tame and not draw(rarely()) else draw(delimiters)
    named = draw(st.sampled_from(["control", "control", "NT", "ctrl", pool[0]]))
    several = draw(st.sampled_from([named, [named], [named, pool[-1]], (named, "ctrl")]))
    control = draw(st.sampled_from([named] * 6 + [several, several, None, [], "absent"]))
    alone = st.sampled_from(pool)
    pad = st.sampled_from(["", "", "", "", " "])
    pairs = st.tuples(alone, pad, pad, st.sampled_from([*pool, named])).map(
        lambda drawn: f"{drawn[0]}{drawn[1]}{delimiter or '+'}{drawn[2]}{drawn[3]}"
    )
    kinds = [alone, st.just(named)]
    if delimiter is not None or draw(st.booleans()):
        kinds.append(pairs)
    raw: list[Any] = [draw(st.one_of(kinds)) for _ in range(n_cells)]
    if draw(rarely(20 if tame else 6)):
        odd = [*MISSING, "", "A++B", "A+A", "A+", 7, 1.5, True, ("A", "B"), "A\0"]
        raw[draw(st.integers(0, n_cells - 1))] = draw(st.sampled_from(odd))
    if draw(rarely()):
        raw = draw(
            st.sampled_from(
                [list(range(n_cells)), [0.5 * i for i in range(n_cells)], [True] * n_cells]
            )
        )
    return Labels(draw(columns(raw)), raw, control, delimiter, draw(doses_beside(raw, delimiter)))


@st.composite
def columns(draw: st.DrawFn, raw: list[Any]) -> Any:
    """A column of obs of some values: text, categorical (some unused) or strings of pandas."""
    kind = draw(st.sampled_from(["object", "object", "category", "category", "unused", "string"]))
    try:
        if kind == "object":
            return pd.Series(raw, dtype=object) if draw(st.booleans()) else list(raw)
        if kind == "string":
            return pd.array([v if isinstance(v, str) else None for v in raw], dtype="string")
        present = list(dict.fromkeys(v for v in raw if not _is_missing(v)))
        unused = ["unused", "a\0b"] if kind == "unused" else []
        return pd.Categorical(raw, categories=[*present, *unused])
    except (TypeError, ValueError):
        return list(raw)


@st.composite
def doses_beside(draw: st.DrawFn, raw: list[Any], delimiter: str | None) -> list[Any] | None:
    """No doses, one per cell, or one per part."""
    kind = draw(st.sampled_from(["none"] * 5 + ["numbers", "parts", "parts", "odd"]))
    if kind == "none":
        return None
    amounts = st.sampled_from([0.5, 1.0, 2.0, 10.0, 0.25, 1e-6, 1e6, 0.0])
    found: list[Any] = [draw(amounts) for _ in raw]
    if kind == "parts" and delimiter:
        for i, label in enumerate(raw):
            n_parts = str(label).count(delimiter) + 1
            found[i] = delimiter.join(str(draw(amounts)) for _ in range(n_parts))
    if kind == "odd":
        odd = [-1.0, "-0.5", "high", "", np.nan, np.inf, "1+2+3", "1e+3", None, True, "0x1", "1_0"]
        found[draw(st.integers(0, len(raw) - 1))] = draw(st.sampled_from(odd))
    return found


def naive_reading(given: Labels) -> list[dict[str, float]] | None:
    """What each cell received, read in the plainest way; None where the labels are malformed."""
    rows = []
    values = list(given.column)
    if given.delimiter == "" or any(map(_is_missing, values)):
        return None
    carried: set[str] = set()
    doses = [1.0] * len(values) if given.doses is None else given.doses
    for value, dose in zip(values, doses, strict=True):
        label = str(value)
        if "\0" in label:
            return None
        parts = [label]
        if label not in given.controls and given.delimiter is not None:
            parts = [part.strip() for part in label.split(given.delimiter)]
        carried |= {label, *parts}
        received = [part for part in parts if part not in given.controls]
        if not all(part.strip() for part in parts) or len(set(received)) < len(received):
            return None
        amounts = _naive_doses(dose, given.delimiter, len(parts))
        if received and (amounts is None or min(amounts) < 0):
            return None
        of_part = dict(zip(parts, amounts or [0.0] * len(parts), strict=True))
        rows.append({part: of_part[part] for part in received})
    return rows if carried.issuperset(given.controls) else None


def _naive_doses(dose: Any, delimiter: str | None, n_parts: int) -> list[float] | None:
    text = str(dose).strip()
    try:
        found = [float(text)] * n_parts
    except ValueError:
        try:
            found = [float(piece) for piece in text.split(delimiter or None)]
        except ValueError:
            return None
    is_fine = len(found) in (1, n_parts) and np.isfinite(found).all()
    return (found * n_parts)[:n_parts] if is_fine else None


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or value != value
