"""Small screens, and models trained on them once."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from mudata import MuData
from scipy import sparse

import scvi_sams as sams
from scvi_sams.module._perturbations import offset

FEW_STEPS = {
    "max_epochs": 3,
    "batch_size": 64,
    "enable_progress_bar": False,
    "accelerator": "cpu",
}
SMALL = {"n_latent": 4, "n_hidden": 16}
MODELS = {
    cls.__name__: cls for cls in (sams.SAMSVAE, sams.CPAVAE, sams.SVAEPlus, sams.ConditionalVAE)
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what explains other failures, then the slow ones: workers end together."""
    items.sort(
        key=lambda item: (
            item.path.name != "test_scvi.py",
            item.get_closest_marker("slow") is None,
        )
    )


@pytest.fixture
def screen() -> ad.AnnData:
    """300 cells, 30 genes, 6 perturbations, combinations, doses and two batches."""
    adata = sams.datasets.simulate(
        6,
        n_cells_per_perturbation=25,
        n_control=60,
        n_genes=30,
        n_latent=3,
        n_combinations=3,
        doses=(0.5, 1.0, 2.0),
        seed=1,
    )
    rng = np.random.default_rng(0)
    adata.obs["depth"] = np.asarray(adata.X.sum(1)).ravel() * rng.uniform(2, 3, adata.n_obs)
    adata.obs["age"] = rng.normal(size=adata.n_obs)
    adata.obs["donor"] = pd.Categorical(rng.choice(["d1", "d2", "d3"], adata.n_obs))
    return adata


def set_up(adata: ad.AnnData, cls=sams.SAMSVAE, **kwargs) -> None:
    """Set up a screen by its labels; of combinations SVAE+ makes perturbations of their own."""
    if cls is sams.SVAEPlus:
        kwargs = {"delimiter": None} | kwargs
    cls.setup_anndata(
        adata,
        **{"perturbation_key": "perturbation", "control": "control", "batch_key": "batch"}
        | kwargs,
    )


def trained(adata: ad.AnnData, *, cls=sams.SAMSVAE, setup: dict | None = None, **kwargs):
    """A model after a few steps."""
    set_up(adata, cls, **(setup or {}))
    model = cls(adata, **SMALL | kwargs)
    model.train(**FEW_STEPS)
    return model


def real_valued(adata: ad.AnnData) -> ad.AnnData:
    """The screen with real values, some negative, in place of counts."""
    adata = adata.copy()
    x = np.log1p(adata.X.toarray())
    adata.X = (x - x.mean(0)).astype(np.float32)
    return adata


@pytest.fixture
def plain_screen():
    """A screen without doses."""
    return sams.datasets.simulate(
        4,
        n_cells_per_perturbation=20,
        n_control=30,
        n_genes=20,
        n_latent=3,
        n_combinations=2,
        seed=3,
    )


def dosages_of(adata) -> pd.DataFrame:
    """The encoded dosages under the names of their columns."""
    copy = adata.copy()
    sams.pp.encode_perturbations(copy, "perturbation", control="control")
    return pd.DataFrame(
        copy.obsm["perturbations"].toarray(),
        columns=copy.uns["perturbations_names"],
        index=copy.obs_names,
    )


@pytest.fixture
def mdata(plain_screen):
    """RNA and guides in modalities of their own; obs beside both."""
    table = dosages_of(plain_screen)
    guides = ad.AnnData(
        sparse.csr_matrix(table.to_numpy()),
        obs=plain_screen.obs[[]],
        var=pd.DataFrame(index=table.columns.astype(str)),
    )
    guides.layers["assigned"] = guides.X.copy()
    mdata = MuData({"rna": plain_screen, "guides": guides})
    mdata.obs["perturbation"] = plain_screen.obs["perturbation"].astype(str)
    return mdata


def losses(adata, setup):
    scvi.settings.seed = 0
    sams.SAMSVAE.setup_anndata(adata, batch_key="batch", **setup)
    model = sams.SAMSVAE(adata, **SMALL)
    model.train(**FEW_STEPS)
    return model.history["train_loss"].to_numpy(dtype=float), model


def offsets_of(model, shifts: torch.Tensor) -> torch.Tensor:
    """Offset of each cell of the model's data, given the shift of each perturbation."""
    packed = torch.as_tensor(model.adata.obsm["_scvi_perturbations"])
    index, dosage = packed.chunk(2, dim=1)
    return offset(shifts, index.long(), dosage)


@pytest.fixture
def model(screen: ad.AnnData) -> sams.SAMSVAE:
    """A model of the small screen after a few steps."""
    return trained(screen)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real screens."""
    folder = os.environ.get("SCVI_SAMS_DATA_DIR")
    if not folder:
        pytest.skip("SCVI_SAMS_DATA_DIR is not set, so there are no real screens to read")
    return Path(folder)
