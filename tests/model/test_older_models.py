"""Models that earlier releases saved."""

import anndata as ad
import numpy as np
import pytest

from tests.conftest import MODELS
from tests.saved.make import HERE, outputs

RELEASES = sorted(path.name for path in HERE.iterdir() if (path / "screen.h5ad").is_file())


def test_the_first_release_is_among_them():
    assert RELEASES[0] == "0.1.0"


@pytest.mark.parametrize("safe", [False, True], ids=["plain", "safe"])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("release", RELEASES)
def test_a_model_of_an_earlier_release_gives_the_same_results(release, name, safe):
    folder = HERE / release
    model = MODELS[name].load(folder / name, adata=False, safe=safe, accelerator="cpu")
    with np.load(folder / name / "expected.npz") as expected:
        found = outputs(model, ad.read_h5ad(folder / "screen.h5ad"))
        assert set(found) == set(expected.files)
        for key, values in found.items():
            np.testing.assert_allclose(values, expected[key], atol=1e-4, err_msg=key)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("release", RELEASES)
def test_a_model_of_an_earlier_release_trains_on(release, name):
    folder = HERE / release
    model = MODELS[name].load(
        folder / name, ad.read_h5ad(folder / "screen.h5ad"), accelerator="cpu"
    )
    n_epochs = len(model.history["elbo_train"])
    model.train(max_epochs=1, enable_progress_bar=False, accelerator="cpu")
    assert len(model.history["elbo_train"]) == n_epochs + 1
