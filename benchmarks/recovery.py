"""Do planted masks come out, whatever the seed? And which settings are worth a default?

Fits simulations with known truth: the Gaussian protocols N, S and D of the paper's simulation
(`sams.datasets.simulate_gaussian`) and counts (`sams.datasets.simulate`: 50 perturbations of 100
cells, 30 % without any effect). For each protocol × setting × data seed × model seed it writes
one row of

- precision, recall and F1 of the masks after the best matching of latent dimensions,
- the share of entries of null perturbations with an inclusion probability above 0.5,
- the share of decided entries (outside 0.2-0.8),
- the predictive IWELBO of validation cells (nats per cell, 100 particles),
- Pearson r of the average treatment effects against the true ones, all perturbations × genes.

Usage: python benchmarks/recovery.py --out recovery.csv [--protocols N S D counts]
       [--settings defaults ...] [--data-seeds 0 1 2] [--model-seeds 0 1 2 3 4]
       python benchmarks/recovery.py --table recovery.csv [--figure recovery.png]

A run that is stopped goes on where it was: rows that stand in the file are not repeated.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scvi
import torch

import scvi_sams as sams

# what model.md fixes for each protocol; steps are of 256 cells (N, S) or 512 (D, counts)
PROTOCOLS = {
    "N": {
        "model": {"n_latent": 8, "n_hidden": 64, "mask_prior": 0.05, "effect_prior_scale": 5.0},
        "steps": 10_000,
        "batch_size": 256,
    },
    "S": {
        "model": {
            "n_latent": 8,
            "n_hidden": 64,
            "mask_prior": 0.05,
            "effect_prior_scale": 5.0,
            "mask_kl_weight": 0.3,
        },
        "steps": 5_000,
        "batch_size": 256,
    },
    "D": {
        "model": {"n_latent": 15, "n_hidden": 100, "n_layers": 2, "effect_prior_scale": 5.0},
        "steps": None,
        "batch_size": 512,
    },
    "counts": {"model": {"n_latent": 8, "n_hidden": 64}, "steps": None, "batch_size": 512},
}
MOST_CELLS = 2_000
KEY = ["protocol", "setting", "data_seed", "model_seed"]

# what differs from the defaults: of the model, and of training
SETTINGS: dict[str, tuple[dict, dict]] = {
    "defaults": ({}, {}),
    "mean-field guide": ({"effect_guide": "mean_field"}, {}),
    "correlated guide": ({"effect_guide": "correlated"}, {}),
    "no dense start": ({}, {"n_steps_dense": 0}),
    "no dense start, mean-field guide": ({"effect_guide": "mean_field"}, {"n_steps_dense": 0}),
    "Beta(1, 9) prior": ({"mask_prior": ("beta", 1.0, 9.0)}, {}),
    "temperature 2 to 0.5": ({}, {"initial_temperature": 2.0, "temperature": 0.5}),
    "IWELBO objective": ({"objective": "iwelbo"}, {}),
    "weight decay 1e-6": ({}, {"weight_decay": 1e-6}),
}


def screen_of(protocol: str, seed: int) -> ad.AnnData:
    """Simulated data with train, validation (and test) cells named in obs."""
    if protocol != "counts":
        return sams.datasets.simulate_gaussian(protocol, seed=seed)
    adata = sams.datasets.simulate(seed=seed)
    validation = np.random.default_rng(seed).random(adata.n_obs) < 0.1
    adata.obs["split"] = np.where(validation, "val", "train")
    return adata


def fit(protocol: str, setting: str, data_seed: int, model_seed: int) -> dict[str, float]:
    """Train one model on one screen, and compare it with the truth."""
    adata = screen_of(protocol, data_seed)
    has_controls = protocol == "counts"
    scvi.settings.seed = model_seed
    sams.SAMSVAE.setup_anndata(
        adata,
        perturbation_key="perturbation",
        control="control" if has_controls else None,
        batch_key="batch" if has_controls else None,
    )
    model_settings, plan_settings = SETTINGS[setting]
    protocol_settings = PROTOCOLS[protocol]
    model = sams.SAMSVAE(
        adata,
        **{"gene_likelihood": "nb" if has_controls else "normal"}
        | protocol_settings["model"]
        | model_settings,
    )
    start = time.perf_counter()
    batch_size = protocol_settings["batch_size"]
    steps_per_epoch = -(-int((adata.obs["split"] == "train").sum()) // batch_size)
    steps = protocol_settings["steps"]
    model.train(
        max_epochs=steps and round(steps / steps_per_epoch),
        # where the protocol fixes the number of steps, all of them are taken
        early_stopping_patience=steps,
        # an epoch of N has 8 steps, and five times as many cells to validate
        check_val_every_n_epoch=-(-50 // steps_per_epoch),
        batch_size=batch_size,
        split_key="split",
        plan_kwargs=plan_settings,
        enable_progress_bar=False,
        accelerator="cpu",
    )
    minutes = (time.perf_counter() - start) / 60
    truth = adata.uns["truth"]
    inclusion = model.get_perturbation_effects().layers["inclusion_probability"]
    null = truth["masks"].sum(axis=1) == 0
    held_out = np.flatnonzero(adata.obs["split"] == "val")
    if len(held_out) > MOST_CELLS:
        held_out = np.random.default_rng(0).choice(held_out, MOST_CELLS, replace=False)
    ate = model.get_average_treatment_effects(n_samples=1_000).X
    return {
        **sams.metrics.mask_recovery(inclusion, truth["masks"]).to_dict(),
        "null_on": float((inclusion[null] > 0.5).mean()) if null.any() else np.nan,
        "decided": float(((inclusion < 0.2) | (inclusion > 0.8)).mean()),
        "iwelbo": float(model.get_predictive_iwelbo(indices=held_out).mean()),
        "ate_r": float(np.corrcoef(ate.ravel(), truth["average_treatment_effects"].ravel())[0, 1]),
        "epochs": len(model.history["elbo_validation"]),
        "minutes": minutes,
    }


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    done = pd.read_csv(options.out)[KEY] if options.out.exists() else pd.DataFrame(columns=KEY)
    seen = set(done.itertuples(index=False, name=None))
    for data_seed in options.data_seeds:
        for model_seed in options.model_seeds:
            for protocol in options.protocols:
                for setting in options.settings:
                    cell = (protocol, setting, data_seed, model_seed)
                    if cell in seen:
                        continue
                    row = dict(zip(KEY, cell, strict=True)) | fit(*cell)
                    pd.DataFrame([row]).to_csv(
                        options.out, mode="a", header=not options.out.exists(), index=False
                    )
                    print(row, flush=True)


def table(results: pd.DataFrame) -> str:
    """Mean ± sd over the seeds of each protocol and setting, as markdown."""
    columns = ["f1", "precision", "recall", "null_on", "decided", "iwelbo", "ate_r", "minutes"]
    groups = results.groupby(["protocol", "setting"], sort=False)
    mean, sd = groups[columns].mean(), groups[columns].std()
    cells = mean.map("{:.3f}".format) + " ± " + sd.map("{:.3f}".format)
    cells.insert(0, "runs", groups.size())
    header = "| " + " | ".join([*KEY[:2], *cells.columns]) + " |"
    rule = "|" + "---|" * (2 + cells.shape[1])
    rows = [
        "| " + " | ".join([*key, *map(str, row)]) + " |"
        for key, row in zip(cells.index, cells.to_numpy(), strict=True)
    ]
    return "\n".join([header, rule, *rows])


def figure(results: pd.DataFrame, path: Path) -> None:
    """F1 of every run, by setting, one panel a protocol."""
    import matplotlib.pyplot as plt

    protocols = list(dict.fromkeys(results["protocol"]))
    settings = list(dict.fromkeys(results["setting"]))
    fig, axes = plt.subplots(
        1,
        len(protocols),
        figsize=(2.4 * len(protocols) + 1.6, 0.42 * len(settings) + 1.1),
        sharey=True,
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, protocol in zip(axes[0], protocols, strict=True):
        rows = results[results["protocol"] == protocol]
        y = len(settings) - 1 - rows["setting"].map(settings.index)
        jitter = np.random.default_rng(0).uniform(-0.15, 0.15, len(rows))
        ax.scatter(rows["f1"], y + jitter, s=14, color="#0072b2", alpha=0.7, linewidths=0)
        ax.set_title(protocol)
        ax.set_xlim(0, 1.03)
        ax.set_ylim(-0.5, len(settings) - 0.5)
        ax.grid(axis="x", color="0.9")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_yticks(range(len(settings)), settings[::-1])
    fig.supxlabel("F1 of the masks", fontsize="medium")
    fig.savefig(path, dpi=200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="file of rows to write or continue")
    parser.add_argument(
        "--protocols", nargs="+", choices=list(PROTOCOLS), default=["N", "S", "D", "counts"]
    )
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=["defaults"])
    parser.add_argument("--data-seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--model-seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--table", type=Path, nargs="+", help="files of rows to summarise")
    parser.add_argument("--figure", type=Path, help="where to draw the summarised rows")
    options = parser.parse_args()
    if options.out is not None:
        run(options)
    if options.table is not None:
        results = pd.concat([pd.read_csv(path) for path in options.table])
        print(table(results))
        if options.figure is not None:
            figure(results, options.figure)


if __name__ == "__main__":
    main()
