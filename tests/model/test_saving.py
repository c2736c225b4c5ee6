"""Saving, loading, minified data, and models from another environment."""

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
import torch

import scvi_sams as sams
from tests.conftest import FEW_STEPS, MODELS, real_valued, trained

# every class, and every part that has parameters of its own
KINDS = {
    **{name: (name, {}) for name in MODELS},
    "correlated": ("SAMSVAE", {"effect_guide": "correlated"}),
    "beta": ("SAMSVAE", {"mask_prior": ("beta", 1.0, 5.0), "effect_guide": "mean_field"}),
    "no-masks": ("SAMSVAE", {"mask_prior": None}),
    "zinb": ("SAMSVAE", {"gene_likelihood": "zinb", "dispersion": "gene-cell"}),
    "poisson": ("CPAVAE", {"gene_likelihood": "poisson"}),
    "normal": ("SAMSVAE", {"gene_likelihood": "normal"}),
}


def outputs(model, adata=None):
    found = {
        "latent": model.get_latent_representation(adata),
        "basal": model.get_latent_representation(adata, kind="basal"),
        "ate": model.get_average_treatment_effects(n_samples=20).X,
    }
    if hasattr(model, "get_perturbation_effects"):
        found["effects"] = model.get_perturbation_effects().X
    return found


def assert_same(found, expected, atol=1e-6):
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=atol, err_msg=key)


def iwelbo(model):
    torch.manual_seed(0)
    return model.get_predictive_iwelbo(n_particles=3).to_numpy()


@pytest.mark.parametrize(
    "setup",
    [
        pytest.param({}, id="labels"),
        pytest.param(
            {
                "size_factor_key": "depth",
                "dosage_key": "dosage",
                "categorical_covariate_keys": ["donor"],
                "continuous_covariate_keys": ["age"],
            },
            id="everything",
        ),
    ],
)
def test_saved_model_gives_the_same_outputs(screen, tmp_path, setup):
    model = trained(screen, setup=setup)
    expected = outputs(model)
    model.save(str(tmp_path / "model"), save_anndata=True)
    loaded = sams.SAMSVAE.load(str(tmp_path / "model"))
    assert_same(outputs(loaded), expected)
    np.testing.assert_allclose(iwelbo(loaded), iwelbo(model), rtol=1e-6)
    given = sams.SAMSVAE.load(str(tmp_path / "model"), screen.copy())
    assert_same(outputs(given), expected)
    pd.testing.assert_frame_equal(
        given.history["elbo_validation"], model.history["elbo_validation"], check_dtype=False
    )


def test_loading_without_data_gives_effects_and_takes_new_data_by_name(model, tmp_path):
    adata = model.adata
    expected = outputs(model)
    model.save(str(tmp_path / "model"))
    loaded = sams.SAMSVAE.load(str(tmp_path / "model"), adata=False)
    np.testing.assert_allclose(loaded.get_perturbation_effects().X, expected["effects"])
    query = ad.AnnData(
        adata.X.copy(), obs=adata.obs[["perturbation", "batch"]].copy(), var=adata.var.copy()
    )
    assert_same(
        outputs(loaded, query[::-1].copy()),
        {
            "latent": expected["latent"][::-1],
            "basal": expected["basal"][::-1],
        },
    )


def test_loading_onto_data_with_an_unknown_perturbation_raises(model, screen, tmp_path):
    model.save(str(tmp_path / "model"))
    other = screen.copy()
    other.obs["perturbation"] = other.obs["perturbation"].cat.rename_categories(
        {"pert_2": "pert_x"}
    )
    with pytest.raises(ValueError, match="'pert_x'"):
        sams.SAMSVAE.load(str(tmp_path / "model"), other)


def test_loaded_model_trains_on(model, tmp_path):
    model.save(str(tmp_path / "model"), save_anndata=True)
    loaded = sams.SAMSVAE.load(str(tmp_path / "model"))
    loaded.train(**FEW_STEPS)
    assert loaded.is_trained


@pytest.mark.parametrize(("name", "settings"), KINDS.values(), ids=KINDS)
def test_each_kind_of_model_is_saved_with_all_that_it_knows(screen, tmp_path, name, settings):
    cls = MODELS[name]
    if settings.get("gene_likelihood") == "normal":
        screen = real_valued(screen)
    model = trained(screen, cls=cls, **settings)
    expected = outputs(model)
    model.save(str(tmp_path / "model"), save_anndata=True)
    loaded = cls.load(str(tmp_path / "model"), accelerator="cpu")
    assert_same(outputs(loaded), expected)
    np.testing.assert_allclose(iwelbo(loaded), iwelbo(model), rtol=1e-5)
    bare = cls.load(str(tmp_path / "model"), adata=False, accelerator="cpu")
    ate = bare.get_average_treatment_effects(n_samples=20)
    np.testing.assert_allclose(ate.X, expected["ate"], atol=1e-6)
    assert_same(outputs(bare, screen), expected)
    assert bare.init_params_ == model.init_params_
    assert all(
        torch.equal(found, value)
        for found, value in zip(
            bare.module.state_dict().values(), model.module.state_dict().values(), strict=True
        )
    )


@pytest.mark.parametrize(
    ("name", "settings"),
    [pytest.param(*KINDS[kind], id=kind) for kind in (*MODELS, "correlated", "normal")],
)
def test_each_kind_of_model_takes_minified_data(screen, tmp_path, name, settings):
    if settings.get("gene_likelihood") == "normal":
        screen = real_valued(screen)
    model = trained(screen, cls=MODELS[name], **settings)
    expected = outputs(model)
    mean, variance = model.get_latent_representation(return_dist=True)
    model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = mean, variance
    full = model.get_normalized_expression(n_samples=100, library_size="latent")
    model.minify_adata()
    assert_same(outputs(model), expected, atol=1e-5)
    minified = model.get_normalized_expression(n_samples=100, library_size="latent")
    # the uncertainty of shifts is not kept
    correlation = np.corrcoef(minified.to_numpy().ravel(), full.to_numpy().ravel())[0, 1]
    assert correlation > (0.6 if settings.get("gene_likelihood") == "normal" else 0.95)
    model.save(str(tmp_path / "mini"), save_anndata=True)
    loaded = MODELS[name].load(str(tmp_path / "mini"), accelerator="cpu")
    assert_same(outputs(loaded), expected, atol=1e-5)


@pytest.mark.parametrize("size_factor", [False, True], ids=["library", "size-factor"])
def test_minified_data_gives_the_same_outputs(screen, tmp_path, size_factor):
    model = trained(screen, setup={"size_factor_key": "depth"} if size_factor else {})
    expected = outputs(model)
    mean, variance = model.get_latent_representation(return_dist=True)
    model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = mean, variance
    full = model.get_normalized_expression(n_samples=200)
    ate = model.get_average_treatment_effects(["pert_1"], normalization="mean")
    model.minify_adata()
    assert model.minified_data_type == "latent_posterior_parameters"
    assert model.adata.X.nnz == 0
    assert_same(outputs(model), expected, atol=1e-5)
    minified = model.get_normalized_expression(n_samples=200)
    np.testing.assert_allclose(minified.mean(), full.mean(), rtol=0.1)
    again = model.get_average_treatment_effects(["pert_1"], normalization="mean")
    np.testing.assert_allclose(again.X, ate.X, rtol=1e-4, atol=1e-5)

    model.save(str(tmp_path / "mini"), save_anndata=True)
    loaded = sams.SAMSVAE.load(str(tmp_path / "mini"))
    assert loaded.minified_data_type == "latent_posterior_parameters"
    assert_same(outputs(loaded), expected, atol=1e-5)


def test_minified_data_refuses_what_needs_counts(model):
    mean, variance = model.get_latent_representation(return_dist=True)
    model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = mean, variance
    model.minify_adata()
    for method in (model.get_elbo, model.get_predictive_iwelbo, lambda: model.train(**FEW_STEPS)):
        with pytest.raises(ValueError, match="does not support minified data"):
            method()


EXCHANGE = os.environ.get("SCVI_SAMS_EXCHANGE_DIR")


@pytest.mark.skipif(
    not EXCHANGE, reason="SCVI_SAMS_EXCHANGE_DIR, where environments swap models, is not set"
)
@pytest.mark.parametrize(("name", "settings"), KINDS.values(), ids=KINDS)
def test_models_of_other_environments_load_with_the_same_outputs(screen, name, settings, request):
    """Each environment leaves models behind, and loads those that others left."""
    model = trained(screen, cls=MODELS[name], **settings)
    kind = request.node.callspec.id
    folder = Path(EXCHANGE)
    own = folder / f"scvi-tools-{scvi.__version__}" / kind
    others = sorted(set(folder.glob(f"scvi-tools-*/{kind}")) - {own})
    assert len(others) >= int(os.environ.get("SCVI_SAMS_EXCHANGE_AT_LEAST", "0"))
    for other in others:
        expected = dict(np.load(other / "outputs.npz"))
        assert_same(outputs(MODELS[name].load(str(other), accelerator="cpu")), expected)
    model.save(str(own), save_anndata=True, overwrite=True)
    np.savez(own / "outputs.npz", **outputs(model))
    assert_same(outputs(MODELS[name].load(str(own), accelerator="cpu")), outputs(model))


def test_model_without_data_says_so(model, tmp_path):
    model.save(str(tmp_path / "model"))
    loaded = sams.SAMSVAE.load(str(tmp_path / "model"), False, accelerator="cpu")
    for method in (loaded.annotate, loaded.get_latent_representation, loaded.train):
        with pytest.raises(ValueError, match="loaded without data"):
            method()
