"""How long does a training step take, and how much of it is matrix products?

For each size it prints and saves, as one row of a table,

- seconds per step: forward, backward, clipping and Adam on one mini-batch (median over steps);
- the floor: the matrix products of that step alone, forward and backward, timed in turns with it;
- peak memory of a step beyond that of the model and of the batch, and the same with densities gene
  by gene, each step of which autograd keeps;
- with ``--train``, ``model.train()`` end to end on as many cells as asked: seconds per step with
  loading and validation, seconds of what is done once, and the ratio to bare steps.

Every measurement is a process of its own. ``--against REVISION`` measures another commit too, in
a temporary worktree, turn by turn with this one.

Usage: python benchmarks/speed.py --out speed.csv [--genes 1187 5000] [--perturbations 100 1000]
       [--particles 1 5] [--cells 10000] [--train] [--device cuda] [--against main]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
BATCH, N_LATENT, N_HIDDEN = 512, 100, 400
STEPS = 30_000  # of a run by default
SHARE_OF_ZEROS = 0.9  # as in a droplet screen


def counts(n_cells: int, n_genes: int, seed: int = 0):
    """Sparse counts, as float32 in compressed rows."""
    from scipy import sparse

    rng = np.random.default_rng(seed)
    per_cell = rng.binomial(n_genes, 1 - SHARE_OF_ZEROS, n_cells).clip(min=1)
    indptr = np.concatenate([[0], np.cumsum(per_cell)])
    # genes of a cell start anywhere and go on in steps, so that none is there twice
    start = np.repeat(rng.integers(n_genes, size=n_cells), per_cell)
    place = np.arange(indptr[-1]) - np.repeat(indptr[:-1], per_cell)
    indices = (start + place * (n_genes // per_cell.max() or 1)) % n_genes
    data = 1 + rng.poisson(0.7, indptr[-1]).astype(np.float32)
    matrix = sparse.csr_matrix((data, indices, indptr), (n_cells, n_genes))
    matrix.sum_duplicates()
    return matrix


def screen(n_cells: int, n_genes: int, n_perturbations: int):
    """An AnnData of such counts; one cell in ten is a control."""
    import anndata as ad

    adata = ad.AnnData(counts(n_cells, n_genes))
    rng = np.random.default_rng(1)
    label = rng.integers(n_perturbations, size=n_cells).astype(str)
    label[:n_perturbations] = np.arange(min(n_perturbations, n_cells)).astype(str)
    label[rng.random(n_cells) < 0.1] = "control"
    adata.obs["perturbation"] = pd.Categorical(label)
    return adata


def step_of(size: dict) -> tuple[Callable[[], None], Callable[[], None]]:
    """A training step, and the matrix products in it."""
    import torch
    from scvi import REGISTRY_KEYS as SCVI_KEYS

    from scvi_sams._constants import REGISTRY_KEYS
    from scvi_sams.module._module import SAMSVAEModule
    from scvi_sams.train._plan import SAMSTrainingPlan

    # From the first large array that is freed (up to 32 MiB), glibc keeps memory rather than give
    # it back after every step. In a run there have been such arrays before the first step.
    torch.empty(31 * 2**20, dtype=torch.uint8)
    device, g, t, p = size["device"], size["genes"], size["perturbations"], size["particles"]
    torch.manual_seed(0)
    module = SAMSVAEModule(
        g,
        t,
        n_latent=N_LATENT,
        n_hidden=N_HIDDEN,
        n_particles=p,
        mask_kl_weight=0.05,
        dropout_rate=0.1,
    ).to(device)
    module.perturbations.n_cells.fill_(100)
    received = torch.stack([torch.randint(t, (BATCH,)).float(), torch.ones(BATCH)], dim=1)
    tensors = {
        SCVI_KEYS.X_KEY: torch.as_tensor(counts(BATCH, g).toarray()),
        REGISTRY_KEYS.PERTURBATIONS: received,
        SCVI_KEYS.BATCH_KEY: torch.zeros(BATCH, 1),
    }
    tensors = {key: value.to(device) for key, value in tensors.items()}
    optimizer = SAMSTrainingPlan(module).configure_optimizers()["optimizer"]
    if size.get("eager"):
        likelihood = module.likelihood
        likelihood.log_likelihood = lambda x, hidden, library: (
            likelihood(hidden, library).log_prob(x).sum(-1)
        )

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=size["bf16"]):
            loss = module(tensors, inference_kwargs={"n_samples": p})[2].loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 100.0)
        optimizer.step()

    n, k, h = p * BATCH, N_LATENT, N_HIDDEN
    # rows, inputs, outputs; from x, whose gradient nobody needs, and from what is computed
    of_data = [(BATCH, g, h), (BATCH, g, k)]
    of_states = [(n, k, h), (n, h, k), (n, h, k), (n, k, h), (n, h, g)]
    kind = torch.bfloat16 if size["bf16"] else torch.float32
    arrays = [
        tuple(torch.randn(shape, device=device, dtype=kind) for shape in ((m, i), (i, o), (m, o)))
        for m, i, o in of_data + of_states
    ]

    def products() -> None:
        for number, (x, w, y) in enumerate(arrays):
            torch.mm(x, w)
            torch.mm(x.T, y)
            if number >= len(of_data):
                torch.mm(y, w.T)

    return step, products


def timed(work: Callable[[], None], device: str) -> float:
    """Seconds that it takes."""
    import torch

    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure_step(size: dict) -> dict:
    """Median seconds of a step and of its matrix products, in turns."""
    step, products = step_of(size)
    for _ in range(3):
        step(), products()
    rows = [(timed(step, size["device"]), timed(products, size["device"])) for _ in range(20)]
    seconds, floor = np.median(rows, axis=0)
    return {"step": seconds, "floor": floor, "ratio": seconds / floor}


def measure_memory(size: dict) -> dict:
    """Peak memory of a step, in MB, beyond what model, optimizer and batch take."""
    import torch

    step, _ = step_of({**size, "genes": 10})  # code and libraries are loaded
    step()
    step, _ = step_of(size)
    if size["device"] == "cuda":
        step()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return {"peak_mb": (torch.cuda.max_memory_allocated() - before) / 1e6}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    return {"peak_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3}


def measure_train(size: dict) -> dict:
    """Seconds per step of ``model.train()`` with everything around the steps, and its ratio.

    An epoch holds loading, validation, early stopping and logging. What is done once (statistics
    of the counts before, calibration of intervals after) is shared out over ``STEPS`` steps, the
    longest run by default.
    """
    import torch
    from lightning.pytorch.callbacks import Callback

    import scvi_sams as sams

    class Clock(Callback):
        def __init__(self) -> None:
            self.times: list[float] = []

        def now(self, *_) -> None:
            if size["device"] == "cuda":
                torch.cuda.synchronize()
            self.times.append(time.perf_counter())

        on_train_epoch_start = on_train_end = now

    step, _ = step_of(size)
    bare = [timed(step, size["device"]) for _ in range(25)][5:]
    adata = screen(size["cells"], size["genes"], size["perturbations"])
    sams.SAMSVAE.setup_anndata(adata, perturbation_key="perturbation", control="control")
    model = sams.SAMSVAE(
        adata, n_latent=N_LATENT, n_hidden=N_HIDDEN, n_particles=size["particles"]
    )
    clock = Clock()
    steps_per_epoch = -(-9 * size["cells"] // 10 // BATCH)
    start = time.perf_counter()
    model.train(
        max_epochs=1 + max(round(100 / steps_per_epoch), 2),
        batch_size=BATCH,
        callbacks=[clock],
        enable_progress_bar=False,
        accelerator="gpu" if size["device"] == "cuda" else "cpu",
        plan_kwargs={"n_steps_dense": 0, "n_steps_mask_kl": 0},
        precision="bf16-mixed" if size["bf16"] else "32-true",
    )
    total = time.perf_counter() - start
    bare += [timed(step, size["device"]) for _ in range(20)]
    epoch = float(np.median(np.diff(clock.times)[1:]))
    once = total - (clock.times[-1] - clock.times[0])
    in_train = epoch / steps_per_epoch
    return {
        "bare_step": float(np.median(bare)),
        "train_step": in_train,
        "once": once,
        "end_to_end": (in_train + once / STEPS) / float(np.median(bare)),
        "cells_per_second": BATCH / in_train,
    }


def measure_eager_memory(size: dict) -> dict:
    """The same with densities gene by gene."""
    return {"eager_mb": measure_memory({**size, "eager": True})["peak_mb"]}


MEASURES = {
    "step": measure_step,
    "memory": measure_memory,
    "eager_memory": measure_eager_memory,
    "train": measure_train,
}


def in_process(source: Path, measure: str, size: dict) -> dict:
    """What a measure finds in a process of its own, with the package of ``source``."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", measure, "--size", json.dumps(size)],
        env=os.environ | {"PYTHONPATH": str(source / "src")},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def sources(against: str | None) -> Iterator[dict[str, Path]]:
    """Folders of the revisions to measure, by their names."""
    if against is None:
        yield {"here": ROOT}
        return
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(other), against], check=True)
        try:
            yield {"here": ROOT, against: other}
        finally:
            subprocess.run([*git, "remove", "--force", str(other)], check=True)


def run(options: argparse.Namespace) -> None:
    measures = ["step", "memory", "eager_memory", *(["train"] if options.train else [])]
    rows = []
    with sources(options.against) as revisions:
        for genes, perturbations, particles, cells in product(
            options.genes, options.perturbations, options.particles, options.cells
        ):
            size = {
                "device": options.device,
                "bf16": options.bf16,
                "genes": genes,
                "perturbations": perturbations,
                "particles": particles,
                "cells": cells,
            }
            for revision, source in revisions.items():
                row = {"revision": revision} | size
                for measure in measures:
                    row |= in_process(source, measure, size)
                rows.append(row)
                print({key: f"{v:.4g}" if isinstance(v, float) else v for key, v in row.items()})
                pd.DataFrame(rows).to_csv(options.out, index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("speed.csv"))
    parser.add_argument("--genes", type=int, nargs="+", default=[1_187, 5_000])
    parser.add_argument("--perturbations", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--particles", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000])
    parser.add_argument("--train", action="store_true", help="measure model.train() too")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--bf16", action="store_true", help="matrix products in bfloat16")
    parser.add_argument("--against", metavar="REVISION", help="another commit to measure")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(MEASURES[options.measure](options.size)))
    else:
        run(options)


if __name__ == "__main__":
    main()
