"""What examples find: in docstrings (``pytest --doctest-modules``) and in documents."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scvi
import torch
from mudata import MuData

import scvi_sams as sams

mpl.use("agg")

import matplotlib.pyplot as plt

collect_ignore = [] if find_spec("annbatch") else ["src/scvi_sams/data/_annbatch.py"]

NAMES = ("A", "B", "KLF1", "MAP2K6", "STAT1", "IRF1")
SETTINGS = {"perturbation_key": "perturbation", "control": "control"}
BENCHMARK = """
name: Stand-in
datasets:
  mine: {path: screen.h5ad, perturbation_key: perturbation, control: control, splits: [cells]}
splits:
  cells: {method: random}
models:
  mine: {model: SAMSVAE, settings: {n_latent: 4}}
seeds: [0]
"""


@pytest.fixture(autouse=True)
def quiet_and_seeded() -> None:
    """Every test starts from the same seed and one thread."""
    torch.set_num_threads(1)
    scvi.settings.verbosity = 40
    scvi.settings.seed = 0


@pytest.fixture
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models train for two epochs, whatever they are told."""
    train = sams.SAMSVAE.train
    few = {"max_epochs": 2, "enable_progress_bar": False, "accelerator": "cpu"}
    monkeypatch.setattr(sams.SAMSVAE, "train", lambda self, **kwargs: train(self, **kwargs | few))


@pytest.fixture
def example_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_training: None
) -> Iterator[dict[str, Any]]:
    """A screen, a model of it, and the files that examples read, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCVI_SAMS_DATA_DIR", raising=False)  # files are found here, not there
    monkeypatch.setattr(plt, "show", lambda: None)
    adata = _screen()
    adata.write_h5ad("screen.h5ad")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Writing zarr v2 data")
        adata.write_zarr("screen.zarr")
    Path("screens.yaml").write_text(BENCHMARK)
    Path("h.all.v7.5.1.symbols.gmt").write_text(
        "".join(f"SET_{i}\t\t" + "\t".join(adata.var_names[i::3]) + "\n" for i in range(3))
    )
    sams.SAMSVAE.setup_anndata(adata, **SETTINGS, batch_key="replicate")
    model = sams.SAMSVAE(adata, n_latent=4, n_hidden=16, mask_prior=0.9)
    model.train(plan_kwargs={"n_steps_dense": 0, "lr": 0.1})
    is_control = adata.obs["perturbation"] == "control"
    yield {
        "np": np,
        "sc": sc,
        "sams": sams,
        "adata": adata,
        "model": model,
        "controls": adata[is_control].copy(),
        "held_out": adata,
        "mdata": _with_guides(adata),
    }
    plt.close("all")


@pytest.fixture(autouse=True)
def names_of_docstrings(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> None:
    """Examples in docstrings see the names, and each its own."""
    if isinstance(request.node, pytest.DoctestItem):
        doctest_namespace.update(request.getfixturevalue("example_names"))


def _screen() -> ad.AnnData:
    """440 cells, 30 genes, two replicates, single perturbations and pairs."""
    adata = sams.datasets.simulate(
        len(NAMES),
        n_cells_per_perturbation=20,
        n_control=200,
        n_genes=30,
        n_latent=3,
        null_fraction=0,
        n_combinations=6,
        seed=1,
    )
    labels = adata.obs["perturbation"].astype(str)
    pair = next(label for label in labels if "+" in label).split("+")
    others = [label for label in labels.unique() if "pert" in label and "+" not in label]
    simulated = [*pair, *(label for label in others if label not in pair)]
    for old, new in zip(simulated, NAMES, strict=True):
        labels = labels.str.replace(old, new)
    adata.obs["perturbation"] = labels.astype("category")
    adata.obs["replicate"] = adata.obs.pop("batch").cat.rename_categories(["r1", "r2"])
    rng = np.random.default_rng(0)
    adata.obs["donor"] = rng.choice(["d1", "d2"], adata.n_obs)
    adata.obs["age"] = rng.normal(size=adata.n_obs)
    adata.obs["total_umis"] = 2 * adata.X.sum(1)
    non_targeting = pd.Series(rng.choice(["NT1", "NT2", "NT3"], adata.n_obs), adata.obs_names)
    adata.obs["guide"] = labels.where(labels != "control", non_targeting)
    sams.splits.random(adata, stratify_keys="perturbation", test_share=0.5)
    del adata.uns["truth"]
    return adata


def _with_guides(adata: ad.AnnData) -> MuData:
    """The screen beside raw counts of its guide RNAs."""
    single = adata[~adata.obs["guide"].str.contains("+", regex=False)].copy()
    given = pd.get_dummies(single.obs["guide"])
    counts = np.random.default_rng(0).poisson(0.05 + 50 * given.to_numpy())
    guides = ad.AnnData(counts.astype(np.float32), obs=single.obs[["perturbation"]].copy())
    guides.var_names = given.columns.astype(str)
    guides.obs["target"] = guides.obs.pop("perturbation")
    return MuData({"rna": single, "guides": guides})
