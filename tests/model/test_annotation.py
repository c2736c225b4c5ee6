"""Results in obsm and uns."""

import anndata as ad
import numpy as np


def test_annotation_survives_writing(model, tmp_path):
    model.annotate()
    path = tmp_path / "screen.h5ad"
    model.adata.write_h5ad(path)
    back = ad.read_h5ad(path)
    np.testing.assert_allclose(back.obsm["X_sams"], model.get_latent_representation(), atol=1e-6)
    np.testing.assert_allclose(
        back.obsm["X_sams_basal"], model.get_latent_representation(kind="basal"), atol=1e-6
    )
    result = back.uns["sams"]
    np.testing.assert_allclose(result["effects"], model.get_perturbation_effects().X)
    assert list(result["perturbation_names"]) == list(model.perturbation_names)
    assert result["settings"]["model"] == "SAMSVAE"
    assert result["settings"]["n_latent"] == 4
    assert (back.obsm["perturbations"] != model.adata.obsm["perturbations"]).nnz == 0


def test_annotation_of_other_data_leaves_the_model_data_alone(model, screen):
    other = screen[:50].copy()
    model.annotate(other)
    assert other.obsm["X_sams"].shape == (50, 4)
    assert "X_sams" not in model.adata.obsm
