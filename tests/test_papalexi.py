"""A real screen: the interferon-γ pathway stands out, and idle knockouts stay idle."""

from itertools import combinations

import anndata as ad
import numpy as np
import pytest
import scvi

import scvi_sams as sams

PATHWAY = ["IFNGR1", "IFNGR2", "JAK2", "STAT1"]
# no gene's z-score against control, within replicates, is above 4, and their mean square is 1
WITHOUT_EFFECT = ["ATF2", "CAV1", "CD86", "ETV7", "IRF7", "MARCH8", "PDCD1LG2", "STAT5A"]


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.slow
def test_interferon_pathway_shares_one_effect(data_dir):
    scvi.settings.seed = 0
    adata = ad.read_h5ad(data_dir / "papalexi2021_eccite_thp1_299genes.h5ad")
    sams.SAMSVAE.setup_anndata(
        adata,
        perturbation_key="perturbation",
        control="control",
        size_factor_key="total_umis",
        batch_key="replicate",
    )
    model = sams.SAMSVAE(adata)
    model.train(enable_progress_bar=False, accelerator="cpu")
    assert len(model.history["elbo_validation"]) < model.trainer.max_epochs, "stopped by itself"
    effects = model.get_perturbation_effects()
    effect = dict(zip(effects.obs_names, effects.X, strict=True))
    within = [cosine(effect[a], effect[b]) for a, b in combinations(PATHWAY, 2)]
    with_smad4 = [cosine(effect[a], effect["SMAD4"]) for a in PATHWAY]
    assert np.mean(within) > 0.8
    assert np.mean(with_smad4) < 0.4
    inclusion = effects.layers["inclusion_probability"]
    assert np.mean((inclusion < 0.2) | (inclusion > 0.8)) > 0.9
    assert effects[PATHWAY].layers["inclusion_probability"].max(axis=1).min() > 0.5
    assert effects[WITHOUT_EFFECT].layers["inclusion_probability"].max() < 0.5
