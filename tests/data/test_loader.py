"""Mini-batches of screens in memory and on a disk."""

from importlib.util import find_spec

import anndata as ad
import numpy as np
import pytest
import torch
from scipy import sparse
from scvi.dataloaders import AnnDataLoader

import scvi_sams as sams
from scvi_sams.data import _disk, _loader
from scvi_sams.data._loader import DiskLoader, screen_loader
from tests.data.stores import write

CATEGORICAL, CONTINUOUS = ["donor"], ["age"]


def set_up(adata):
    sams.SAMSVAE.setup_anndata(
        adata,
        perturbation_key="perturbation",
        control="control",
        dosage_key="dosage",
        batch_key="batch",
        size_factor_key="depth",
        categorical_covariate_keys=CATEGORICAL,
        continuous_covariate_keys=CONTINUOUS,
    )
    return sams.SAMSVAE._get_most_recent_anndata_manager(adata)


def dense(adata):
    adata.X = adata.X.toarray()


def as_array(adata):
    adata.X = sparse.csr_array(adata.X)


KINDS = {
    "h5ad": (".h5ad", None),
    "h5ad, dense": (".h5ad", dense),
    "zarr": (".zarr", None),
    "zarr, dense": (".zarr", dense),
    "zarr, sparse array": (".zarr", as_array),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def on_disk(request, screen, tmp_path):
    """Managers of a screen in memory and of the same on a disk."""
    suffix, change = request.param
    if change:
        change(screen)
    path = tmp_path / f"screen{suffix}"
    write(screen, path)
    return set_up(screen), set_up(sams.datasets.open_store(path))


@pytest.fixture(
    params=[
        pytest.param(
            True, marks=pytest.mark.skipif(not find_spec("annbatch"), reason="no annbatch")
        ),
        False,
    ],
    ids=["annbatch", "slices"],
)
def reader(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(_disk, "find_spec", lambda name: None)


def same(first, second):
    """Whether mini-batches hold the same tensors."""
    return first.keys() == second.keys() and all(
        first[key].dtype == second[key].dtype and torch.equal(first[key], second[key])
        for key in first
    )


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    "indices",
    [
        pytest.param(lambda n: None, id="all"),
        pytest.param(lambda n: np.array([200, 3, 77, 3]), id="in any order"),
        pytest.param(lambda n: np.arange(n) % 3 == 0, id="mask"),
    ],
)
def test_the_same_batches_as_in_memory(on_disk, indices):
    loaders = [
        screen_loader(manager, indices=indices(manager.adata.n_obs), batch_size=64)
        for manager in on_disk
    ]
    assert [type(loader) for loader in loaders] == [AnnDataLoader, DiskLoader]
    assert len(loaders[0]) == len(loaders[1])
    pairs = list(zip(*loaders, strict=True))
    assert all(same(first, second) for first, second in pairs)


@pytest.mark.usefixtures("reader")
def test_shuffled_cells_keep_what_is_theirs(on_disk):
    in_memory, stored = on_disk
    wanted = np.flatnonzero(np.arange(in_memory.adata.n_obs) % 5)
    (everything,) = AnnDataLoader(in_memory, indices=wanted, batch_size=10_000)
    loader = screen_loader(stored, indices=wanted, batch_size=64, shuffle=True)
    passes = []
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == len(loader)
        passes.append({key: torch.cat([batch[key] for batch in batches]) for key in everything})
    # age tells cells apart
    for found in passes:
        order = torch.argsort(found["extra_continuous_covs"].ravel())
        expected = torch.argsort(everything["extra_continuous_covs"].ravel())
        assert same(
            {key: values[order] for key, values in found.items()},
            {key: values[expected] for key, values in everything.items()},
        )
    assert not torch.equal(passes[0]["X"], passes[1]["X"])


@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
def test_several_devices_share_the_cells(screen, tmp_path, monkeypatch, shuffle):
    screen.write_h5ad(tmp_path / "screen.h5ad")
    manager = set_up(sams.datasets.open_store(tmp_path / "screen.h5ad"))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    ages, lengths = [], []
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        loader = DiskLoader(manager, batch_size=40, shuffle=shuffle, distributed_sampler=True)
        batches = list(loader)
        assert len(batches) == len(loader)
        lengths.append(len(batches))
        ages += [batch["extra_continuous_covs"].ravel() for batch in batches]
    assert lengths[0] == lengths[1]
    found = torch.cat(ages).numpy()
    expected = np.sort(screen.obs["age"].to_numpy().astype(np.float32))
    assert np.array_equal(np.unique(found), expected)
    # an odd number of cells in order leaves one that is in both shares
    assert len(found) == len(expected) + (0 if shuffle else len(expected) % 2)


def test_a_broken_read_is_raised_and_a_pass_can_be_left(screen, tmp_path, monkeypatch):
    screen.write_h5ad(tmp_path / "screen.h5ad")
    loader = DiskLoader(set_up(sams.datasets.open_store(tmp_path / "screen.h5ad")), batch_size=16)
    for _ in loader:
        break
    assert len(list(loader)) == len(loader)

    def broken(x, requests):
        raise OSError("disk gone")
        yield

    monkeypatch.setattr(_loader, "read", broken)
    with pytest.raises(OSError, match="disk gone"):
        list(loader)


def test_csc_on_disk_is_refused_before_anything_is_written(screen, tmp_path):
    screen.X = sparse.csc_matrix(screen.X)
    screen.write_h5ad(tmp_path / "screen.h5ad")
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    before = set(backed.obsm)
    with pytest.raises(ValueError, match=r"stored by columns.*tocsr"):
        set_up(backed)
    assert set(backed.obsm) == before
    with pytest.raises(ValueError, match="stored by columns"):
        sams.datasets.open_store(tmp_path / "screen.h5ad")
