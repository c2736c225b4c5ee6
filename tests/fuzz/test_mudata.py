"""Guides in a modality of their own are read by their values, or refused."""

import warnings
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse
from scvi import REGISTRY_KEYS

import scvi_sams as sams
from tests.fuzz.harness import ask, fuzzed
from tests.fuzz.matrices import screens

WRITTEN = ("_scvi", "perturbations")
ADDITIONS = tuple(
    f"{where}{part}.{name}"
    for where in ("", "mod.rna.", "mod.guides.")
    for part in ("obs", "obsm", "uns")
    for name in WRITTEN
)


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


@fuzzed("setup_mudata", screens(), ci=40, nightly=800)
def test_counts_and_guides_are_those_given(screen):
    received = screen.adata.obsm["received"]
    rna = screen.adata.copy()
    del rna.obsm["received"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of dtypes and of names in several modalities
        guides = ad.AnnData(
            received.to_numpy() if isinstance(received, pd.DataFrame) else received.copy(),
            obs=rna.obs[[]].copy(),
            var=pd.DataFrame(index=pd.Index(screen.names, dtype=object)),
        )
        mdata = MuData({"rna": rna, "guides": guides})
    answer = ask(
        lambda: sams.SAMSVAE.setup_mudata(
            mdata,
            rna_layer=screen.layer,
            modalities={"rna_layer": "rna", "guide_layer": "guides"},
        ),
        {"mdata": mdata},
        given=["counts", "guides"],
        additions=ADDITIONS,
    )
    assert (answer.refusal is None) == replace(screen, adata=rna).is_sound, answer.refusal
    if answer.refusal is None:
        manager = sams.SAMSVAE._get_most_recent_anndata_manager(mdata, required=True)
        counts = dense(manager.get_from_registry(REGISTRY_KEYS.X_KEY))
        np.testing.assert_array_equal(counts, screen.counts)
        written = mdata["guides"]
        np.testing.assert_array_equal(
            dense(written.obsm["perturbations"]),
            screen.dosages[:, np.argsort(screen.names)].astype(np.float32),
        )
        assert list(written.uns["perturbations_names"]) == sorted(screen.names)
    return answer
