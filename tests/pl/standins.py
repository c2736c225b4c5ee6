"""Results as models and tools return them, built by hand."""

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
from scipy.stats import norm

SMALL = {"n_perturbations": 5, "n_latent": 6, "n_genes": 30}
LARGE = {"n_perturbations": 100, "n_latent": 50, "n_genes": 2_000}


def names(stem, n):
    """Names of which every seventh is long."""
    longer = ["_OF_A_LONG_NAME_INDEED" if i % 7 == 3 else "" for i in range(n)]
    return pd.Index([f"{stem}{i:03d}{more}" for i, more in enumerate(longer)])


def matrix(values, rows, columns, layers=None, **kwargs):
    return ad.AnnData(
        values,
        obs=pd.DataFrame(index=rows),
        var=pd.DataFrame(index=columns),
        layers=layers,
        **kwargs,
    )


def effects(n_perturbations=5, n_latent=6, n_genes=None, n_clusters=3):
    """Perturbations of clusters that share the dimensions they shift; the last one is unused."""
    rng = np.random.default_rng(0)
    cluster = rng.integers(n_clusters, size=n_perturbations)
    included = rng.random((n_clusters, n_latent))[cluster] < 0.3
    included[:, 0], included[:, -1] = True, False
    shift = rng.normal(size=(n_clusters, n_latent))[cluster]
    shift = np.where(included, shift + 0.3 * rng.normal(size=included.shape), 0.0)
    data = matrix(
        shift,
        names("PERTURBATION", n_perturbations),
        [f"z{k}" for k in range(n_latent)],
        {"inclusion_probability": np.clip(included + rng.normal(0, 0.02, shift.shape), 0, 1)},
    )
    data.obs["cluster"] = pd.Categorical([f"cluster {c:02d}" for c in cluster])
    return data


def ate(n_perturbations=5, n_latent=None, n_genes=30):
    """Effects of which each tenth is large, with normal posteriors."""
    rng = np.random.default_rng(0)
    shape = n_perturbations, n_genes
    sd = rng.uniform(0.02, 0.1, shape)
    effect = np.where(rng.random(shape) < 0.1, rng.normal(size=shape), 0) + sd * rng.normal(
        size=shape
    )
    lfsr = np.round(norm.cdf(-np.abs(effect) / sd), 4)  # of samples: some are zero
    return matrix(
        effect,
        names("PERTURBATION", n_perturbations),
        names("GENE", n_genes),
        {"sd": sd, "lower": effect - 2 * sd, "upper": effect + 2 * sd, "lfsr": lfsr},
        uns={"ate": {"normalization": "log2_cp10k", "control": "control"}},
    )


def doses(n_doses=6, n_genes=30):
    """One perturbation at several doses, in no order, after another one at its own."""
    rng = np.random.default_rng(0)
    dose = np.append(rng.permutation(np.arange(1.0, n_doses + 1)), 1.0)
    effect = dose[:, None] * np.linspace(-1, 1, n_genes)
    data = matrix(
        effect,
        [f"DRUG_{d}" for d in dose[:-1]] + ["OTHER"],
        names("GENE", n_genes),
        {"lower": effect - 0.3, "upper": effect + 0.3},
        uns={"ate": {"normalization": "mean"}},
    )
    data.obs["perturbation"] = ["DRUG"] * n_doses + ["OTHER"]
    data.obs["dose"] = dose
    support = {n_doses: "beyond", n_doses - 1: "between"}
    data.obs["dose_support"] = [support.get(d, "seen") for d in dose]
    return data


def responses(n_perturbations=5, n_latent=6, n_genes=30):
    rng = np.random.default_rng(0)
    data = matrix(
        rng.normal(size=(n_latent, n_genes)),
        [f"z{k}" for k in range(n_latent)],
        names("GENE", n_genes),
    )
    data.obs["n_perturbations"] = np.arange(n_latent)
    return data


def interactions(n_perturbations=5, n_latent=None, n_genes=30):
    """Pairs that add up but for a tenth of the genes; the last pair was not observed."""
    rng = np.random.default_rng(0)
    pairs = [f"{name}+PARTNER{i}" for i, name in enumerate(names("LEFT", n_perturbations))]
    index = pd.MultiIndex.from_product([pairs, names("GENE", n_genes)], names=["pair", "gene"])
    n = len(index)
    interacts = rng.random(n) < 0.1
    predicted = rng.normal(size=n)
    extra = np.where(interacts, rng.normal(0, 1, n), rng.normal(0, 0.05, n))
    frame = pd.DataFrame(
        {
            "predicted": predicted,
            "lower": predicted - 0.2,
            "upper": predicted + 0.2,
            "observed": predicted + extra,
            "observed_sd": 0.1,
            "interaction": extra,
            "interaction_lower": extra - 0.3,
            "interaction_upper": extra + 0.3,
            "lfsr": norm.cdf(-np.abs(extra) / 0.15),
        },
        index=index,
    )
    unobserved = index.get_level_values("pair") == pairs[-1]
    columns = [c for c in frame if c not in ("predicted", "lower", "upper")]
    frame.loc[unobserved, columns] = np.nan
    return frame


def check(n_perturbations=5, n_latent=None, n_genes=30):
    """Replicated statistics that miss each twentieth entry."""
    rng = np.random.default_rng(0)
    shape = n_perturbations, n_genes
    missed = rng.random(shape) < 0.05
    mean = rng.lognormal(0, 1.5, shape)
    observed = {
        "ate": rng.normal(size=shape),
        "mean": mean,
        "variance": mean + 0.3 * mean**2,
        "zeros": np.exp(-mean),
    }
    layers = {}
    for name, values in observed.items():
        layers[f"{name}_observed"] = values
        layers[f"{name}_replicated"] = values * np.where(missed, 0.4, rng.uniform(0.8, 1, shape))
        layers[f"{name}_pvalue"] = np.where(missed, 0.999, rng.uniform(0.02, 0.98, shape))
    rows = names("PERTURBATION", n_perturbations)
    return matrix(None, rows, names("GENE", n_genes), layers)


def model(n_epochs=200, n_dense=40):
    """A model whose masks were free from ``n_dense`` epochs on, and whose best epoch is 150."""
    epochs = np.arange(n_epochs)
    train = 300 + 40 * np.exp(-epochs / 20) + np.where(epochs < 1, 400, 0)
    validation = np.where(epochs < n_dense, 304, 305 + 1e-3 * np.abs(epochs - 150))
    values = {
        "train_loss": train,
        "elbo_train": train,
        "elbo_validation": validation,
        "reconstruction_loss_train": train - 10,
        "reconstruction_loss_validation": validation - 10,
        "kl_local_train": np.full(n_epochs, 10.0),
        "kl_local_validation": np.full(n_epochs, 11.0),
        "kl_mask_validation": np.where(epochs < n_dense, 0.0, 0.1),
    }
    index = pd.Index(epochs, name="epoch")
    history = {
        name: pd.DataFrame({name: value}, index=index, dtype=object)
        for name, value in values.items()
    }
    return SimpleNamespace(history=history)
