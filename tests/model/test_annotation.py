"""Results where scanpy finds them, and in files."""

import warnings

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from mudata import MuData, read_h5mu

import scvi_sams as sams
from tests.conftest import MODELS, dosages_of, trained


def sure_of_some(model):
    """The model with two masks on, of which that of z2 has the larger effect."""
    posterior = model.module.perturbations
    with torch.no_grad():
        posterior.masks.logits[:] = -10
        posterior.masks.logits[1, 2] = posterior.masks.logits[0, 1] = 10
        posterior.effects.relative_loc[1, 2], posterior.effects.relative_loc[0, 1] = -3, 1
    return model


def written_and_read(adata, path, file_format):
    if file_format == "h5ad":
        adata.write_h5ad(path)
        return ad.read_h5ad(path)
    with ad.settings.override(zarr_write_format=int(file_format[-1])):
        adata.write_zarr(path)
    return ad.read_zarr(path)


def assert_same(found, expected):
    """Equal, at any depth."""
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        for key, value in expected.items():
            assert "/" not in key
            assert_same(found[key], value)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore:.*(zarr v2 data|zarr v3|Zarr format 3)")
@pytest.mark.parametrize("file_format", ["h5ad", "zarr-2", "zarr-3"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        pytest.param("SAMSVAE", {}, id="SAMSVAE"),
        pytest.param("SAMSVAE", {"mask_prior": ("beta", 1.0, 5.0)}, id="beta"),
        pytest.param("SAMSVAE", {"mask_prior": None}, id="no-masks"),
        pytest.param("CPAVAE", {}, id="CPAVAE"),
        pytest.param("SVAEPlus", {}, id="SVAEPlus"),
        pytest.param("ConditionalVAE", {}, id="ConditionalVAE"),
    ],
)
def test_annotation_survives_writing(screen, tmp_path, name, settings, file_format):
    renamed = {"pert_0": "NT/safe-2", "pert_1": "IFN-γ 受体", "pert_2": "a.b,c"}
    screen.obs["perturbation"] = [
        "+".join(renamed.get(part, part) for part in label.split("+"))
        for label in screen.obs["perturbation"].astype(str)
    ]
    model = trained(screen, cls=MODELS[name], **settings)
    model.annotate()
    back = written_and_read(screen, tmp_path / "screen", file_format)
    for key in ("X_sams", "X_sams_basal", "_scvi_perturbations"):
        np.testing.assert_array_equal(back.obsm[key], screen.obsm[key])
    assert (back.obsm["perturbations"] != screen.obsm["perturbations"]).nnz == 0
    # text may come back as another type of text
    loosely = {"check_dtype": False, "check_categorical": False, "check_index_type": False}
    pd.testing.assert_frame_equal(back.obs, screen.obs, **loosely)
    assert_same(back.uns["sams"], screen.uns["sams"])
    assert list(back.uns["sams"]["perturbation_names"]) == list(model.perturbation_names)
    assert {"NT/safe-2", "IFN-γ 受体"} < set(back.obs["sams_condition"])
    found = back.uns["sams"]["settings"]
    assert found.pop("model") == name
    assert set(found) == set(model._settings)
    for key, value in model._settings.items():
        kept = isinstance(value, str | bool | int | float)
        assert found[key] == (value if kept else str(value))
    # the file serves the model
    other = MODELS[name].load(save(model, tmp_path), back)
    np.testing.assert_allclose(other.get_latent_representation(), back.obsm["X_sams"], atol=1e-5)


def save(model, folder) -> str:
    model.save(str(folder / "model"))
    return str(folder / "model")


def test_states_and_effects_are_those_of_the_model(model):
    model.annotate()
    adata, result = model.adata, model.adata.uns["sams"]
    np.testing.assert_array_equal(adata.obsm["X_sams"], model.get_latent_representation())
    np.testing.assert_array_equal(
        adata.obsm["X_sams_basal"], model.get_latent_representation(kind="basal")
    )
    effects = model.get_perturbation_effects()
    np.testing.assert_array_equal(result["effects"], effects.X)
    for layer in [name for name in effects.layers if name is not None]:  # None is X
        values = effects.layers[layer]
        np.testing.assert_array_equal(result[layer], values)
    np.testing.assert_array_equal(result["n_cells"], effects.obs["n_cells"])
    assert list(result["dimension_names"]) == list(effects.var_names)


def test_columns_of_obs_are_the_dimensions_that_perturbations_shift(model):
    sure_of_some(model).annotate()
    adata, label = model.adata, model.adata.obs["perturbation"].to_numpy()
    assert list(adata.uns["sams"]["columns"]) == ["sams_z2", "sams_z1"]
    np.testing.assert_array_equal(adata.obs["sams_z2"], adata.obsm["X_sams"][:, 2])
    assert (adata.obs["sams_shift"][label == "control"] == 0).all()
    shift = model.get_perturbation_effects()["pert_1"].X[0, 2]
    np.testing.assert_allclose(adata.obs["sams_shift"][label == "pert_1"], -shift, rtol=1e-3)
    model.annotate(n_dimensions=1)
    assert list(adata.uns["sams"]["columns"]) == ["sams_z2"]
    assert "sams_z1" not in adata.obs
    model.annotate(n_dimensions=0)
    assert not {"sams_z1", "sams_z2"} & set(adata.obs)
    assert list(adata.obs.columns).count("sams_shift") == 1


def test_conditions_are_named_whatever_the_setup(screen):
    screen.obsm["guides"] = dosages_of(screen)
    sams.SAMSVAE.setup_anndata(screen, perturbation_obsm_key="guides")
    model = sams.SAMSVAE(screen, n_latent=3, n_hidden=8)
    model.train(max_epochs=1, batch_size=64, enable_progress_bar=False, accelerator="cpu")
    model.annotate()
    expected = screen.obs["perturbation"].astype(str)
    assert (screen.obs["sams_condition"].astype(str) == expected).all()
    assert screen.obs["sams_condition"].cat.categories[0] == "control"


def test_doses_are_part_of_the_condition(screen):
    model = trained(screen, setup={"dosage_key": "dosage"})
    model.annotate()
    chosen = (screen.obs["perturbation"] == "pert_2") & (screen.obs["dosage"] == "0.5")
    assert chosen.any()
    assert (screen.obs["sams_condition"][chosen] == "pert_2 (0.5)").all()


def test_mudata_is_annotated_beside_its_modalities(plain_screen, tmp_path):
    mdata = MuData({"rna": plain_screen})
    sams.SAMSVAE.setup_mudata(
        mdata,
        perturbation_key="perturbation",
        control="control",
        modalities={"rna_layer": "rna", "perturbation_key": "rna"},
    )
    model = sams.SAMSVAE(mdata, n_latent=3, n_hidden=8)
    model.train(max_epochs=1, batch_size=64, enable_progress_bar=False, accelerator="cpu")
    model.annotate()
    model.annotate()
    mdata.write_h5mu(tmp_path / "screen.h5mu")
    back = read_h5mu(tmp_path / "screen.h5mu")
    found = back.obs["sams_condition"].astype(str)
    assert (found == plain_screen.obs["perturbation"].astype(str)).all()
    np.testing.assert_array_equal(back.obsm["X_sams"], model.get_latent_representation())
    assert_same(back.uns["sams"], mdata.uns["sams"])


def test_the_conditional_vae_has_no_columns_of_dimensions(screen):
    model = trained(screen, cls=sams.ConditionalVAE)
    model.annotate()
    assert [name for name in screen.obs if name.startswith("sams_")] == ["sams_condition"]
    assert "effects" not in screen.uns["sams"]


def test_scanpy_draws_the_states(model):
    sure_of_some(model).annotate()
    adata = model.adata
    columns = list(adata.uns["sams"]["columns"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scanpy's own dependencies
        sc.pl.embedding(
            adata, "X_sams", color=["sams_condition", "sams_shift", *columns], show=False
        )
        sc.pl.embedding(adata, "X_sams", dimensions=(1, 2), color="sams_z2", show=False)
        sc.pl.heatmap(adata, columns, groupby="sams_condition", show=False)
        sc.pl.violin(adata, columns, groupby="sams_condition", show=False)
    assert len(plt.get_fignums()) == 4
    plt.close("all")


def test_annotation_of_other_data_leaves_the_model_data_alone(model, screen):
    other = screen[:50].copy()
    before = model.adata.obs.copy()
    model.annotate(other)
    assert other.obsm["X_sams"].shape == (50, 4)
    assert "X_sams" not in model.adata.obsm
    pd.testing.assert_frame_equal(model.adata.obs, before)


def test_numbers_of_numpy_stay_numbers(screen):
    model = trained(screen, n_particles=np.int64(3))
    model.annotate()
    assert type(screen.uns["sams"]["settings"]["n_particles"]) is int


def test_a_negative_number_of_dimensions_raises(model):
    with pytest.raises(ValueError, match="`n_dimensions` must not be negative; it is -1"):
        model.annotate(n_dimensions=-1)
    assert "sams" not in model.adata.uns
