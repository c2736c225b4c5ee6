"""How well are held-out cells of real screens predicted, and are the masks decided?

- Papalexi et al. 2021: a random split, 64 % to train, 16 % to validate, 20 % to test.
- Norman et al. 2019: the five doubles whose singles are both in the data are the test cells; of
  the others 64 % train, 16 % validate and 20 % are left out.

The library size is the sum of a panel's counts; cells of less than 10 counts and genes that are
constant in training are dropped. Split and model follow the same seed. Of each run it writes the
predictive IWELBO of the test cells (nats per cell, 100 particles) beside the log likelihood of the
plainest model, one negative binomial per gene for all cells; the share of decided inclusion
probabilities (outside 0.2-0.8); and how many of them are above 0.5 for perturbations without an
effect: those of which no gene differs from control cells (Wilcoxon test of counts per 10,000,
Benjamini-Hochberg at 5 %). Splits differ, and so does the number of genes left; the plainest
model moves with them.

Usage: SCVI_SAMS_DATA_DIR=... python benchmarks/held_out.py --out held_out.csv
       [--screens papalexi norman] [--models SAMSVAE CPAVAE ...] [--seeds 0 1 2]
       [--settings '{"effect_guide": "correlated"}']
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scvi
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import nbinom

import scvi_sams as sams

DOUBLES = [
    "KLF1+MAP2K6",
    "KLF1+TGFBR2",
    "MAP2K3+MAP2K6",
    "MAP2K3+SLC38A2",
    "MAPK1+TGFBR2",
]


def papalexi(folder: Path, seed: int) -> ad.AnnData:
    adata = ad.read_h5ad(folder / "papalexi2021_eccite_thp1_299genes.h5ad")
    u = np.random.default_rng(seed).random(adata.n_obs)
    adata.obs["split"] = np.select([u < 0.64, u < 0.8], ["train", "val"], "test")
    return adata


def all_of_norman(folder: Path, seed: int) -> ad.AnnData:
    adata = ad.read_h5ad(folder / "norman2019_mcfaline2023_combo_500genes.h5ad")
    adata = adata[adata.obs["dataset"] == "norman19"].copy()
    u = np.random.default_rng(seed).random(adata.n_obs)
    held_out = adata.obs["perturbation"].isin(DOUBLES)
    adata.obs["split"] = np.select([held_out, u < 0.64, u < 0.8], ["test", "train", "val"], "out")
    return adata


def norman(folder: Path, seed: int) -> ad.AnnData:
    adata = all_of_norman(folder, seed)
    return adata[adata.obs["split"] != "out"].copy()


SCREENS = {"papalexi": (papalexi, "replicate"), "norman": (norman, None)}


def filtered(adata: ad.AnnData) -> ad.AnnData:
    """Without nearly empty cells and genes that are constant in training."""
    sc.pp.filter_cells(adata, min_counts=10)
    training = adata[adata.obs["split"] == "train"].X.toarray()
    adata = adata[:, training.std(axis=0) > 0].copy()
    sc.pp.filter_cells(adata, min_counts=10)
    return adata


def without_effect(adata: ad.AnnData) -> list[str]:
    """Perturbations of which no gene differs from control cells."""
    logs = adata.copy()
    sc.pp.normalize_total(logs, target_sum=1e4)
    sc.pp.log1p(logs)
    sc.tl.rank_genes_groups(logs, "perturbation", reference="control", method="wilcoxon")
    tested = sc.get.rank_genes_groups_df(logs, group=None)
    least = tested.groupby("group", observed=True)["pvals_adj"].min()
    return sorted(least.index[least > 0.05])


def plainest(adata: ad.AnnData) -> float:
    """Nats per test cell of one negative binomial per gene, fitted to all training cells."""
    counts = adata.X.toarray()
    library = counts.sum(axis=1)
    training, test = adata.obs["split"] == "train", adata.obs["split"] == "test"
    shares = counts[training].sum(axis=0) / library[training].sum()

    def log_likelihood(log_theta: float, gene: int, cells: pd.Series) -> float:
        theta, mean = np.exp(log_theta), library[cells] * shares[gene]
        return nbinom.logpmf(counts[cells, gene], theta, theta / (theta + mean)).sum()

    total = 0.0
    for gene in range(adata.n_vars):
        best = minimize_scalar(
            lambda log_theta, gene=gene: -log_likelihood(log_theta, gene, training),
            bounds=(-5, 8),
            method="bounded",
        )
        total += log_likelihood(best.x, gene, test)
    return float(total / test.sum())


def fit(screen: str, model_name: str, settings: dict, seed: int) -> dict[str, object]:
    torch.set_num_threads(1)  # anew for each run: the test of `without_effect` raises it
    read, batch_key = SCREENS[screen]
    adata = filtered(read(Path(os.environ["SCVI_SAMS_DATA_DIR"]), seed))
    scvi.settings.seed = seed
    model_class = getattr(sams, model_name)
    model_class.setup_anndata(
        adata,
        perturbation_key="perturbation",
        control="control",
        batch_key=batch_key,
        # one perturbation per cell: combinations as perturbations of their own
        delimiter=None if model_name == "SVAEPlus" else "+",
    )
    model = model_class(adata, **settings)
    start = time.perf_counter()
    model.train(split_key="split", enable_progress_bar=False, accelerator="cpu")
    minutes = (time.perf_counter() - start) / 60
    test = np.flatnonzero(adata.obs["split"] == "test")
    row: dict[str, object] = {
        "screen": screen,
        "model": model_name,
        "settings": json.dumps(settings),
        "seed": seed,
        "genes": adata.n_vars,
        "test_iwelbo": float(model.get_predictive_iwelbo(indices=test).mean()),
        "plainest": plainest(adata),
        "epochs": len(model.history["elbo_validation"]),
        "minutes": minutes,
    }
    if model_name in ("SAMSVAE", "SVAEPlus"):
        effects = model.get_perturbation_effects()
        inclusion = effects.layers["inclusion_probability"]
        null = effects.obs_names.isin(without_effect(adata))
        row["decided"] = float(((inclusion < 0.2) | (inclusion > 0.8)).mean())
        row["on"] = int((inclusion > 0.5).sum())
        row["null_perturbations"] = int(null.sum())
        row["null_on"] = int((inclusion[null] > 0.5).sum())
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--screens", nargs="+", choices=list(SCREENS), default=list(SCREENS))
    parser.add_argument("--models", nargs="+", default=["SAMSVAE"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--settings", type=json.loads, default={})
    options = parser.parse_args()
    for screen in options.screens:
        for model_name in options.models:
            for seed in options.seeds:
                row = fit(screen, model_name, options.settings, seed)
                print(row, flush=True)
                old = pd.read_csv(options.out) if options.out.exists() else pd.DataFrame()
                pd.concat([old, pd.DataFrame([row])]).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
