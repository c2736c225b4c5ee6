"""Gene sets, and which of them a panel of genes can tell about."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from scvi_sams.data._names import listed

GeneSets = Mapping[str, Iterable[str]] | str | os.PathLike[str]


def gene_sets_of(gene_sets: GeneSets) -> dict[str, frozenset[str]]:
    """Names and genes of sets, read from a file if ``gene_sets`` is a path.

    Raises
    ------
    TypeError
        If ``gene_sets`` is neither a mapping nor a path, or a set is a single string.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a .gmt, or names a set twice.
    """
    if isinstance(gene_sets, str | os.PathLike):
        return _read_gmt(Path(gene_sets))
    if not isinstance(gene_sets, Mapping):
        raise TypeError(
            "`gene_sets` is a dict of names and genes, or the path of a .gmt file; it is of type "
            f"{type(gene_sets).__name__}."
        )
    for name, genes in gene_sets.items():
        if isinstance(genes, str):
            raise TypeError(
                f"The genes of {str(name)!r} are the string {genes!r}; give a list of names."
            )
    return {str(name): frozenset(map(str, genes)) for name, genes in gene_sets.items()}


def restricted(
    gene_sets: Mapping[str, frozenset[str]], genes: pd.Index, min_genes: int
) -> dict[str, frozenset[str]]:
    """Members of each set among ``genes``; sets that ``genes`` cannot tell about are left out.

    These are sets of fewer than ``min_genes`` of ``genes``, and those of all of them, which leave
    nothing to compare with.

    Raises
    ------
    ValueError
        If no set is left.
    """
    known = frozenset(genes)
    members = {name: its & known for name, its in gene_sets.items()}
    kept = {name: its for name, its in members.items() if min_genes <= len(its) < len(known)}
    if kept:
        return kept
    if not any(gene_sets.values()):
        raise ValueError("`gene_sets` has no genes.")
    whole = [name for name, its in members.items() if its == known]
    some = {name: its for name, its in members.items() if its != known}
    if whole and not any(some.values()):
        raise ValueError(
            f"The gene set(s) {listed(whole)} hold all {len(known)} genes in the data, so that no "
            "gene is left to compare them with, and no other set holds any. Give sets of some of "
            "the genes."
        )
    best = max(some, key=lambda name: len(some[name]))
    theirs = sorted(frozenset().union(*gene_sets.values()))
    message = (
        f"No gene set has at least {min_genes} genes, but not all, of the {len(known)} in the "
        f"data; the most have {len(members[best])} ({best!r}). The data's genes are "
        f"{listed(genes, 3)}; those of the sets {listed(theirs, 3)}."
    )
    lowered = {gene.lower() for gene in known}
    n_either_case = sum(gene.lower() in lowered for gene in theirs)
    if n_either_case > sum(gene in known for gene in theirs):
        message += f" In either case, {n_either_case} would match: write them alike."
    else:
        message += " Give both the same kind of name, or lower `min_genes`."
    raise ValueError(message)


def _read_gmt(path: Path) -> dict[str, frozenset[str]]:
    """Sets of a file with one per line: name, description and genes, separated by tabs."""
    gene_sets: dict[str, frozenset[str]] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            name, *rest = line.rstrip("\r\n").split("\t")
            if not rest:
                raise ValueError(
                    f"{path} is not a .gmt file: line {number} has no tab. Each line is a set's "
                    "name, a description and its genes, separated by tabs."
                )
            if name in gene_sets:
                raise ValueError(f"{path} has several sets named {name!r}; rename or drop some.")
            gene_sets[name] = frozenset(gene.strip() for gene in rest[1:] if gene.strip())
    return gene_sets
