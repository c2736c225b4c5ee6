"""Datasets × splits × models × seeds, from one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from scvi_sams.benchmark._config import Benchmark, read_config
from scvi_sams.benchmark._data import check_splits
from scvi_sams.benchmark._engine import check_installed, outcomes
from scvi_sams.benchmark._leaderboard import as_markdown, leaderboard
from scvi_sams.benchmark._report import report
from scvi_sams.benchmark._run import collected, is_finished, runs_of
from scvi_sams.benchmark._storage import write_parquet, write_text
from scvi_sams.benchmark._terms import DONE, FAILED


@dataclass(frozen=True, repr=False)
class Results:
    """What a benchmark found.

    Attributes
    ----------
    scores
        One row per dataset, split, seed, subset, model, condition and metric.
    summary
        Mean of each metric over conditions, with a 95 % bootstrap interval, for each seed.
    runs
        Status, time and versions of each run.
    leaderboard
        Mean and standard deviation over seeds.
    """

    scores: pd.DataFrame
    summary: pd.DataFrame
    runs: pd.DataFrame
    leaderboard: pd.DataFrame

    def __repr__(self) -> str:
        """How many runs came to what."""
        counts = self.runs["status"].value_counts()
        return (
            f"Results of {len(self.runs)} runs ("
            + ", ".join(f"{n} {status}" for status, n in counts.items())
            + f"): {len(self.scores)} scores, {len(self.leaderboard)} rows of the leaderboard"
        )


def run(
    config: str | Path | Benchmark,
    out: str | Path,
    *,
    n_workers: int | None = None,
    progress: bool = True,
) -> Results:
    """Train and score all models of a config, and write tables and a report.

    Runs that ended are kept in ``out/runs`` and not repeated, as long as what they depend on is
    the same in the config: an interrupted benchmark goes on where it was, with a trained model
    where it was being scored. Runs that failed are tried again.

    Parameters
    ----------
    config
        A YAML file, or what :func:`read_config` made of it.
    out
        Folder of the results: ``scores.parquet``, ``summary.parquet``, ``runs.parquet``,
        ``leaderboard.csv``, ``leaderboard.md``, ``report.html`` and ``config.yaml``.
    n_workers
        Runs at a time; by default what the config says. A script that asks for several must call
        this under ``if __name__ == "__main__":``, since each process imports it.
    progress
        Whether to show a bar, and a line for each run.

    Returns
    -------
    :class:`Results`; a model that failed or could not predict is named in ``runs``.

    Raises
    ------
    ModuleNotFoundError
        If an optional package is not installed.
    ValueError
        If the config has mistakes, or a dataset cannot be split as it says; all are listed.
    RuntimeError
        If no run succeeded, or a worker process died.
    """
    benchmark = config if isinstance(config, Benchmark) else read_config(config)
    if n_workers is not None:
        benchmark = benchmark.model_copy(update={"n_workers": n_workers})
    check_installed(benchmark)
    out = Path(out)
    runs = runs_of(benchmark)
    left = [each for each in runs if not is_finished(benchmark, each, out)]
    check_splits(benchmark, dict.fromkeys((run.dataset, run.split, run.seed) for run in left))
    out.mkdir(parents=True, exist_ok=True)
    write_text(benchmark.text, out / "config.yaml")
    console = Console(quiet=not progress, stderr=True)
    if len(left) < len(runs):
        console.print(f"{len(runs) - len(left)} of {len(runs)} runs are done already.")
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as bar:
        task = bar.add_task("Runs", total=len(left))
        for record in outcomes(benchmark, left, out):
            bar.advance(task)
            bar.console.print(_line(record))
    return _written(benchmark, out)


def _written(benchmark: Benchmark, out: Path) -> Results:
    scores, summary, runs = collected(runs_of(benchmark), out)
    if summary.empty:
        raise RuntimeError(f"No run succeeded; the first says: {runs['message'].iloc[0]}")
    for table, name in ((scores, "scores"), (summary, "summary"), (runs, "runs")):
        write_parquet(table, out / f"{name}.parquet")
    board = leaderboard(summary)
    write_text(board.to_csv(index=False), out / "leaderboard.csv")
    write_text(as_markdown(summary, runs, name=benchmark.name), out / "leaderboard.md")
    html = report(scores, summary, runs, name=benchmark.name, config_text=benchmark.text)
    write_text(html, out / "report.html")
    return Results(scores, summary, runs, board)


def _line(record: dict) -> Text:
    """What became of a run; a text, since brackets in a message are no markup."""
    name = f"{record['dataset']}, {record['split']}, seed {record['seed']}: {record['model']}"
    if record["status"] == FAILED:
        return Text(f"{name} failed: {record['message']}", style="red")
    note = "" if record["status"] == DONE else f" ({record['message'].strip()})"
    return Text(f"{name} done in {record['total_seconds']:.0f} s{note}")
