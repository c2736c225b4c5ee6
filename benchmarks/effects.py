"""Do effects of the model beat the means of cells, and are their intervals honest?

- Papalexi et al. 2021 and Norman et al. 2019 with the splits of `held_out.py`: Pearson r, over all
  perturbations × genes, of effects against those that held-out cells show (mean log2(1 + 10⁴ x /
  Σx) of the perturbation's cells less that of the control cells); all of Norman's held-out singles
  and doubles that were seen in training, and its five doubles that were not. Held-out control
  cells are the reference of both, so that no baseline shares their noise.
- Baselines: the mean of the training (and validation) cells; the sum of those of the two singles.
- The doubles again without control cells: mean profiles about that of all cells learned from,
  beside the sum of the singles' effects and the mean of the two singles.
- Coverage: share of held-out effects within the 95 % interval, allowing for their own sampling
  error.
- Papalexi, by what is known: whether the knockouts of the interferon-γ pathway are one cluster,
  the first gene set of the dimension they share, and whether FN1 and SKI are among the ten genes
  that SMAD4's knockout lowers most.
- Schraivogel et al. 2020 with each of its 30 non-targeting guides as a perturbation of its own:
  share of their entries that are called, of latent dimensions and of genes.
- The counts simulation: coverage of the true effects, and realised false discovery rates of called
  genes and latent dimensions, at nominal 5, 10 and 20 %.

Usage: SCVI_SAMS_DATA_DIR=... python benchmarks/effects.py --out effects.csv
       [--screens papalexi norman schraivogel counts] [--seeds 0 1 2]
       python benchmarks/effects.py --table effects.csv
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import anndata as ad
import held_out
import numpy as np
import numpy.typing as npt
import pandas as pd
import recovery
import scvi
import torch

import scvi_sams as sams

Array = npt.NDArray[np.float64]


def responses(adata: ad.AnnData) -> Array:
    """log2(1 + 10⁴ x / Σx), cells × genes."""
    counts = adata.X.toarray()
    return np.log2(1 + 1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def shown(adata: ad.AnnData, names: list[str], cells: Array) -> tuple[Array, Array]:
    """Effects that some cells show against control cells among them, and sampling variances."""
    y, labels = responses(adata)[cells], adata.obs["perturbation"].astype(str).to_numpy()[cells]
    groups = [y[labels == name] for name in ["control", *names]]
    mean = np.stack([group.mean(axis=0) for group in groups])
    error = np.stack([group.var(axis=0, ddof=1) / len(group) for group in groups])
    return mean[1:] - mean[0], error[1:] + error[0]


def pearson(a: Array, b: Array) -> float:
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


def covered(ate: ad.AnnData, observed: Array, variance: Array) -> float:
    """Share of effects within 1.96 of the standard deviations of interval and observation."""
    sd = np.sqrt(np.asarray(ate.layers["sd"]) ** 2 + variance)
    return float((np.abs(np.asarray(ate.X) - observed) <= 1.96 * sd).mean())


def trained(
    adata: ad.AnnData,
    seed: int,
    folder: Path,
    batch_key: str | None,
    control: str | None = "control",
    **settings: object,
) -> sams.SAMSVAE:
    """A model with the seed, trained or, if it has been before, loaded from its folder."""
    torch.set_num_threads(1)
    if folder.exists():
        return sams.SAMSVAE.load(str(folder), adata, accelerator="cpu")
    scvi.settings.seed = seed
    sams.SAMSVAE.setup_anndata(
        adata, perturbation_key="perturbation", control=control, batch_key=batch_key
    )
    model = sams.SAMSVAE(adata, **settings)
    model.train(split_key="split", enable_progress_bar=False, accelerator="cpu")
    model.save(str(folder))
    return model


def papalexi(data: Path, seed: int, folder: Path) -> list[dict[str, object]]:
    adata = held_out.filtered(held_out.papalexi(data, seed))
    split = adata.obs["split"].to_numpy()
    model = trained(adata, seed, folder, "replicate")
    names = list(model.perturbation_names)
    observed, variance = shown(adata, names, split == "test")
    ate, combined = model.get_average_treatment_effects(), model.get_combined_effects()
    return [
        {
            "what": "Papalexi, test cells",
            "model": pearson(ate.X, observed),
            "combined": pearson(combined.X, observed),
            "mean of training cells": pearson(shown(adata, names, split == "train")[0], observed),
            "mean of training and validation cells": pearson(
                shown(adata, names, split != "test")[0], observed
            ),
            "coverage": covered(ate, observed, variance),
            "coverage of combined": covered(combined, observed, variance),
        },
        biology(model, ate, data),
    ]


def biology(model: sams.SAMSVAE, ate: ad.AnnData, data: Path) -> dict[str, object]:
    """What is known of Papalexi's knockouts."""
    effects = model.get_perturbation_effects()
    pathway = ["IFNGR1", "IFNGR2", "JAK2", "STAT1"]
    sams.tl.cluster_perturbations(effects)
    cluster = effects.obs["cluster"]
    members = effects.obs_names[cluster == cluster["STAT1"]]
    shared = effects.var_names[np.abs(effects[pathway].X).sum(axis=0).argmax()]
    sets = sams.tl.enrich_dimensions(model, hallmarks(data))
    lowered = ate.to_df().loc["SMAD4"].nsmallest(10).index
    return {
        "what": "Papalexi, what is known",
        "interferon pathway is one cluster": float(sorted(members) == pathway),
        "interferon-gamma response is the first set of its dimension": float(
            sets[sets["dimension"] == shared]["gene_set"].iloc[0]
            == "HALLMARK_INTERFERON_GAMMA_RESPONSE"
        ),
        "FN1 and SKI in SMAD4's ten lowest": float({"FN1", "SKI"} <= set(lowered)),
    }


def hallmarks(data: Path) -> Path:
    return data.parent / "genesets" / "h.all.v7.5.1.symbols.gmt"


def schraivogel(data: Path, seed: int, folder: Path) -> list[dict[str, object]]:
    adata = ad.read_h5ad(data / "schraivogel2020_tapseq_k562_72genes.h5ad")
    is_null = (adata.obs["perturbation"] == "control").to_numpy()
    labels = adata.obs["perturbation"].astype(str).to_numpy()
    adata.obs["perturbation"] = np.where(is_null, adata.obs["guide"].astype(str), labels)
    validation = np.random.default_rng(seed).random(adata.n_obs) < 0.1
    adata.obs["split"] = np.where(validation, "val", "train")
    null = sorted(set(adata.obs["perturbation"][is_null]))
    model = trained(adata, seed, folder, "batch", control=None)
    row: dict[str, object] = {
        "what": "Schraivogel, non-targeting guides as perturbations",
        "guides": len(null),
    }
    for name, result in [
        ("dimensions", model.get_perturbation_effects()),
        ("genes", model.get_average_treatment_effects()),
    ]:
        sams.tl.call_effects(result)
        called = pd.DataFrame(result.layers["called"], index=result.obs_names)
        row[f"called {name} of non-targeting guides"] = float(called.loc[null].to_numpy().mean())
        row[f"most called {name} of one of them"] = float(called.loc[null].mean(axis=1).max())
        row[f"called {name} of targets"] = float(called.drop(index=null).to_numpy().mean())
    return [row]


def norman(data: Path, seed: int, folder: Path) -> list[dict[str, object]]:
    adata = held_out.filtered(held_out.norman(data, seed))
    model = trained(adata, seed, folder, None)
    everything = held_out.all_of_norman(data, seed)[:, adata.var_names].copy()
    everything = everything[np.asarray(everything.X.sum(axis=1)).ravel() >= 10].copy()
    split = everything.obs["split"].to_numpy()
    labels = everything.obs["perturbation"].astype(str)
    doubles = held_out.DOUBLES
    seen = sorted(set(labels[split == "train"]) - {"control"})
    learned = np.isin(split, ["train", "val"])
    means = {
        name: pd.DataFrame(shown(everything, seen, cells)[0], index=seen)
        for name, cells in [
            ("mean of training cells", split == "train"),
            ("mean of training and validation cells", learned),
        ]
    }
    observed, variance = shown(everything, seen, split == "out")
    ate, combined = (
        ask(seen) for ask in (model.get_average_treatment_effects, model.get_combined_effects)
    )
    rows: list[dict[str, object]] = [
        {
            "what": "Norman, seen conditions",
            "model": pearson(ate.X, observed),
            "combined": pearson(combined.X, observed),
            "coverage": covered(ate, observed, variance),
            "coverage of combined": covered(combined, observed, variance),
        }
        | {name: pearson(table, observed) for name, table in means.items()}
    ]
    observed, variance = shown(everything, doubles, np.isin(split, ["test", "out"]))
    ate = model.get_average_treatment_effects(doubles)
    sums = {
        name: np.stack([table.loc[pair.split("+")].sum() for pair in doubles])
        for name, table in means.items()
    }
    rows.append(
        {
            "what": "Norman, five held-out doubles",
            "model": pearson(ate.X, observed),
            "coverage": covered(ate, observed, variance),
            "doubles above the sum": sum(
                pearson(ate.X[row], observed[row])
                > pearson(sums["mean of training and validation cells"][row], observed[row])
                for row in range(len(doubles))
            ),
        }
        | {name: pearson(total, observed) for name, total in sums.items()}
    )
    rows.append(profiles_of_doubles(model, everything, learned))
    return rows


def profiles_of_doubles(
    model: sams.SAMSVAE, adata: ad.AnnData, learned: Array
) -> dict[str, object]:
    """Mean profiles of the held-out doubles about that of all cells learned from.

    Control cells are few: differences from them have their noise in common.
    """
    y, labels = responses(adata), adata.obs["perturbation"].astype(str).to_numpy()
    known = {name: y[learned & (labels == name)].mean(axis=0) for name in set(labels[learned])}
    cells = model.predict(held_out.DOUBLES, n_cells=4000)
    simulated, of = responses(cells), cells.obs["perturbation"].to_numpy()
    pairs = [pair.split("+") for pair in held_out.DOUBLES]
    predictions = {
        "model": [simulated[of == pair].mean(axis=0) for pair in held_out.DOUBLES],
        "sum of the singles' effects": [known[a] + known[b] - known["control"] for a, b in pairs],
        "mean of the two singles": [(known[a] + known[b]) / 2 for a, b in pairs],
    }
    center = y[learned].mean(axis=0)
    observed = np.stack([y[labels == pair].mean(axis=0) for pair in held_out.DOUBLES]) - center
    row: dict[str, object] = {"what": "Norman, five held-out doubles, profiles about the mean"}
    for name, profiles in predictions.items():
        predicted = np.stack(profiles) - center
        row[name] = pearson(predicted, observed)
        row[f"mean squared error, {name}"] = float(((predicted - observed) ** 2).mean())
    return row


def counts(data: Path, seed: int, folder: Path) -> list[dict[str, object]]:
    adata = recovery.screen_of("counts", seed)
    model = trained(adata, seed, folder, "batch", **recovery.PROTOCOLS["counts"]["model"])
    masks = adata.uns["truth"]["masks"].astype(bool)
    truth = adata.uns["truth"]["average_treatment_effects"]
    effects = model.get_perturbation_effects()
    null = ~masks.any(axis=1)
    results = {
        "": model.get_average_treatment_effects(),
        " of combined": model.get_combined_effects(),
    }
    row: dict[str, object] = {"what": "counts simulation"}
    for name, ate in results.items():
        inside = (ate.layers["lower"] <= truth) & (truth <= ate.layers["upper"])
        row[name.removeprefix(" of ") or "model"] = pearson(ate.X, truth)
        row[f"coverage{name}"] = float(inside.mean())
        row[f"coverage{name}, with an effect"] = float(inside[~null].mean())
    inclusion = effects.layers["inclusion_probability"]
    left, right = sams.metrics.match_dimensions(inclusion > 0.5, masks)
    planted = np.zeros_like(inclusion, dtype=bool)
    planted[:, left] = masks[:, right]
    for fdr in (0.05, 0.1, 0.2):
        sams.tl.call_effects(effects, fdr=fdr)
        called = effects.layers["called"]
        row[f"FDR of dimensions at {fdr}"] = float(
            (called & ~planted).sum() / max(called.sum(), 1)
        )
        for name, ate in results.items():
            sams.tl.call_effects(ate, fdr=fdr)
            genes = ate.layers["called"]
            wrong = null[:, None] | (np.sign(truth) != np.sign(ate.X))
            row[f"FDR of genes{name} at {fdr}"] = float(
                (genes & wrong).sum() / max(genes.sum(), 1)
            )
    return [row]


SCREENS = {
    "papalexi": papalexi,
    "norman": norman,
    "schraivogel": schraivogel,
    "counts": counts,
}


def table(results: pd.DataFrame) -> str:
    """Mean ± sd over seeds, as markdown: one row a quantity, one table a screen."""
    parts = []
    for what, rows in results.groupby("what", sort=False):
        values = rows.drop(columns=["what", "seed"]).dropna(axis=1, how="all")
        lines = [f"| {what} | mean ± sd | runs |", "|---|---|---|"]
        lines += [
            f"| {name} | {column.mean():.3f} ± {column.std():.3f} | "
            + ", ".join(f"{value:.3f}" for value in column)
            + " |"
            for name, column in values.items()
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="file of rows to write")
    parser.add_argument("--screens", nargs="+", choices=list(SCREENS), default=list(SCREENS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--models", type=Path, default=Path("effects_models"), help="folder to keep the models in"
    )
    parser.add_argument("--table", type=Path, nargs="+", help="files of rows to summarise")
    options = parser.parse_args()
    if options.out is not None:
        data = Path(os.environ.get("SCVI_SAMS_DATA_DIR", "."))
        for screen in options.screens:
            for seed in options.seeds:
                for row in SCREENS[screen](data, seed, options.models / f"{screen}_{seed}"):
                    row["seed"] = seed
                    print(row, flush=True)
                    old = pd.read_csv(options.out) if options.out.exists() else pd.DataFrame()
                    pd.concat([old, pd.DataFrame([row])]).to_csv(options.out, index=False)
    if options.table is not None:
        print(table(pd.concat([pd.read_csv(path) for path in options.table])))


if __name__ == "__main__":
    main()
