"""Public screens: loaders and recipes, on small files with the columns of the published ones."""

import gzip
import hashlib
import inspect

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scvi_sams as sams
from scvi_sams.data._screens import SCREENS

# columns of obs, a pattern that cells repeat, and the perturbations that they come to
FILES = {
    "norman_2019": (
        {"perturbation": ["control", "KLF1", "MAP2K6", "KLF1_MAP2K6"], "gemgroup": [1, 2]},
        ["KLF1", "MAP2K6"],
    ),
    "replogle_2022_k562": (
        {"perturbation": ["control", "GATA1", "HSPA14"], "batch": [1, 2, 48]},
        ["GATA1", "HSPA14"],
    ),
    "srivatsan_2020": (
        {
            "perturbation": ["control", "(+)-JQ1", "(+)-JQ1", "Ellagic acid"],
            "dose_value": [0.0, 10.0, 1_000.0, 10_000.0],
            "replicate": ["rep1", "rep2"],
            "cell_line": ["A549", "K562", "MCF7"],
        },
        ["(+)-JQ1", "Ellagic acid"],
    ),
    "frangieh_2021": (
        {
            "perturbation": ["control", "B2M", "JAK1"],
            "perturbation_2": ["Control", "Co-culture", "IFNγ"],
        },
        ["B2M", "JAK1"],
    ),
    "jiang_2024": (
        {
            "condition": ["control", "STAT1", "IRF1"],
            "Batch_info": ["Rep1", "Rep2"],
            "cell_type": ["k562", "mcf7"],
            "treatment": ["IFNG", "INS", "TGFB"],
        },
        ["IRF1", "STAT1"],
    ),
    "mcfaline_figueroa_2023": (
        {
            "condition": ["control", "EGFR", "RcontrolSEL"],
            "cell_type": ["a172", "t98g", "u87mg"],
            "treatment": ["none", "lapatinib"],
        },
        ["EGFR", "RcontrolSEL"],
    ),
    "op3": (
        {
            "sm_name": ["Dimethyl Sulfoxide", "Belinostat", "Dabrafenib"],
            "donor_id": ["Donor 1", "Donor 2", "Donor 3"],
            "cell_type": ["T cells", "B cells"],
        },
        ["Belinostat", "Dabrafenib"],
    ),
    "papalexi_2021": (
        {
            "perturbation": ["control", "STAT1g1", "STAT1g2", "IFNGR1g3"],
            "hto": ["rep1-tx", "rep2-tx", "rep3-tx"],
        },
        ["IFNGR1", "STAT1"],
    ),
    "kang_2018": (
        {
            "label": ["ctrl", "stim"],
            "replicate": ["patient_101", "patient_1015", "patient_1016"],
            "cell_type": ["B cells", "B cells", "CD14+ Monocytes", "CD14+ Monocytes"],
        },
        ["stim in B cells", "stim in CD14+ Monocytes"],
    ),
}
each_screen = pytest.mark.parametrize("name", FILES)


def published(name: str, n_cells: int = 24) -> ad.AnnData:
    """A small file as it is published."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(2, size=(n_cells, 5)).astype(np.float32) + 1
    pattern, _ = FILES[name]
    obs = {key: np.resize(np.array(values), n_cells) for key, values in pattern.items()}
    adata = ad.AnnData(
        sparse.csr_matrix(counts), obs=pd.DataFrame(obs, index=[f"c{i}" for i in range(n_cells)])
    )
    if "layer" in SCREENS[name].recipe:
        adata.layers["counts"] = adata.X.copy()
        adata.X = sparse.csr_matrix(np.log1p(counts))
    return adata


def content(adata: ad.AnnData, tmp_path, *, packed: bool = False) -> bytes:
    """The bytes of its file."""
    path = tmp_path / "written.h5ad"
    adata.write_h5ad(path)
    written = path.read_bytes()
    path.unlink()
    return gzip.compress(written) if packed else written


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("SCVI_SAMS_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def load(folder, tmp_path, monkeypatch):
    """Load a small file put into the folder in place of the published one."""

    def load(name, adata=None, **kwargs):
        screen = SCREENS[name]
        written = content(
            published(name) if adata is None else adata,
            tmp_path,
            packed=screen.file_name.endswith(".gz"),
        )
        known_hash = f"sha256:{hashlib.sha256(written).hexdigest()}"
        monkeypatch.setitem(SCREENS, name, screen._replace(known_hash=known_hash))
        (folder / screen.file_name).write_bytes(written)
        return getattr(sams.datasets, name)(**kwargs)

    return load


@each_screen
def test_recipe_sets_a_model_up(load, name):
    adata = load(name)
    sams.SAMSVAE.setup_anndata(adata, **sams.datasets.recipe(adata))
    assert list(adata.uns["perturbations_names"]) == FILES[name][1]
    n_received = np.diff(adata.obsm["perturbations"].indptr)
    assert (n_received == 0).sum() >= 6  # the controls
    sams.SAMSVAE(adata, n_latent=2, n_hidden=4)


@each_screen
def test_recipe_survives_the_disk(load, name, tmp_path):
    adata = load(name)
    adata.write_h5ad(tmp_path / "mine.h5ad")
    kept = sams.datasets.recipe(ad.read_h5ad(tmp_path / "mine.h5ad"))
    assert kept == sams.datasets.recipe(adata) == sams.datasets.recipe(name)


@each_screen
def test_every_screen_has_a_loader_that_says_whom_to_cite(load, name):
    assert sorted(SCREENS) == sorted(FILES)
    assert name in sams.datasets.__all__
    reference = SCREENS[name].citation.split(", ")[-1]
    assert reference in inspect.getdoc(getattr(sams.datasets, name))
    assert load(name).uns["citation"] == SCREENS[name].citation


@each_screen
def test_address_and_checksum_are_well_formed(name):
    screen = SCREENS[name]
    assert screen.url.startswith("https://")
    assert screen.file_name.endswith((".h5ad", ".h5ad.gz"))
    if screen.known_hash is not None:
        algorithm, _, digest = screen.known_hash.partition(":")
        assert len(bytes.fromhex(digest)) == hashlib.new(algorithm).digest_size


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        pytest.param("norman_2019", False, id="plain"),
        pytest.param("jiang_2024", True, id="packed"),
    ],
)
def test_loader_downloads_once(server, folder, tmp_path, monkeypatch, name, packed):
    written = content(published(name), tmp_path, packed=packed)
    screen = SCREENS[name]
    server.files[f"/{screen.file_name}"] = written
    monkeypatch.setitem(
        SCREENS,
        name,
        screen._replace(
            url=server.url(screen.file_name),
            known_hash=f"md5:{hashlib.md5(written).hexdigest()}",
        ),
    )
    loader = getattr(sams.datasets, name)
    first = loader(progress=False)
    if packed:
        (folder / screen.file_name).unlink()  # the unpacked file is enough
    second = loader(progress=False)
    assert len(server.requests) == 1
    assert first.shape == second.shape == (24, 5)
    sams.SAMSVAE.setup_anndata(first, **sams.datasets.recipe(first))


def test_folder_can_be_given(folder, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    published("op3").write_h5ad(mine / SCREENS["op3"].file_name)
    assert sams.datasets.op3(folder=mine).n_obs == 24
    assert sams.datasets.op3(folder=str(mine)).n_obs == 24


def test_doses_are_read_on_a_log_scale(load):
    dosage = load("srivatsan_2020").obs["dosage"]
    assert dosage[:4].tolist() == pytest.approx([0, 0.25, 0.75, 1])


def test_cells_without_a_label_are_left_out_and_counted(load):
    adata = published("srivatsan_2020")
    adata.obs["perturbation"] = pd.Categorical(adata.obs["perturbation"])
    adata.obs.loc["c3", "perturbation"] = None
    adata.obs["dose_value"] = adata.obs["dose_value"].replace(0, np.nan)  # controls have none
    loaded = load("srivatsan_2020", adata)
    assert loaded.n_obs == 23
    assert "c3" not in loaded.obs_names
    assert loaded.uns["n_unlabelled"] == 1


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(lambda x: x.toarray(), id="dense"),
        pytest.param(lambda x: x.tocsc(), id="by columns"),
    ],
)
def test_counts_become_sparse_by_rows(load, stored):
    adata = published("norman_2019")
    counts = adata.X.toarray()
    adata.X = stored(adata.X)
    x = load("norman_2019", adata).X
    assert isinstance(x, sparse.csr_matrix)
    np.testing.assert_array_equal(x.toarray(), counts)


@pytest.mark.filterwarnings("ignore:.*names are not unique:UserWarning")
def test_names_become_unique(load):
    adata = published("norman_2019")
    adata.var_names = ["TBCE", "TBCE", "A", "B", "C"]
    assert list(load("norman_2019", adata).var_names) == ["TBCE", "TBCE-1", "A", "B", "C"]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        pytest.param("norman_2019", "gemgroup", id="of the recipe"),
        pytest.param("srivatsan_2020", "dose_value", id="behind an added one"),
    ],
)
def test_file_without_a_column_is_named(load, name, column):
    adata = published(name)
    del adata.obs[column]
    said = rf"{SCREENS[name].file_name} lacks a column .*{column}.* it has 'perturbation'"
    with pytest.raises(KeyError, match=said):
        load(name, adata)


def test_recipe_of_an_unknown_name_names_the_nearest():
    with pytest.raises(ValueError, match=r"no public screen 'norman'; nearest: 'norman_2019'"):
        sams.datasets.recipe("norman")


def test_recipe_of_another_anndata_says_what_to_do(plain_screen):
    with pytest.raises(KeyError, match="came from no loader"):
        sams.datasets.recipe(plain_screen)


def test_recipe_is_the_callers_own():
    sams.datasets.recipe("op3")["categorical_covariate_keys"].append("else")
    assert sams.datasets.recipe("op3")["categorical_covariate_keys"] == ["cell_type"]
