"""Folders that hold a model, its data and what must be said of them."""

import contextlib
import json
import os
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from scvi.hub import HubModel

import scvi_sams as sams
from tests.conftest import FEW_STEPS, MODELS, SMALL, real_valued, trained

BARE = {"_scvi_required_metadata.json", "README.md", "model.pt"}


def share(model, folder, **kwargs):
    return sams.hub.to_hub(model, folder, **{"license": "cc-by-4.0"} | kwargs)


def effects(model):
    return model.get_average_treatment_effects("pert_1", n_samples=50).X


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("data", ["minified", "full", None])
def test_shared_models_give_the_same_effects(screen, tmp_path, name, data):
    model = trained(screen, cls=MODELS[name])
    expected = effects(model)
    folder = share(model, tmp_path / "shared", data=data)
    assert {path.name for path in folder.iterdir()} == BARE | ({"adata.h5ad"} if data else set())

    plain = HubModel(str(folder))
    if data is None:
        plain.load_model(adata=False, accelerator="cpu")
    for loaded in (plain.model, sams.hub.load_safely(folder, None if data else False)):
        assert type(loaded) is MODELS[name]
        assert (loaded.adata is None) == (data is None)
        np.testing.assert_allclose(effects(loaded), expected, atol=1e-5)
        assert loaded.predict("pert_0", n_cells=3).shape == (3, 30)


def test_minified_data_holds_no_counts(model, tmp_path):
    adata = model.adata
    adata.layers["raw"] = adata.X.copy()
    adata.raw = adata
    shared = ad.read_h5ad(share(model, tmp_path / "shared") / "adata.h5ad")
    for held in (shared.X, *shared.layers.values()):
        assert held.nnz == 0
    assert shared.raw is None
    assert list(shared.obs_names) == list(adata.obs_names)
    expected = model.get_latent_representation()
    small = sams.hub.load_safely(tmp_path / "shared")
    np.testing.assert_allclose(small.get_latent_representation(), expected, atol=1e-5)
    with pytest.raises(ValueError, match="minified"):
        small.train(max_epochs=1)
    with pytest.raises(ValueError, match="data='minified'"):
        share(small, tmp_path / "again", data="full")
    # and once more, from what was shared
    again = share(small, tmp_path / "again")
    assert ad.read_h5ad(again / "adata.h5ad").X.nnz == 0


def test_sharing_changes_neither_model_nor_data(model, tmp_path):
    before, obsm, uns = model.adata.copy(), set(model.adata.obsm), set(model.adata.uns)
    share(model, tmp_path / "shared")
    assert model.minified_data_type is None
    assert (set(model.adata.obsm), set(model.adata.uns)) == (obsm, uns)
    assert (model.adata.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(model.adata.obs, before.obs)
    assert os.listdir(tmp_path) == ["shared"]


def test_data_that_was_shared_makes_further_models(model, tmp_path):
    managers = set(sams.SAMSVAE._setup_adata_manager_store)
    state = torch.random.get_rng_state()
    share(model, tmp_path / "shared")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert set(sams.SAMSVAE._setup_adata_manager_store) == managers
    sams.SAMSVAE(model.adata, **SMALL)


@pytest.mark.parametrize("where", ["X", "layer", "raw"])
def test_counts_beside_minified_data_are_not_shared_unnoticed(model, tmp_path, where):
    counts = model.adata.copy()
    mean, variance = model.get_latent_representation(return_dist=True)
    model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = mean, variance
    model.minify_adata("latent_posterior_parameters" + ("_with_counts" if where == "X" else ""))
    if where == "layer":
        model.adata.layers["counts"] = counts.X
    elif where == "raw":
        model.adata.raw = counts
    with pytest.raises(ValueError, match="counts are in"):
        share(model, tmp_path / "shared")
    assert not os.listdir(tmp_path)


def test_a_backed_file_stays_where_it_is(screen, tmp_path):
    path = tmp_path / "screen.h5ad"
    screen.write_h5ad(path)
    adata = ad.read_h5ad(path, backed="r")
    folder = share(trained(adata), tmp_path / "shared", data="full")
    assert Path(adata.filename) == path
    assert (ad.read_h5ad(folder / "adata.h5ad").X != screen.X).nnz == 0


def test_minified_data_still_say_what_they_held(screen, tmp_path):
    model = trained(real_valued(screen), gene_likelihood="normal")
    small = sams.hub.load_safely(share(model, tmp_path / "shared"))
    assert small.get_state_registry("X")["holds"] == "negative"


def test_metadata_names_this_package(model, tmp_path):
    folder = share(model, tmp_path / "shared", training_data_url="https://example.org/a.h5ad")
    metadata = json.loads((folder / "_scvi_required_metadata.json").read_text())
    assert metadata["model_parent_module"] == "scvi_sams"
    assert metadata["model_cls_name"] == "SAMSVAE"
    assert metadata["training_data_url"] == "https://example.org/a.h5ad"
    assert metadata["scvi_version"] == model.registry["scvi_version"]


def test_folder_is_replaced_only_when_asked(model, tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    share(model, folder)  # an empty one is nobody's
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        share(model, folder)
    share(model, folder, data=None, overwrite=True)
    assert {path.name for path in folder.iterdir()} == BARE | {"notes.txt"}


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def full(*args, **kwargs):
    raise OSError("No space left on device")


@pytest.mark.parametrize("n_moved", range(6), ids="{}-moved".format)
@pytest.mark.parametrize(("earlier", "later"), [("full", None), (None, "full")])
def test_failure_leaves_what_was_there_or_all_that_is_new(
    model, tmp_path, monkeypatch, earlier, later, n_moved
):
    folder = share(model, tmp_path / "shared", data=earlier)
    before, replace, moved = files_of(folder), os.replace, []

    def replace_some(*paths):
        moved.append(paths)
        return full() if len(moved) == n_moved + 1 else replace(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_some)
        with contextlib.suppress(OSError):  # nothing, once all files were moved
            share(model, folder, overwrite=True, data=later)
    loaded = sams.hub.load_safely(folder, adata=False)
    np.testing.assert_array_equal(
        loaded.get_perturbation_effects().X, model.get_perturbation_effects().X
    )
    if len(moved) <= {None: 1, "full": 2}[later]:  # the model itself was not yet complete
        assert files_of(folder) == before
    else:
        whole = BARE | ({"adata.h5ad"} if later == "full" else set())
        assert {path.name for path in folder.iterdir()} == whole


def test_failure_leaves_no_folder_behind(model, tmp_path, monkeypatch):
    monkeypatch.setattr(ModelCard, "save", full)
    with pytest.raises(OSError, match="No space"):
        share(model, tmp_path / "shared")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"license": "CC BY 4.0"}, "`license` must be", id="licence"),
        pytest.param({"data": "some"}, "`data` must be", id="data"),
        pytest.param({"training_data_url": "here"}, "training_data_url", id="data-url"),
        pytest.param({"training_code_url": "here"}, "training_code_url", id="code-url"),
    ],
)
def test_bad_requests_name_the_culprit_and_write_nothing(model, tmp_path, kwargs, message):
    with pytest.raises(ValueError, match=message):
        share(model, tmp_path / "shared", **kwargs)
    assert not os.listdir(tmp_path)


def test_untrained_models_and_other_objects_are_not_shared(screen, tmp_path):
    with pytest.raises(TypeError, match="SAMSVAE"):
        share(screen, tmp_path / "shared")
    model = trained(screen)
    model.__class__ = type("Derived", (sams.SAMSVAE,), {})
    with pytest.raises(TypeError, match="Derived"):
        share(model, tmp_path / "shared")
    model.__class__ = sams.SAMSVAE
    model.is_trained_ = False
    with pytest.raises(RuntimeError, match="train"):
        share(model, tmp_path / "shared")


def test_models_without_data_are_shared_without_data(model, tmp_path):
    model.save(str(tmp_path / "model"))
    bare = sams.SAMSVAE.load(str(tmp_path / "model"), adata=False)
    with pytest.raises(ValueError, match="data=None"):
        share(bare, tmp_path / "shared")
    assert share(bare, tmp_path / "shared", data=None).is_dir()


@pytest.mark.filterwarnings("ignore:The method mod_names")  # called by scvi-tools
def test_mudata_is_shared_in_full(mdata, tmp_path):
    modalities = {"rna_layer": "rna", "guide_layer": "guides"}
    sams.SAMSVAE.setup_mudata(mdata, guide_layer="assigned", modalities=modalities)
    model = sams.SAMSVAE(mdata, **SMALL)
    model.train(**FEW_STEPS)
    with pytest.raises(ValueError, match="MuData"):
        share(model, tmp_path / "shared")
    folder = share(model, tmp_path / "shared", data="full")
    assert (folder / "mdata.h5mu").is_file()
    loaded = sams.hub.load_safely(folder)
    np.testing.assert_allclose(
        loaded.get_latent_representation(), model.get_latent_representation(), atol=1e-5
    )


def test_a_model_of_another_package_is_refused(model, tmp_path):
    model.registry_["model_name"] = "SCVI"
    model.save(str(tmp_path / "model"))
    with pytest.raises(ValueError, match=r"'SCVI'.*'SAMSVAE'"):
        sams.hub.load_safely(tmp_path / "model")


def test_the_missing_package_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"scvi-sams\[hub\]"):
        share(model, tmp_path / "shared")
    assert not os.listdir(tmp_path)
