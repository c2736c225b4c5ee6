"""The report of a benchmark: one HTML file that needs nothing beside it."""

from __future__ import annotations

from importlib.resources import files
from xml.etree.ElementTree import Element

import pandas as pd

from scvi_sams.benchmark._cells import Row, groups, kinds_of, of_group, rows, shortfalls, title
from scvi_sams.benchmark._comparisons import (
    ALONE,
    LEVEL,
    MIXED,
    comparisons,
    overall,
    sentence,
)
from scvi_sams.benchmark._drawings import distribution, forest
from scvi_sams.benchmark._html import (
    breakable,
    element,
    figures,
    folded,
    page,
    plain_table,
    row_head,
    scrolling,
)
from scvi_sams.benchmark._leaderboard import leaderboard
from scvi_sams.benchmark._numbers import MISSING, counted, number, places
from scvi_sams.benchmark._report_appendix import appendix
from scvi_sams.benchmark._terms import (
    BASELINE,
    CEILING,
    CEILING_IS,
    MODEL,
    arrow,
    direction,
    main_metrics,
    ordered,
)

_Key = tuple[str, str, str]


def report(
    scores: pd.DataFrame,
    summary: pd.DataFrame,
    runs: pd.DataFrame,
    *,
    name: str,
    config_text: str | None = None,
) -> str:
    """Write the report of a benchmark.

    Parameters
    ----------
    scores
        ``value`` of each dataset, split, seed, subset, model, kind, perturbation, context and
        metric.
    summary
        Means of these over perturbations, with the bounds of their intervals.
    runs
        Each run's status, message, seconds, split_hash, n_genes and versions.
    name
        Title.
    config_text
        Configuration, as its file has it.

    Returns
    -------
    HTML, the same for the same results; style, script and figures are within.
    """
    board = leaderboard(summary)
    metrics = ordered(board["metric"])
    main = main_metrics(metrics)
    found = comparisons(summary, board)
    keys = groups(summary, runs)
    anchors = {key: f"group-{place}" for place, key in enumerate(keys)}
    sections = [
        element(
            "section",
            element("h2", title(key), id=anchors[key]),
            *_tables(board, runs, key, metrics),
            *_words(of_group(found, key), main),
            *_figures(board, summary, scores, key, main),
        )
        for key in keys
    ]
    style, script = (
        files("scvi_sams.benchmark").joinpath(file).read_text("utf-8")
        for file in ("report.css", "report.js")
    )
    return page(
        name,
        element("h1", name),
        element("p", _about(board, runs, keys), class_="about"),
        *_verdict(found[found["metric"].isin(main)], main, anchors),
        *sections,
        *appendix(runs, kinds_of(board), metrics, config_text),
        style=style,
        script=script,
    )


def _about(board: pd.DataFrame, runs: pd.DataFrame, keys: list[_Key]) -> str:
    models = board.drop_duplicates("model")["kind"].value_counts()
    counts = [
        counted(len({key[0] for key in keys}), "dataset"),
        counted(len({key[:2] for key in keys}), "pair") + " of dataset and split",
        counted(models.get(MODEL, 0), "model"),
        counted(models.get(BASELINE, 0), "baseline"),
        counted(runs["seed"].nunique(), "seed"),
    ]
    return ", ".join(counts) + "."


def _verdict(found: pd.DataFrame, main: list[str], anchors: dict[_Key, str]) -> list[Element]:
    """What came of all comparisons, in words and as a table of who wins where."""
    outcomes = set(found["outcome"]) - {ALONE}
    one = outcomes.pop() if len(outcomes) == 1 else MIXED
    said = element("p", overall(found))
    shown = [metric for metric in main if direction(metric)]
    cells = found.set_index(["dataset", "split", "subset", "metric"])
    body = [
        [
            element("a", title(key), href=f"#{anchor}"),
            *(
                _win(cells.loc[(*key, metric)] if (*key, metric) in cells.index else None)
                for metric in shown
            ),
        ]
        for key, anchor in anchors.items()
    ]
    table = plain_table(
        [
            "dataset · split",
            *(element("span", breakable(metric), arrow(metric)) for metric in shown),
        ],
        body,
    )
    table.set("class", "wins")
    meanings = (
        (MODEL, "a model wins in every seed"),
        (BASELINE, "a baseline wins in every seed"),
        (MIXED, "seeds disagree"),
    )
    return [
        element("div", said, class_=f"verdict {one}"),
        scrolling(table, "Who wins"),
        _key(*((_mark(kind), text) for kind, text in meanings)),
        element(
            "p",
            "The best model against the best baseline by each main metric, both chosen by these "
            "scores; differences are means over the seeds that both have. Arrows point to better "
            f"scores. {CEILING_IS}",
            class_="note",
        ),
    ]


def _win(row: pd.Series | None) -> Element:
    if row is None:
        return element("span", MISSING)
    is_model = row["gap"] > 0 or not row[BASELINE]
    winner = row[MODEL] if is_model else row[BASELINE]
    if row["outcome"] == ALONE:
        lacks = BASELINE if is_model else MODEL
        text = f"no {lacks}" if not row[lacks] else "no seed in common"
    elif row["outcome"] == LEVEL:
        text = f"level with {row[MODEL]}"
    else:
        agree = row["n_better"] if is_model else row["n_worse"]
        size = number(abs(row["gap"]), places(row["gap"], 2))
        text = f"by {size} in {agree}/{counted(row['n_seeds'], 'seed')}"
    return element(
        "span",
        _mark(row["outcome"]),
        winner,
        element("small", text),
        title=sentence(row),
    )


def _mark(outcome: str) -> Element:
    return element("span", class_=f"mark {outcome}", aria_hidden="true")


def _key(*entries: tuple[Element, str]) -> Element:
    return element("p", *(element("span", mark, text) for mark, text in entries), class_="key")


def _tables(
    board: pd.DataFrame, runs: pd.DataFrame, key: _Key, metrics: list[str]
) -> list[Element]:
    """Leaderboard of one group, and why models are missing from it."""
    found = rows(board, runs, key, metrics)
    head = [element("th", "model", scope="col")] + [
        element(
            "th",
            element("button", breakable(metric), arrow(metric), class_="sort", type="button"),
            scope="col",
            data_better=str(direction(metric)),
        )
        for metric in metrics
    ]
    table = element(
        "table",
        element("thead", element("tr", *head)),
        element("tbody", *(_row(row) for row in found if row.kind != CEILING)),
        element("tfoot", *(_row(row) for row in found if row.kind == CEILING)),
        class_="scores",
    )
    reasons = [
        f"{row.model}, seed {row.seeds}: {row.status}"
        for row in of_group(shortfalls(runs), key[:2]).itertuples()
    ]
    note = "Mean ± standard deviation over seeds, best in bold, baselines in italics. "
    note += f"{MISSING} where a score is not defined or a run is missing"
    note += f" ({'; '.join(reasons)})." if reasons else "."
    return [scrolling(table, f"Scores on {title(key)}"), element("p", note, class_="note")]


def _row(row: Row) -> Element:
    cells = [
        element(
            "td",
            cell.text,
            element("small", cell.note) if cell.note else None,
            class_="best" if cell.best else None,
            data_value=f"{cell.value:.6g}" if cell.text != MISSING else "",
        )
        for cell in row.cells
    ]
    return element("tr", row_head(row.model), *cells, class_=row.kind)


def _words(found: pd.DataFrame, main: list[str]) -> list[Element]:
    """A sentence for each metric; those that are not main ones are folded."""
    is_main = found["metric"].isin(main)
    first, others = (
        [
            element("li", _mark(row["outcome"]), element("b", row["metric"]), f": {sentence(row)}")
            for _, row in part.iterrows()
        ]
        for part in (found[is_main], found[~is_main])
    )
    said = [element("ul", *first, class_="words")] if first else []
    if others:
        said.append(folded("Other metrics in words", element("ul", *others, class_="words")))
    return said


def _figures(
    board: pd.DataFrame,
    summary: pd.DataFrame,
    scores: pd.DataFrame,
    group: _Key,
    main: list[str],
) -> list[Element]:
    where = title(group)
    board, summary, scores = (of_group(table, group) for table in (board, summary, scores))
    drawn = []
    for metric in main:
        chosen, seeds = (table[table["metric"] == metric] for table in (board, summary))
        drawn.append(forest(chosen, seeds, where))
    n_each = scores.groupby("metric", observed=True)["perturbation"].nunique()
    of_each = next((metric for metric in main if n_each.get(metric, 0) > 1), None)
    if of_each is not None:
        order = board.loc[board["metric"] == of_each, ["model", "kind"]]
        drawn.append(distribution(scores[scores["metric"] == of_each], order, where))
    found = [one for one in drawn if one]
    if not found:
        return []
    lines = [element("span", class_=f"line {kind}") for kind in ("", BASELINE, CEILING)]
    texts = ("95 % interval over perturbations", "best baseline", "ceiling")
    key = _key(
        (_mark(MODEL), "model"), (_mark(BASELINE), "baseline"), *zip(lines, texts, strict=True)
    )
    note = "Filled marks are means over seeds, open circles seeds."
    if of_each is not None:
        note += (
            " In the last figure each point is a perturbation, its mean over seeds; the black "
            "tick is the median, the thick line holds half of them, the thin one 90 %."
        )
    return [key, figures(found), element("p", note, class_="note")]
