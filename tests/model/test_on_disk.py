"""Models of screens whose counts stay on a disk."""

import anndata as ad
import numpy as np
import pytest

import scvi_sams as sams
from tests.conftest import FEW_STEPS, SMALL, set_up, trained
from tests.data.stores import write


@pytest.fixture
def stored(screen, tmp_path):
    screen.write_h5ad(tmp_path / "screen.h5ad")
    adata = sams.datasets.open_store(tmp_path / "screen.h5ad")
    set_up(adata)
    return adata


SOME = np.array([200, 3, 77, 3])
QUESTIONS = {
    "latent": lambda model, adata: model.get_latent_representation(adata, indices=SOME),
    "basal": lambda model, adata: model.get_latent_representation(
        adata, indices=SOME, kind="basal"
    ),
    "counterfactual": lambda model, adata: model.predict(["pert_1"], cells=adata, kind="mean").X[
        SOME
    ],
    "iwelbo": lambda model, adata: model.get_predictive_iwelbo(
        adata, indices=SOME, n_particles=1_000
    ),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS.keys())
def test_answers_are_those_in_memory(screen, stored, ask):
    model = trained(screen)
    found, expected = ask(model, stored), ask(model, screen)
    rtol = 5e-3 if ask is QUESTIONS["iwelbo"] else 1e-5  # the one is a Monte Carlo estimate
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-5)


def test_annotation_of_a_backed_file(screen, stored):
    model = trained(screen)
    model.annotate(stored)
    model.annotate(screen)
    for key in ("X_sams", "X_sams_basal"):
        np.testing.assert_allclose(stored.obsm[key], screen.obsm[key], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_training_finds_the_same(tmp_path, suffix):
    adata = sams.datasets.simulate(
        4, n_cells_per_perturbation=150, n_control=200, n_genes=40, n_latent=3, seed=1
    )
    rng = np.random.default_rng(0)
    adata.obs["split"] = rng.choice(["train", "val"], adata.n_obs, p=[0.8, 0.2])
    path = tmp_path / f"screen{suffix}"
    write(adata, path)
    bounds, models = [], []
    for data in (adata, sams.datasets.open_store(path)):
        sams.SAMSVAE.setup_anndata(data, perturbation_key="perturbation", control="control")
        model = sams.SAMSVAE(data, **SMALL)
        model.train(**FEW_STEPS | {"max_epochs": 40}, split_key="split")
        bounds.append(model.history["elbo_validation"].to_numpy(dtype=float).min())
        models.append(model)
    in_memory, on_disk = models
    assert np.isclose(*bounds, rtol=2e-3)
    assert np.array_equal(
        in_memory.module.perturbations.n_cells, on_disk.module.perturbations.n_cells
    )
    assert np.array_equal(in_memory.module.encoder.input_mean, on_disk.module.encoder.input_mean)


def test_saved_without_its_data(stored, tmp_path):
    model = sams.SAMSVAE(stored, **SMALL)
    model.train(**FEW_STEPS)
    model.save(tmp_path / "model")
    again = sams.SAMSVAE.load(tmp_path / "model", adata=stored)
    np.testing.assert_array_equal(
        again.get_latent_representation(), model.get_latent_representation()
    )
    assert isinstance(stored, ad.AnnData)
    assert stored.isbacked


def test_minifying_is_refused_and_sharing_takes_all_or_nothing(stored, tmp_path):
    model = sams.SAMSVAE(stored, **SMALL)
    model.train(**FEW_STEPS)
    with pytest.raises(NotImplementedError, match="on a disk"):
        model.minify_adata()
    with pytest.raises(ValueError, match="on a disk cannot be minified"):
        sams.hub.to_hub(model, tmp_path / "shared", license="mit")
    folder = sams.hub.to_hub(model, tmp_path / "shared", license="mit", data="full")
    loaded = sams.hub.load_safely(folder)
    np.testing.assert_array_equal(loaded.adata.X.toarray(), stored.to_memory().X.toarray())
