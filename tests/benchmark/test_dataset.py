"""Reading the screens of a benchmark."""

import numpy as np
import pytest

import scvi_sams as sams
from scvi_sams.benchmark._dataset import Dataset

COLUMNS = {"path": "screen.h5ad", "perturbation_key": "perturbation", "control": "control"}


@pytest.fixture
def folder(screen, tmp_path):
    screen.obs["number"] = np.arange(screen.n_obs) % 3
    screen.layers["counts"] = screen.X.copy()
    screen.write_h5ad(tmp_path / "screen.h5ad")
    (tmp_path / "text.h5ad").write_text("no cells")
    return tmp_path


def test_a_file_is_read_as_it_is(folder, screen):
    found = Dataset(**COLUMNS, layer="counts").read(folder)
    assert found.obs_names.equals(screen.obs_names)
    np.testing.assert_array_equal(found.X.toarray(), screen.X.toarray())
    assert "counts" in found.layers


def test_cells_to_keep_have_a_value_of_every_column(folder, screen):
    found = Dataset(**COLUMNS, keep={"donor": ["d1", "d3"], "number": 2}).read(folder)
    kept = screen.obs["donor"].isin(["d1", "d3"]) & (screen.obs["number"] == 2)
    assert list(found.obs_names) == list(screen.obs_names[kept])
    assert 0 < found.n_obs < screen.n_obs
    assert not found.is_view


def test_a_loader_reads_from_the_data_folder(screen, tmp_path, monkeypatch):
    asked = []

    def op3(*, folder):
        asked.append(folder)
        screen.obs["sm_name"] = screen.obs["perturbation"]
        screen.obs["donor_id"] = screen.obs["donor"]
        screen.obs["cell_type"] = "T cells"
        return screen

    monkeypatch.setattr(sams.datasets, "op3", op3)
    found = Dataset(loader="op3", keep={"donor_id": "d1"}).read(tmp_path)
    assert asked == [tmp_path]
    assert set(found.obs["donor"]) == {"d1"}


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        pytest.param({"path": "none.h5ad"}, FileNotFoundError, "no file .*none.h5ad", id="file"),
        pytest.param({"path": "text.h5ad"}, ValueError, "text.h5ad is not a readable", id="text"),
        pytest.param(
            {"keep": {"dnor": "d1"}}, KeyError, "no column 'dnor'; nearest: 'donor'", id="column"
        ),
        pytest.param(
            {"keep": {"donor": "d4"}},
            ValueError,
            "No cell has 'd4' in column 'donor'; nearest: .* among 'd1', 'd2', 'd3'",
            id="value",
        ),
        pytest.param(
            {"perturbation_key": "label"}, KeyError, "`perturbation_key` must be", id="labels"
        ),
        pytest.param({"batch_key": "lane"}, KeyError, "`batch_key` must be", id="batches"),
        pytest.param({"covariate_keys": ["line"]}, KeyError, "`covariate_keys` must", id="line"),
        pytest.param(
            {"layer": "count"}, KeyError, "no layer 'count'; nearest: 'counts'", id="layer"
        ),
    ],
)
def test_what_a_file_lacks_is_named(folder, settings, kind, said):
    with pytest.raises(kind, match=said):
        Dataset(**COLUMNS | settings).read(folder)
