"""Time and memory of average treatment effects at the size of Replogle et al. 2022.

722 perturbations × 1,187 genes × 2,500 simulated cells, with the default networks, after one epoch
of training on random counts: neither depends on what was learned.

Usage: python benchmarks/effects_speed.py [--perturbations 722] [--genes 1187] [--threads 2]
"""

from __future__ import annotations

import argparse
import resource
import time

import anndata as ad
import numpy as np
import pandas as pd
import torch
from scipy import sparse

import scvi_sams as sams


def random_screen(n_perturbations: int, n_genes: int) -> ad.AnnData:
    """Four cells of each perturbation and as many controls, of random counts."""
    rng = np.random.default_rng(0)
    names = [f"P{i}" for i in range(n_perturbations)]
    labels = np.repeat([*names, "control"], 4)
    counts = rng.poisson(rng.gamma(0.3, 3, n_genes), (len(labels), n_genes)) + np.eye(1, n_genes)
    adata = ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)))
    adata.obs["perturbation"] = pd.Categorical(labels)
    return adata


def peak() -> float:
    """Largest resident memory so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--perturbations", type=int, default=722)
    parser.add_argument("--genes", type=int, default=1187)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    adata = random_screen(options.perturbations, options.genes)
    sams.SAMSVAE.setup_anndata(adata, perturbation_key="perturbation", control="control")
    model = sams.SAMSVAE(adata, n_latent=100)
    model.train(max_epochs=1, enable_progress_bar=False, accelerator="cpu")
    before, start = peak(), time.perf_counter()
    ate = model.get_average_treatment_effects()
    seconds = time.perf_counter() - start
    print(
        f"{ate.n_obs} perturbations x {ate.n_vars} genes x 2,500 cells, {options.threads} "
        f"threads: {seconds:.0f} s, {peak() - before:.2f} GB above the {before:.2f} GB before"
    )


if __name__ == "__main__":
    main()
