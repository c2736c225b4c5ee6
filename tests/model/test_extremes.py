"""Training on what no one would simulate, and screens hold."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

from tests.conftest import FEW_STEPS, MODELS, SMALL

N_CELLS, N_GENES = 200, 12


def labels(n_cells=N_CELLS, n_perturbations=5):
    kinds = ["control", *(f"g{number}" for number in range(n_perturbations))]
    return [kinds[cell % len(kinds)] for cell in range(n_cells)]


def screen(counts=None, perturbations=None, **columns):
    rng = np.random.default_rng(0)
    counts = rng.poisson(2.0, (N_CELLS, N_GENES)) + 1 if counts is None else counts
    obs = {"perturbation": perturbations or labels(len(counts)), **columns}
    names = [f"c{cell}" for cell in range(len(counts))]
    return ad.AnnData(counts, obs=pd.DataFrame(obs, index=names))


def libraries_from_1_to_a_million():
    rng = np.random.default_rng(0)
    sizes = np.geomspace(1, 1e6, N_CELLS).astype(int)
    shares = rng.dirichlet(np.ones(N_GENES))
    return screen(np.stack([rng.multinomial(size, shares) for size in sizes]))


def one_cell_per_perturbation():
    received = [f"g{cell}" if cell % 2 else "control" for cell in range(N_CELLS)]
    return screen(perturbations=received)


def twenty_thousand_perturbations():
    rng = np.random.default_rng(0)
    received = ["control"] * 500 + [f"g{number}" for number in range(20_000)]
    return screen(rng.poisson(2.0, (len(received), 4)) + 1, perturbations=received)


def one_gene():
    return screen(np.random.default_rng(0).poisson(3.0, (N_CELLS, 1)) + 1)


def constant_genes():
    counts = np.random.default_rng(0).poisson(2.0, (N_CELLS, N_GENES)) + 1
    counts[:, 0], counts[:, 1], counts[:, 2] = 0, 1, 10_000
    return screen(counts)


def counts_of(dtype):
    counts = np.random.default_rng(0).poisson(2.0, (N_CELLS, N_GENES)) + 1
    return screen(counts.astype(dtype))


def doses(*values):
    return screen(dose=np.resize(values, N_CELLS).astype(float))


CASES = {
    "libraries": (libraries_from_1_to_a_million, {}),
    "one-cell-per-perturbation": (one_cell_per_perturbation, {}),
    "20000-perturbations": (twenty_thousand_perturbations, {}),
    "one-gene": (one_gene, {}),
    "constant-genes": (constant_genes, {}),
    "float16": (lambda: counts_of(np.float16), {}),
    "int64": (lambda: counts_of(np.int64), {}),
    "more-dimensions-than-genes": (screen, {"n_latent": 3 * N_GENES}),
    "tiny-doses": (lambda: doses(1e-6), {}),
    "huge-doses": (lambda: doses(1e6), {}),
    "tiny-and-huge-doses": (lambda: doses(1e-6, 1.0, 1e6), {}),
}


@pytest.mark.parametrize("cls", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(("make", "settings"), CASES.values(), ids=CASES)
@pytest.mark.filterwarnings("ignore:.*have no training cell:UserWarning")
def test_training_stays_finite(make, settings, cls):
    adata = make()
    has_doses = "dose" in adata.obs
    cls.setup_anndata(
        adata,
        perturbation_key="perturbation",
        control="control",
        dosage_key="dose" if has_doses else None,
    )
    model = cls(adata, **SMALL | settings)
    model.train(**FEW_STEPS | {"max_epochs": 5, "batch_size": max(N_CELLS, adata.n_obs // 10)})
    for name, values in model.module.state_dict().items():
        assert torch.isfinite(values).all(), name
    for name, table in model.history.items():
        assert np.isfinite(table.to_numpy(dtype=float)).all(), name
    assert np.isfinite(model.get_latent_representation()).all()
    names = model.perturbation_names[:2]
    for dose in {1.0, *(adata.obs["dose"] if has_doses else ())}:
        asked = {"doses": [dose] * len(names)} if has_doses else {}
        effects = model.get_average_treatment_effects(names, n_samples=20, **asked)
        assert np.isfinite(effects.X).all()
        assert np.isfinite(effects.layers["sd"]).all()
        assert np.isfinite(model.predict(names, n_cells=5, **asked).X.sum())
