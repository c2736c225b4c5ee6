"""The end of a report: run times, runs without scores, and what was run on what."""

from __future__ import annotations

import json
from xml.etree.ElementTree import Element

import pandas as pd

from scvi_sams.benchmark._cells import shortfalls
from scvi_sams.benchmark._drawings import run_times
from scvi_sams.benchmark._html import breakable, element, figures, folded, plain_table, scrolling
from scvi_sams.benchmark._numbers import MISSING
from scvi_sams.benchmark._terms import DONE, MAIN


def appendix(
    runs: pd.DataFrame, kinds: dict[str, str], metrics: list[str], config_text: str | None
) -> list[Element]:
    """Sections after the results.

    Parameters
    ----------
    runs
        Each run's status, message, seconds, split_hash, n_genes and versions.
    kinds
        Kind of each model.
    metrics
        Those that the report has; the main ones are explained.
    config_text
        Configuration, as its file has it.
    """
    return [*_times(runs, kinds), *_missing(runs), *_details(runs, metrics, config_text)]


def _times(runs: pd.DataFrame, kinds: dict[str, str]) -> list[Element]:
    done = runs[runs["status"] == DONE]
    drawn = [
        run_times(of_dataset, kinds, str(dataset))
        for dataset, of_dataset in done.groupby("dataset", sort=False, observed=True)
    ]
    found = [one for one in drawn if one]
    note = "Each point is a split and seed; the black tick is the median."
    if not found:
        return []
    return [element("h2", "Run times"), figures(found), element("p", note, class_="note")]


def _missing(runs: pd.DataFrame) -> list[Element]:
    found = shortfalls(runs)
    if found.empty:
        return [element("h2", "Runs without scores"), element("p", "None: all runs are done.")]
    body = [
        [
            row.model,
            element("span", f"{row.dataset} · {row.split}", class_="name"),
            row.seeds,
            row.status,
            element("pre", str(row.message)),
        ]
        for row in found.itertuples()
    ]
    table = plain_table(["model", "dataset · split", "seeds", "status", "message"], body)
    return [element("h2", "Runs without scores"), scrolling(table, "Runs without scores")]


def _details(runs: pd.DataFrame, metrics: list[str], config_text: str | None) -> list[Element]:
    explained = plain_table(
        ["metric", "what it measures"],
        ([breakable(name), text] for name, text in MAIN.items() if name in metrics),
    )
    columns = ["dataset", "split", "seed", "split_hash", "n_genes"]
    splits = runs[columns].dropna(subset="split_hash").drop_duplicates()
    body = [
        [row.dataset, row.split, str(row.seed), str(row.split_hash), _count(row.n_genes)]
        for row in splits.itertuples()
    ]
    head = ["dataset", "split", "seed", "hash of the split", "genes"]
    made = [
        element("h2", "Details"),
        folded("Metrics", scrolling(explained, "Metrics")),
        folded("Splits", scrolling(plain_table(head, body), "Splits")),
    ]
    for versions in runs["versions"].dropna().drop_duplicates():
        made.append(folded("Versions", _versions(versions)))
    if config_text is not None:
        made.append(folded("Configuration", element("pre", config_text, tabindex="0")))
    return made


def _count(n: float) -> str:
    return MISSING if pd.isna(n) else f"{int(n):,}"


def _versions(text: object) -> Element:
    """Packages and their versions as a table, if they are a JSON object."""
    try:
        found = json.loads(str(text))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return element("pre", str(text))
    body = [[str(package), str(version)] for package, version in found.items()]
    return scrolling(plain_table(["package", "version"], body), "Versions")
