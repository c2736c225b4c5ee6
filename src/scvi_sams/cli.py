"""The command line: ``scvi-sams``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        Words after ``scvi-sams``; those of the process by default.

    Returns
    -------
    Exit status: 0; 2 for bad input, which is said in one line (of a config, one a mistake); 1 if
    a part of the work failed; 130 if interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        status = options.run(options)
    except (ValueError, KeyError, OSError) as error:
        # a KeyError quotes its message
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"scvi-sams: {' '.join(str(message).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("scvi-sams: interrupted", file=sys.stderr)
        return 130
    return status or 0


def _parser() -> argparse.ArgumentParser:
    from scvi_sams import __version__

    parser = argparse.ArgumentParser(
        prog="scvi-sams", description="SAMS-VAE for perturbation screens in single cells."
    )
    parser.add_argument("--version", action="version", version=f"scvi-sams {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="simulate a screen, train on it and compare with the truth",
        description="Simulate a screen whose truth is known, train on it, and say how much of the "
        "truth was found; takes two to three minutes on two CPU cores.",
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("scvi-sams-demo"),
        metavar="DIR",
        help="folder for the annotated data, the model and two figures (default: %(default)s)",
    )
    demo.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    demo.set_defaults(run=_run_demo)

    train = commands.add_parser(
        "train",
        help="train a model on an .h5ad file of raw counts",
        description="Train a SAMS-VAE on raw counts. Writes the model and the annotated data.",
    )
    train.add_argument("data", type=Path, metavar="DATA.h5ad", help="raw counts, cells × genes")
    train.add_argument(
        "--perturbation-key", required=True, metavar="COLUMN", help="obs column of labels"
    )
    train.add_argument(
        "--control",
        action="append",
        metavar="LABEL",
        help="label of control cells; repeat it for several, leave it out if there are none",
    )
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    train.add_argument(
        "--delimiter",
        default="+",
        metavar="TEXT",
        help="separates the parts of a combination (default: %(default)s)",
    )
    train.add_argument("--dosage-key", metavar="COLUMN", help="obs column of doses")
    train.add_argument("--layer", metavar="NAME", help="layer of the counts (default: X)")
    train.add_argument("--batch-key", metavar="COLUMN", help="obs column of batches")
    train.add_argument("--size-factor-key", metavar="COLUMN", help="obs column of size factors")
    train.add_argument("--split-key", metavar="COLUMN", help="obs column of train, val and test")
    train.add_argument(
        "--n-latent", type=_positive, default=50, help="latent dimensions (%(default)s)"
    )
    train.add_argument("--max-epochs", type=_positive, help="most epochs (default: by data size)")
    train.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    train.add_argument(
        "--checkpoint-dir",
        type=Path,
        metavar="DIR",
        help="write checkpoints there; started again, training goes on where it was killed",
    )
    train.set_defaults(run=_run_train)

    predict = commands.add_parser(
        "predict",
        help="predict cells of seen and unseen perturbations",
        description="Predict cells of conditions from a saved model. Writes an .h5ad file with "
        "counts, and the conditions in its column perturbation.",
    )
    predict.add_argument("model", type=Path, metavar="MODEL_DIR", help="folder of a saved model")
    predict.add_argument(
        "--perturbation",
        action="append",
        metavar="NAME",
        help="condition such as A or A+B; repeat it for several (default: every perturbation)",
    )
    predict.add_argument(
        "--n-cells", type=_positive, default=500, help="cells of each condition (%(default)s)"
    )
    predict.add_argument(
        "--kind", choices=["counts", "mean"], default="counts", help="(default: %(default)s)"
    )
    predict.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    predict.add_argument(
        "--out", type=Path, required=True, metavar="FILE.h5ad", help="file to write"
    )
    predict.set_defaults(run=_run_predict)

    evaluate = commands.add_parser(
        "evaluate",
        help="score predicted cells against observed ones",
        description="Score predicted cells against observed ones, beside baselines if there are "
        "cells that were learned from. Prints the verdict; writes summary.csv and "
        "per_perturbation.csv.",
    )
    evaluate.add_argument("predicted", type=Path, metavar="PREDICTED.h5ad", help="as of predict")
    evaluate.add_argument(
        "observed", type=Path, metavar="OBSERVED.h5ad", help="counts of test and control cells"
    )
    evaluate.add_argument(
        "--training", type=Path, metavar="TRAINING.h5ad", help="counts of cells learned from"
    )
    evaluate.add_argument(
        "--perturbation-key",
        default="perturbation",
        metavar="COLUMN",
        help="obs column of labels in each file (default: %(default)s)",
    )
    evaluate.add_argument(
        "--control", action="append", required=True, metavar="LABEL", help="label of control cells"
    )
    evaluate.add_argument(
        "--delimiter", default="+", metavar="TEXT", help="(default: %(default)s)"
    )
    evaluate.add_argument(
        "--covariate-key", action="append", metavar="COLUMN", help="obs column of contexts"
    )
    evaluate.add_argument(
        "--metric", action="append", metavar="NAME", help="repeat it for several (default: all)"
    )
    evaluate.add_argument(
        "--predicted-units",
        choices=["counts", "log1p counts per 10,000"],
        help="what a file holds that predict did not write",
    )
    evaluate.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    evaluate.set_defaults(run=_run_evaluate)

    benchmark = commands.add_parser(
        "benchmark",
        help="train and score models on splits of datasets, from one file",
        description="Train and score all models of a config on splits of its datasets, beside "
        "baselines and the ceiling. Writes tables and report.html. Started again, it goes on "
        "where it was.",
    )
    benchmark.add_argument("config", type=Path, metavar="CONFIG.yaml", help="what to run")
    benchmark.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to write"
    )
    benchmark.add_argument(
        "--workers", type=_positive, metavar="N", help="runs at a time (default: as in the config)"
    )
    benchmark.set_defaults(run=_run_benchmark)
    return parser


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; it is {number}")
    return number


def _run_demo(options: argparse.Namespace) -> None:
    from scvi_sams._demo import run_demo

    run_demo(options.out, options.seed)


def _read(path: Path) -> AnnData:
    """The data of a file.

    Raises
    ------
    ValueError
        If there is none, or it is no .h5ad file.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    import anndata as ad

    try:
        return ad.read_h5ad(path)
    except OSError as error:
        raise ValueError(f"{path} is not a readable .h5ad file ({error})") from error


def _check_new(path: Path) -> None:
    if path.exists():
        raise ValueError(f"{path} exists already; name another with --out")


def _run_train(options: argparse.Namespace) -> None:
    was_killed = options.checkpoint_dir and options.out.is_dir() and not [*options.out.iterdir()]
    if not was_killed:
        _check_new(options.out)
    adata = _read(options.data)
    import scvi
    from rich.console import Console

    from scvi_sams import SAMSVAE
    from scvi_sams._atomic import replaced

    scvi.settings.seed = options.seed
    SAMSVAE.setup_anndata(
        adata,
        perturbation_key=options.perturbation_key,
        control=options.control,
        delimiter=options.delimiter,
        dosage_key=options.dosage_key,
        layer=options.layer,
        batch_key=options.batch_key,
        size_factor_key=options.size_factor_key,
    )
    options.out.mkdir(parents=True, exist_ok=True)  # before hours of training, not after
    model = SAMSVAE(adata, n_latent=options.n_latent)
    model.train(
        max_epochs=options.max_epochs,
        split_key=options.split_key,
        checkpoint_dir=options.checkpoint_dir,
        resume=options.checkpoint_dir is not None,
    )
    model.annotate()
    model.save(str(options.out), overwrite=True)
    with replaced(options.out / "annotated.h5ad") as path:
        adata.write_h5ad(path)
    Console().print(
        f"Trained for {len(model.history['elbo_validation'])} epochs.\n"
        f"Model: {options.out / 'model.pt'}\nAnnotated data: {options.out / 'annotated.h5ad'}"
    )


def _run_predict(options: argparse.Namespace) -> None:
    _check_new(options.out)
    from rich.console import Console

    from scvi_sams import hub
    from scvi_sams._atomic import replaced

    model = hub.load_safely(options.model, adata=False)
    cells = model.predict(
        options.perturbation, n_cells=options.n_cells, kind=options.kind, seed=options.seed
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with replaced(options.out) as aside:
        cells.write_h5ad(aside)
    n_conditions = cells.obs["perturbation"].nunique()
    Console().print(f"Predicted {cells.n_obs:,} cells of {n_conditions} conditions: {options.out}")


def _run_evaluate(options: argparse.Namespace) -> None:
    _check_new(options.out)
    from rich.console import Console

    from scvi_sams import evaluate
    from scvi_sams._atomic import replaced_together

    result = evaluate(
        _read(options.predicted),
        _read(options.observed),
        perturbation_key=options.perturbation_key,
        control=options.control,
        delimiter=options.delimiter,
        covariate_keys=options.covariate_key,
        training=None if options.training is None else _read(options.training),
        metrics=options.metric,
        predicted_units=options.predicted_units,
    )
    with replaced_together(options.out) as aside:
        result.summary.to_csv(aside / "summary.csv")
        result.per_perturbation.to_csv(aside / "per_perturbation.csv")
    Console().print(f"{result.verdict}\nTables: {options.out}")


def _run_benchmark(options: argparse.Namespace) -> int:
    from rich.console import Console

    try:
        from scvi_sams import benchmark
    except ModuleNotFoundError as error:
        raise ValueError(
            f'{error.name} is not installed: pip install "scvi-sams[benchmark]"'
        ) from error
    try:
        config = benchmark.read_config(options.config)
    except benchmark.ConfigError as error:
        print(f"scvi-sams: {error}", file=sys.stderr)  # one line a mistake
        return 2
    try:
        results = benchmark.run(config, options.out, n_workers=options.workers)
    except ModuleNotFoundError as error:
        raise ValueError(error) from error
    except RuntimeError as error:
        print(f"scvi-sams: {error}", file=sys.stderr)
        return 1
    Console().print(
        f"Leaderboard: {options.out / 'leaderboard.md'}\nReport: {options.out / 'report.html'}"
    )
    n_failed = (results.runs["status"] == "failed").sum()
    if n_failed:
        print(
            f"scvi-sams: {n_failed} run(s) failed; start again to try them once more",
            file=sys.stderr,
        )
    return int(n_failed > 0)


if __name__ == "__main__":
    sys.exit(main())
