"""Time and memory of `sams.evaluate` with metrics of means, at the size of a whole genome.

10,000 conditions × 5,000 genes, five cells each in test and in the prediction, as sparse counts.
Every tenth gene is the target of a condition, and so left out of its ranks.

Usage: python benchmarks/evaluate_memory.py [--conditions 10000] [--genes 5000]
    [--baselines NAME ...]
"""

from __future__ import annotations

import argparse
import resource
import time

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import scvi_sams as sams
from scvi_sams.evaluation._joint import JOINT
from scvi_sams.evaluation._scores import OF_PROFILES, RANKS

N_CELLS, N_CONTROL, DENSITY = 5, 1000, 0.1


def random_cells(n_conditions: int, n_genes: int, seed: int) -> ad.AnnData:
    """Cells of random sparse counts; conditions are named as every tenth gene would be."""
    rng = np.random.default_rng(seed)
    n_cells = n_conditions * N_CELLS + N_CONTROL
    n_counts = rng.binomial(n_genes, DENSITY, n_cells)
    rate = rng.gamma(0.5, 2, n_genes)
    genes = rng.choice(n_genes, n_counts.sum(), p=rate / rate.sum()).astype(np.int32)
    cells = np.repeat(np.arange(n_cells, dtype=np.int32), n_counts)
    x = sparse.csr_matrix(
        (np.ones(len(genes), np.float32), (cells, genes)), shape=(n_cells, n_genes)
    )
    adata = ad.AnnData(x)
    adata.var_names = [f"G{i}" for i in range(n_genes)]
    names = [f"G{i * 10}" for i in range(n_conditions)]
    labels = np.append(np.repeat(names, N_CELLS), np.repeat("control", N_CONTROL))
    adata.obs["perturbation"] = pd.Categorical(labels)
    adata.uns["prediction"] = {"units": "counts"}
    return adata


def peak() -> float:
    """Largest resident memory so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--conditions", type=int, default=10_000)
    parser.add_argument("--genes", type=int, default=5_000)
    parser.add_argument("--baselines", nargs="*", default=[])
    options = parser.parse_args()
    predicted, observed, training = (
        random_cells(options.conditions, options.genes, seed) for seed in range(3)
    )
    before, start = peak(), time.perf_counter()
    sams.evaluate(
        predicted,
        observed,
        perturbation_key="perturbation",
        control="control",
        training=training if options.baselines else None,
        baselines=options.baselines,
        metrics=[*OF_PROFILES, *RANKS, *JOINT],
    )
    seconds = time.perf_counter() - start
    print(
        f"{options.conditions} conditions x {options.genes} genes, one prediction, the ceiling, "
        f"baselines {options.baselines}: {seconds:.0f} s, "
        f"{peak() - before:.2f} GB above the {before:.2f} GB before"
    )


if __name__ == "__main__":
    main()
