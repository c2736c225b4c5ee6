"""Does memory stay flat when cells stay on the disk?

Simulated screens are written to zarr stores (``--h5ad``: to files) and trained from there, each in
a process of its own: one epoch over 90 % of the cells, validation, and what `train` does before
and after. Printed and saved are the peak of resident memory and cells per second of the epoch,
and of the same counts held in memory.

Usage: python benchmarks/out_of_core.py --out out_of_core.csv [--cells 100000 1000000]
       [--genes 1000] [--perturbations 500] [--h5ad]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import pandas as pd
from speed import screen


def write_store(path: Path, adata) -> None:
    """In small chunks within large files, as annbatch recommends."""
    import zarr
    from annbatch import write_sharded

    write_sharded(zarr.open_group(path, mode="w"), adata)


def build(path: Path, n_cells: int, n_genes: int, n_perturbations: int) -> None:
    adata = screen(n_cells, n_genes, n_perturbations)
    if path.suffix == ".zarr":
        write_store(path, adata)
    else:
        adata.write_h5ad(path)


def train(path: Path, in_memory: bool) -> dict:
    """Peak memory in MB and cells per second of training from ``path``."""
    import anndata as ad
    from lightning.pytorch.callbacks import Callback

    import scvi_sams as sams

    class Clock(Callback):
        def on_train_epoch_start(self, trainer, pl_module) -> None:
            self.start = time.perf_counter()

        def on_train_epoch_end(self, trainer, pl_module) -> None:
            self.seconds = time.perf_counter() - self.start

    adata = sams.datasets.open_store(path)
    if in_memory:
        adata = ad.AnnData(adata.X.to_memory(), obs=adata.obs, var=adata.var)
    start = time.perf_counter()
    sams.SAMSVAE.setup_anndata(adata, perturbation_key="perturbation", control="control")
    model = sams.SAMSVAE(adata, n_latent=20, n_hidden=128, n_particles=1)
    clock = Clock()
    model.train(
        max_epochs=1,
        callbacks=[clock],
        enable_progress_bar=False,
        accelerator="cpu",
        plan_kwargs={"n_steps_dense": 0, "n_steps_mask_kl": 0},
    )
    return {
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "cells_per_second": 0.9 * adata.n_obs / clock.seconds,
        "seconds": time.perf_counter() - start,
    }


def in_process(*arguments: object) -> str:
    """What this script prints last when it runs with ``arguments``."""
    command = [sys.executable, "-W", "ignore", __file__, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[-1] if done.stdout else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out_of_core.csv"))
    parser.add_argument("--cells", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--genes", type=int, default=1_000)
    parser.add_argument("--perturbations", type=int, default=500)
    parser.add_argument("--h5ad", action="store_true")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--in-memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        build(options.build, options.cells[0], options.genes, options.perturbations)
        return
    if options.train:
        print(json.dumps(train(options.train, options.in_memory)))
        return
    rows = []
    suffix = ".h5ad" if options.h5ad else ".zarr"
    sizes = ["--genes", options.genes, "--perturbations", options.perturbations]
    with tempfile.TemporaryDirectory() as folder:
        stores = {n_cells: Path(folder) / f"{n_cells}{suffix}" for n_cells in options.cells}
        for n_cells, path in stores.items():
            in_process("--build", path, "--cells", n_cells, *sizes)
        for where, (n_cells, path) in product(("disk", "memory"), stores.items()):
            held = ["--in-memory"] if where == "memory" else []
            found = json.loads(in_process("--train", path, *held))
            rows.append({"cells": n_cells, "counts": where} | found)
            print(rows[-1], flush=True)
            pd.DataFrame(rows).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
