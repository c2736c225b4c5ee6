"""Opening screens without reading their counts."""

import h5py
import numpy as np
import pytest
import zarr
from anndata.abc import CSRDataset

import scvi_sams as sams
from tests.data.stores import write


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_everything_but_counts_is_there(screen, tmp_path, suffix):
    screen.uns["note"] = "a"
    screen.raw = screen[:, :5]
    path = tmp_path / f"screen{suffix}"
    write(screen, path)
    found = sams.datasets.open_store(path)
    assert isinstance(found.X, CSRDataset)
    assert found.shape == screen.shape
    assert found.uns["note"] == "a"
    assert (found.raw is None) == (suffix == ".zarr")
    assert set(found.obsm) == set(screen.obsm)
    assert found.obs_names.equals(screen.obs_names)
    assert found.var_names.equals(screen.var_names)
    for column in screen.obs:
        assert np.array_equal(found.obs[column], screen.obs[column])


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.zarr"):
        sams.datasets.open_store(tmp_path / "nothing.zarr")


def test_no_anndata(tmp_path):
    zarr.open_group(tmp_path / "empty.zarr", mode="w")
    with pytest.raises(ValueError, match=r"no store of one AnnData.*write_zarr"):
        sams.datasets.open_store(tmp_path / "empty.zarr")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="no store of one AnnData"):
        sams.datasets.open_store(tmp_path / "folder")
    (tmp_path / "text.h5ad").write_text("no HDF5")
    with pytest.raises(ValueError, match="no file of an AnnData"):
        sams.datasets.open_store(tmp_path / "text.h5ad")
    with h5py.File(tmp_path / "empty.h5ad", "w"):
        pass
    with pytest.raises(ValueError, match="no file of an AnnData"):
        sams.datasets.open_store(tmp_path / "empty.h5ad")


def test_set_up_leaves_names_and_forgets_what_was_looked_up(screen, tmp_path):
    screen.obs.index.name = "barcode"
    screen.write_h5ad(tmp_path / "screen.h5ad")
    found = sams.datasets.open_store(tmp_path / "screen.h5ad")
    sams.SAMSVAE.setup_anndata(found, perturbation_key="perturbation", control="control")
    assert found.obs_names.equals(screen.obs_names)
    assert found.obs_names.name == "barcode"
    assert "_engine" not in found.obs_names._cache  # a table of all names
