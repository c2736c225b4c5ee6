"""Trained models for questions of what would happen, and data that must stay as it is."""

import contextlib
from copy import deepcopy

import anndata as ad
import numpy as np
import pandas as pd
import scvi
import torch
from scipy import sparse

import scvi_sams as sams
from tests.conftest import FEW_STEPS, SMALL, set_up, trained

COVARIATES = {
    "categorical_covariate_keys": ["donor", "plate"],
    "continuous_covariate_keys": ["age"],
}


def shown_effect(y, labels, batches, name, control="control"):
    """Mean of responses (cells x genes) of a label less those of control cells of its batches."""
    labels, batches = np.asarray(labels).astype(str), np.asarray(batches).astype(str)
    cells = labels == name
    of_control = {b: y[(labels == control) & (batches == b)].mean(0) for b in set(batches[cells])}
    return np.mean(
        [one - of_control[b] for one, b in zip(y[cells], batches[cells], strict=True)], axis=0
    )


def dosed_screen(seed: int = 1) -> ad.AnnData:
    """About 300 cells, 30 genes, 6 perturbations, 3 combinations, doses and covariates."""
    adata = sams.datasets.simulate(
        6,
        n_cells_per_perturbation=25,
        n_control=60,
        n_genes=30,
        n_latent=3,
        n_combinations=3,
        doses=(0.5, 1.0, 2.0),
        seed=seed,
    )
    rng = np.random.default_rng(0)
    adata.obs["depth"] = np.asarray(adata.X.sum(1)).ravel() * rng.uniform(2, 3, adata.n_obs)
    adata.obs["age"] = rng.normal(size=adata.n_obs)
    adata.obs["donor"] = pd.Categorical(rng.choice(["d1", "d2", "d3"], adata.n_obs))
    adata.obs["plate"] = pd.Categorical(rng.integers(7, 9, adata.n_obs))
    return adata


def planted(model):
    """The model with sure masks and large known effects, whose basal states are sure too."""
    generator = torch.Generator().manual_seed(0)
    module = model.module
    if hasattr(module.perturbations.masks, "logits"):
        module.perturbations.masks.logits.data.fill_(50.0)
    effects = module.perturbations.effects
    if hasattr(effects, "relative_loc"):
        effects.relative_loc.data.normal_(std=1.5, generator=generator)
    if hasattr(effects, "raw_scale"):
        effects.raw_scale.data.fill_(-30.0)
    module.encoder.raw_scale.weight.data.zero_()
    module.encoder.raw_scale.bias.data.fill_(-30.0)
    return model


def planted_model(**kwargs):
    """A planted model of a dosed screen; see :func:`tests.conftest.trained`."""
    scvi.settings.seed = 0
    torch.set_num_threads(1)
    return planted(trained(dosed_screen(), **kwargs))


def letters() -> ad.AnnData:
    """Perturbations A (doses 0.5, 1, 2), B, A+B, and C without a training cell."""
    adata = dosed_screen()[:240].copy()
    label = np.repeat(["ctrl", "A", "B", "A+B", "C"], [60, 60, 50, 50, 20])
    dose = np.ones(240)
    dose[label == "A"] = np.resize([0.5, 1.0, 2.0], 60)
    adata.obs["label"], adata.obs["dose_given"] = label, dose
    adata.obs["split"] = np.where(np.arange(240) % 5, "train", "val")
    adata.obs.loc[label == "C", "split"] = "test"
    return adata


def model_of_letters(cls=sams.SAMSVAE, warns=contextlib.nullcontext, **setup):
    """A model of :func:`letters` that trained on its split."""
    scvi.settings.seed = 0
    adata = letters()
    source = {} if "perturbation_obsm_key" in setup else {"perturbation_key": "label"}
    control = {"control": "ctrl"} if source else {"control": None}
    if "perturbation_obsm_key" in setup:
        received = adata.obs["label"].str.get_dummies("+").drop(columns="ctrl")
        adata.obsm[setup["perturbation_obsm_key"]] = received.astype(float)
    set_up(adata, cls, **{"perturbation_key": None} | source | control | setup)
    model = cls(adata, **SMALL)
    with warns():
        model.train(**FEW_STEPS, split_key="split")
    return model


def decoded(model, z, adata):
    """Expected share of each gene of states ``z`` in the batches of cells; the layers by hand."""
    module = model.module
    names = sorted(set(model.adata.obs["batch"]))
    batch = np.eye(len(names))[[names.index(name) for name in adata.obs["batch"]]]
    with torch.no_grad():
        hidden = module.decoder(
            torch.as_tensor(np.asarray(z), dtype=torch.float32),
            torch.as_tensor(batch, dtype=torch.float32),
        )
        return module.likelihood.to_genes(hidden).softmax(-1).numpy()


def totals(adata) -> np.ndarray:
    """Counts of each cell."""
    return np.asarray(adata.X.sum(1)).ravel()


@contextlib.contextmanager
def left_alone(adata):
    """Check that the block changes nothing of an AnnData."""
    was_view, obs, uns = adata.is_view, adata.obs.copy(), deepcopy(dict(adata.uns))
    obsm = {key: _dense(value).copy() for key, value in adata.obsm.items()}
    x, layers = _dense(adata.X).copy(), sorted(adata.layers)
    try:
        yield
    finally:
        assert adata.is_view == was_view
        pd.testing.assert_frame_equal(adata.obs, obs)
        assert sorted(adata.uns) == sorted(uns)
        assert {k: v for k, v in adata.uns.items() if k.startswith("_scvi")} == {
            k: v for k, v in uns.items() if k.startswith("_scvi")
        }
        assert sorted(adata.obsm) == sorted(obsm)
        for key, value in obsm.items():
            np.testing.assert_array_equal(_dense(adata.obsm[key]), value)
        np.testing.assert_array_equal(_dense(adata.X), x)
        assert sorted(adata.layers) == layers


def bare(adata) -> ad.AnnData:
    """The same cells as they were before any setup."""
    columns = [key for key in adata.obs if not key.startswith("_scvi")]
    return ad.AnnData(adata.X.copy(), obs=adata.obs[columns].copy(), var=adata.var.copy())


def _dense(x):
    return x.toarray() if sparse.issparse(x) else np.asarray(x)
