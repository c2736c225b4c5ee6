"""Setting up MuData, with labels or with a guide modality."""

import numpy as np
import pytest
import scvi
from scipy import sparse

import scvi_sams as sams
from tests.conftest import FEW_STEPS, SMALL, losses


@pytest.mark.parametrize(
    "setup",
    [
        pytest.param(
            {"guide_layer": "assigned", "modalities": {"guide_layer": "guides"}}, id="guide-layer"
        ),
        pytest.param({"modalities": {"guide_layer": "guides"}}, id="guide-X"),
        pytest.param(
            {
                "perturbation_key": "perturbation",
                "control": "control",
                "modalities": {"perturbation_key": "rna"},
            },
            id="labels-of-a-modality",
        ),
        pytest.param(
            {"perturbation_key": "perturbation", "control": "control", "modalities": {}},
            id="labels-beside",
        ),
    ],
)
def test_mudata_gives_what_anndata_gives(plain_screen, mdata, setup):
    labels = {"perturbation_key": "perturbation", "control": "control"}
    expected, reference = losses(plain_screen.copy(), labels)
    scvi.settings.seed = 0
    where = {"rna_layer": "rna", "batch_key": "rna"} | setup.pop("modalities")
    sams.SAMSVAE.setup_mudata(mdata, batch_key="batch", modalities=where, **setup)
    model = sams.SAMSVAE(mdata, **SMALL)
    model.train(**FEW_STEPS)
    np.testing.assert_array_equal(model.history["train_loss"].to_numpy(dtype=float), expected)
    model.annotate()
    np.testing.assert_array_equal(mdata.obsm["X_sams"], reference.get_latent_representation())
    expression = model.get_normalized_expression(n_samples=2, gene_list=["gene_3", "gene_5"])
    assert list(expression.columns) == ["gene_3", "gene_5"]
    assert expression.shape == (mdata.n_obs, 2)
    assert model.posterior_predictive_sample(gene_list=["gene_3"]).shape == (mdata.n_obs, 1)
    label = plain_screen.obs["perturbation"].to_numpy()
    de = model.differential_expression(
        idx1=label == "pert_0",
        idx2=label == "control",
        silent=True,
        mode="change",
    )
    assert sorted(de.index) == sorted(plain_screen.var_names)
    assert model.get_average_treatment_effects(n_samples=50).shape == (4, 20)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        pytest.param({"modalities": None}, ValueError, "Name the modality", id="no-modalities"),
        pytest.param(
            {"modalities": {"rna_layer": "rna"}}, ValueError, "neither was", id="neither"
        ),
        pytest.param(
            {
                "modalities": {"rna_layer": "rna", "guide_layer": "guides"},
                "perturbation_key": "perturbation",
            },
            ValueError,
            "both were",
            id="both",
        ),
        pytest.param(
            {"modalities": {"rna_layer": "rna", "guide_layer": "guides"}, "guide_layer": "nope"},
            KeyError,
            "no layer 'nope'",
            id="layer",
        ),
        pytest.param(
            {
                "modalities": {"rna_layer": "rna", "guide_layer": "guides", "batch_key": "rna"},
                "batch_key": "bacth",
            },
            KeyError,
            "nearest: 'batch'",
            id="batch",
        ),
    ],
)
def test_bad_mudata_setup_names_the_culprit(mdata, kwargs, error, message):
    before = sorted(mdata.obsm), sorted(mdata.mod["guides"].obsm)
    with pytest.raises(error, match=message):
        sams.SAMSVAE.setup_mudata(mdata, **kwargs)
    assert (sorted(mdata.obsm), sorted(mdata.mod["guides"].obsm)) == before


def test_cells_without_an_assigned_guide_do_not_pass_for_controls(mdata):
    guides = mdata.mod["guides"]
    guides.X = sparse.csr_matrix(20 * guides.X.toarray() * (np.arange(guides.n_obs) > 4)[:, None])
    sams.pp.assign_guides(guides, max_guides=2)
    where = {"rna_layer": "rna", "guide_layer": "guides"}
    with pytest.raises(ValueError, match="not finite"):
        sams.SAMSVAE.setup_mudata(mdata, guide_layer="assigned", modalities=where)
    kept = mdata[(guides.obs["perturbation_call"] == "assigned").to_numpy()].copy()
    sams.SAMSVAE.setup_mudata(kept, guide_layer="assigned", modalities=where)
    assert kept.mod["guides"].obsm["perturbations"].shape[0] == kept.n_obs


def test_minifying_a_mudata_is_refused(mdata):
    sams.SAMSVAE.setup_mudata(mdata, modalities={"rna_layer": "rna", "guide_layer": "guides"})
    with pytest.raises(NotImplementedError, match="Minified mode is for AnnData"):
        sams.SAMSVAE(mdata, **SMALL).minify_adata()
