"""Perturbation names: said clearly when one is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import numpy as np
import numpy.typing as npt
import pandas as pd

_OF_CONTROLS = re.compile(
    r"((neg|negative|nt|(non|safe)[-_ ]?targeting)[-_ ]?)?(control|ctrl)s?[-_ ]?\d*|"
    r"(non|safe)[-_ ]?targeting([-_ ](s?g?rna|guide)s?)?[-_ ]?\d*|ntc?[-_ ]?\d*|"
    r"no[-_ ](s?g?rna|guide)s?|(aavs|rosa26|safe[-_ ]?harbou?r)[-_ ]?\d*|wt|wild[-_ ]?type|"
    r"dmso|vehicle|pbs|mock|untreated|unperturbed|scrambled?",
    re.IGNORECASE,
)


def listed(names: Iterable[object], most: int = 5) -> str:
    """Quote the first few of ``names`` for a message: ``'a', 'b' and 3 more``."""
    quoted = [repr(str(name)) for name in names]
    shown = ", ".join(quoted[:most])
    return f"{shown} and {len(quoted) - most} more" if len(quoted) > most else shown


def resembling(name: str, known: Iterable[str]) -> list[str]:
    """Known names that are like ``name``, the most alike first; three at most."""
    known = list(known)
    matches = [candidate for candidate in known if candidate.lower() == name.lower()]
    return matches or get_close_matches(name, known, n=3, cutoff=0.5)


def nearest(name: object, known: Iterable[str]) -> str:
    """Say which known names resemble ``name``: ``; nearest: 'b', 'c'``, or nothing at all."""
    matches = resembling(str(name), known)
    return f"; nearest: {listed(matches)}" if matches else ""


def like_controls(names: Iterable[str]) -> list[str]:
    """Names that screens give to cells that were not perturbed, such as ``"non-targeting"``."""
    return [name for name in names if _OF_CONTROLS.fullmatch(name.strip())]


def as_tuple(names: str | Sequence[object] | npt.NDArray[np.object_] | None) -> tuple[str, ...]:
    """One name, several or none, as a tuple of strings."""
    if names is None:
        return ()
    if isinstance(names, str) or not isinstance(names, Sequence | np.ndarray):
        return (str(names),)
    return tuple(str(name) for name in names)


def as_text(column: pd.Series, what: str) -> pd.Series:
    """A complete column as text; ``what`` it is says an error.

    Raises
    ------
    ValueError
        If a value has a NUL character, at which pandas ends a text: names that differ after one
        would be equal.
    """
    # categories may be anything that can be hashed, and pandas casts few of these
    kind = column.dtype
    is_any = isinstance(kind, pd.CategoricalDtype) and kind.categories.dtype == object
    text = (column.astype(object) if is_any else column).astype(str)
    if "\0" in "".join(text):
        culprit = next(value for value in text if "\0" in value)
        raise ValueError(f"{what} holds {culprit!r}, with a NUL character. Rename it.")
    return text


def positions(names: Sequence[str], known: npt.NDArray[np.object_]) -> npt.NDArray[np.intp]:
    """Position of each of ``names`` among the perturbations a model knows.

    Parameters
    ----------
    names
        Perturbations asked for.
    known
        Perturbations of the model, in its order.

    Returns
    -------
    Array of shape ``(len(names),)``.

    Raises
    ------
    ValueError
        If a name is unknown; the message gives the nearest known ones.
    """
    lookup = {name: position for position, name in enumerate(known)}
    unknown = [name for name in names if name not in lookup]
    if unknown:
        hint = nearest(unknown[0], known)
        raise ValueError(
            f"The model does not know the perturbation(s) {listed(unknown)}{hint}. "
            "It can only be used on the perturbations that it was set up with."
        )
    return np.array([lookup[name] for name in names], dtype=np.intp)
