"""Tables and texts of the site that are made when it is built, so that none is typed by hand."""

import contextlib
import io
import os
from importlib import import_module
from pathlib import Path

import pandas as pd

from scvi_sams import cli
from scvi_sams.benchmark._terms import MAIN, arrow, direction
from scvi_sams.data._screens import SCREENS

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
NARROW = "\N{NARROW NO-BREAK SPACE}"
MODULES = ["", "baselines", "benchmark", "datasets", "hub", "metrics", "pl", "pp", "splits", "tl"]
MODULES += ["train"]


def public_modules():
    """Modules whose ``__all__`` the site documents; extras that are not installed left out."""
    modules = []
    for name in MODULES:
        full = f"scvi_sams.{name}".rstrip(".")
        try:
            modules.append(import_module(full))
        except ModuleNotFoundError as error:
            if error.name != full:
                raise
    return modules


def all_of_them():
    """Substitutions by name."""
    scores = pd.read_csv(RESULTS / "leaderboard.csv", keep_default_na=False, na_values=[""])
    scores = scores[scores["metric"].isin(MAIN)]
    return {
        "comparisons": comparisons(scores),
        "count_of_comparisons": count(scores),
        "bounds": bounds(scores),
        "masks_found": masks(),
        "effects_on_papalexi": effects("Papalexi, test cells"),
        "effects_on_norman": effects("Norman, seen conditions"),
        "screens": screens(),
        **{
            f"help_{name}": help_of(name)
            for name in ("demo", "train", "predict", "evaluate", "benchmark")
        },
    }


def comparisons(scores):
    """SAMS-VAE, the best other model and the best baseline: one table for each group."""
    text = []
    for title, group in groups(scores):
        rows = []
        for metric, *three, ceiling in contests(group):
            lead = leaders(three, metric)
            cells = [
                f"**{written(entry)}**" if leads else written(entry)
                for entry, leads in zip(three, lead, strict=True)
            ]
            named = metric.replace("_", r"\_") + arrow(metric)
            rows.append([named, *cells, written(ceiling, name=False)])
        header = ["", "SAMS-VAE", "best other model", "best baseline", "ceiling"]
        text.append(f"**{title}**\n\n{table(header, rows)}")
    return "\n\n".join(text)


def count(scores):
    """How many comparisons of means baselines lead, in a sentence."""
    lead = [
        leaders(three, metric)
        for _, group in groups(scores)
        for metric, *three, _ in contests(group)
    ]
    alone = sum(baseline and not (sams or other) for sams, other, baseline in lead)
    level = sum(baseline and (sams or other) for sams, other, baseline in lead)
    ahead = sum(
        leaders([sams, baseline], metric) == [True, False]
        for _, group in groups(scores)
        for metric, sams, _, baseline, _ in contests(group)
    )
    return (
        f"Of {len(lead)} comparisons a baseline has the best mean in {alone}, a model in "
        f"{len(lead) - alone - level}, and {level} is level. SAMS-VAE with its default settings "
        f"is ahead of the best baseline in {ahead}."
    )


def bounds(scores):
    """Predictive IWELBO of the models, which baselines do not have."""
    bounds = scores[(scores["metric"] == "iwelbo") & scores["mean"].notna()]
    titles = [title for title, _ in groups(bounds)]
    rows = []
    for model in bounds.groupby("model")["mean"].mean().sort_values(ascending=False).index:
        cells = [model]
        for _, group in groups(bounds):
            entry = group[group["model"] == model]
            text = written(entry.iloc[0], name=False) if len(entry) else "–"
            cells.append(f"**{text}**" if len(entry) and entry["best"].iloc[0] else text)
        rows.append(cells)
    return table(["", *titles], rows)


def masks():
    """Recovery of planted masks with the default settings, over model seeds."""
    runs = pd.read_csv(RESULTS / "recovery.csv")
    runs = runs[(runs["setting"] == "defaults") & (runs["data_seed"] == 0)]
    rows = []
    for protocol, some in runs.groupby("protocol", sort=False):
        cells = [spread(some[key]) for key in ("precision", "recall", "f1", "ate_r")]
        rows.append([protocol, str(len(some)), *cells])
    return table(["", "runs", "precision", "recall", "F1", "ATE r"], rows)


def effects(what):
    """Correlation of estimated effects with those of held-out cells, over seeds."""
    runs = pd.read_csv(RESULTS / "effects.csv")
    runs = runs[runs["what"] == what]
    columns = {
        "get_average_treatment_effects": "model",
        "get_combined_effects": "combined",
        "mean of the training cells": "mean of training cells",
        "mean of training and validation cells": "mean of training and validation cells",
    }
    rows = [
        [f"`{name}`" if "_" in name else name, spread(runs[key])] for name, key in columns.items()
    ]
    return table(["", f"{what}: Pearson r"], rows)


def screens():
    """Whom to cite for the public screens."""
    cited = sorted({tuple(screen.citation.rsplit(", ", 1)) for screen in SCREENS.values()})
    return "\n".join(f"- [{who}]({where})" for who, where in cited)


def help_of(command):
    """What ``scvi-sams COMMAND --help`` prints."""
    said = io.StringIO()
    os.environ["COLUMNS"] = "88"
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        cli.main([command, "--help"])
    return f"```text\n{said.getvalue().rstrip()}\n```"


def groups(scores):
    """Scores that are compared with each other, with a title."""
    for (dataset, _, subset), group in scores.groupby(["dataset", "split", "subset"], sort=False):
        kind = {"all": "cells", "seen": "seen conditions", "unseen": "unseen pairs"}[subset]
        yield f"{dataset.capitalize()}, {kind}", group


def contests(group):
    """Metric, and its entries of SAMS-VAE, the best other model and baseline, the ceiling."""
    for metric in MAIN:
        entries = group[(group["metric"] == metric) & group["mean"].notna()]
        baselines = entries[entries["kind"] == "baseline"]
        if not len(baselines):
            continue
        models = entries[entries["kind"] == "model"].set_index("model", drop=False)
        ceiling = entries[entries["kind"] == "ceiling"].iloc[0]
        others = models.drop(index="SAMS-VAE")
        yield (
            metric,
            models.loc["SAMS-VAE"],
            best([row for _, row in others.iterrows()], metric),
            best([row for _, row in baselines.iterrows()], metric),
            ceiling,
        )


def best(entries, metric):
    """The entry of the best mean."""
    return max(entries, key=lambda entry: direction(metric) * entry["mean"])


def leaders(entries, metric):
    """Which entries have the best mean, to three decimals."""
    means = [round(direction(metric) * entry["mean"], 3) for entry in entries]
    return [mean == max(means) for mean in means]


def written(entry, *, name=True):
    """Mean and standard deviation, after the name of whose they are unless that is SAMS-VAE."""
    digits = 2 if abs(entry["mean"]) >= 10 else 3
    number = f"{entry['mean']:.{digits}f} ± {entry['sd']:.{digits}f}".replace("-", "−")
    number = number.replace(" ", NARROW)
    whose = entry["model"].removeprefix("SAMS-VAE").removeprefix(", ") if name else ""
    return f"{whose} {number}".strip()


def spread(values):
    """Mean and standard deviation."""
    return f"{values.mean():.3f} ± {values.std():.3f}".replace(" ", NARROW)


def table(header, rows):
    """A table in Markdown."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
