"""The command line: ``scvi-sams``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


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
    train.set_defaults(run=_run_train)

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


def _run_train(options: argparse.Namespace) -> None:
    if not options.data.is_file():
        raise ValueError(f"there is no file {options.data}")
    if options.out.exists():
        raise ValueError(f"{options.out} exists already; name a new folder with --out")
    import anndata as ad
    import scvi
    from rich.console import Console

    from scvi_sams import SAMSVAE
    from scvi_sams._atomic import replaced

    try:
        adata = ad.read_h5ad(options.data)
    except OSError as error:
        raise ValueError(f"{options.data} is not a readable .h5ad file ({error})") from error
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
    options.out.mkdir(parents=True)  # before hours of training, not after
    model = SAMSVAE(adata, n_latent=options.n_latent)
    model.train(max_epochs=options.max_epochs, split_key=options.split_key)
    model.annotate()
    model.save(str(options.out), overwrite=True)
    with replaced(options.out / "annotated.h5ad") as path:
        adata.write_h5ad(path)
    Console().print(
        f"Trained for {len(model.history['elbo_validation'])} epochs.\n"
        f"Model: {options.out / 'model.pt'}\nAnnotated data: {options.out / 'annotated.h5ad'}"
    )


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
