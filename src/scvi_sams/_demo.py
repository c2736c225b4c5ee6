"""A screen with known truth, from counts to results."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData
    from rich.console import Console


def run_demo(out: Path, seed: int) -> pd.Series:
    """Simulate a screen, train on it, print what of the truth was found, and write everything.

    Parameters
    ----------
    out
        Folder for ``screen.h5ad`` (annotated), ``model``, ``result.csv`` and two figures.
    seed
        Of the simulation and of the training.

    Returns
    -------
    The printed numbers.
    """
    import scvi
    from rich.console import Console

    import scvi_sams as sams
    from scvi_sams._atomic import replaced

    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    adata = sams.datasets.simulate(seed=seed)
    truth = adata.uns["truth"]
    masks = truth["masks"]
    console.print(
        f"Simulated {adata.n_obs:,} cells × {adata.n_vars} genes: {len(masks)} perturbations, "
        f"{int((masks.sum(1) == 0).sum())} of them without any effect."
    )
    scvi.settings.seed = seed
    start = time.perf_counter()
    sams.SAMSVAE.setup_anndata(
        adata, perturbation_key="perturbation", control="control", batch_key="batch"
    )
    model = sams.SAMSVAE(adata, n_latent=masks.shape[1], n_hidden=64)
    model.train(max_epochs=400)
    minutes = (time.perf_counter() - start) / 60
    model.annotate()

    effects = model.get_perturbation_effects()
    ate = model.get_average_treatment_effects()
    true_ate = truth["average_treatment_effects"]
    training = adata[np.sort(model.train_indices)]
    raw, pooled = _naive_effects(training, ate.obs_names)
    recovery = sams.metrics.mask_recovery(effects.layers["inclusion_probability"], masks)
    result = pd.Series(
        {
            "mask precision": recovery["precision"],
            "mask recall": recovery["recall"],
            "mask F1": recovery["f1"],
            "ATE Pearson r, SAMS-VAE": _pearson(ate.X, true_ate),
            "ATE Pearson r, mean of each perturbation's cells": _pearson(raw, true_ate),
            "ATE Pearson r, mean of all perturbed cells": _pearson(pooled, true_ate),
        }
    )
    _print_result(console, result, len(model.history["elbo_validation"]), minutes)

    order = sams.metrics.match_dimensions(
        effects.layers["inclusion_probability"] > 0.5, masks > 0
    )[0]
    sams.pl.inclusion_probability(
        effects[:, order], title="Masks found", save=out / "inclusion.png"
    )
    sams.pl.ate_agreement(
        ate.X,
        true_ate,
        save=out / "ate.png",
        labels=("estimated ATE (log2 counts per 10,000)", "true ATE (log2 counts per 10,000)"),
    )
    with replaced(out / "result.csv") as path:
        result.rename("value").to_csv(path)
    with replaced(out / "screen.h5ad") as path:
        adata.write_h5ad(path)
    model.save(str(out / "model"), overwrite=True)
    console.print(f"Wrote screen.h5ad, model, result.csv, inclusion.png and ate.png to {out}/")
    return result


def _naive_effects(training: AnnData, perturbations: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """Differences of means against controls: of each perturbation's cells, and of all perturbed.

    Both are on the scale log2(1 + 10⁴ x / Σx), of shape perturbations × genes.
    """
    counts = training.X.toarray()
    logs = np.log2(1 + 1e4 * counts / counts.sum(axis=1, keepdims=True))
    label = training.obs["perturbation"].astype(str).to_numpy()
    control = logs[label == "control"].mean(axis=0)
    raw = np.stack([logs[label == name].mean(axis=0) for name in perturbations]) - control
    pooled = logs[label != "control"].mean(axis=0) - control
    return raw, np.broadcast_to(pooled, raw.shape)


def _pearson(predicted: np.ndarray, observed: np.ndarray) -> float:
    return float(np.corrcoef(np.ravel(predicted), np.ravel(observed))[0, 1])


def _print_result(console: Console, result: pd.Series, n_epochs: int, minutes: float) -> None:
    from rich.table import Table

    table = Table(title=f"Against the truth, after {n_epochs} epochs in {minutes:.1f} minutes")
    table.add_column("quantity")
    table.add_column("value", justify="right")
    for name, value in result.items():
        table.add_row(str(name), f"{value:.3f}")
    console.print(table)
