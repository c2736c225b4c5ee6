"""Matrices are read by their values, whatever their form, or refused."""

import numpy as np
from scipy import sparse
from scvi import REGISTRY_KEYS

import scvi_sams as sams
from tests.fuzz.harness import SETUP, ask, fuzzed
from tests.fuzz.matrices import screens


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


@fuzzed("setup_anndata", screens(), ci=150, nightly=4000)
def test_counts_and_dosages_are_those_given(screen):
    adata = screen.adata
    answer = ask(
        lambda: sams.SAMSVAE.setup_anndata(
            adata, perturbation_obsm_key="received", layer=screen.layer
        ),
        {"adata": adata},
        given=["received", "counts"],
        additions=SETUP,
    )
    assert (answer.refusal is None) == screen.is_sound, answer.refusal
    if answer.refusal is None:
        manager = sams.SAMSVAE._get_most_recent_anndata_manager(adata, required=True)
        counts = dense(manager.get_from_registry(REGISTRY_KEYS.X_KEY))
        np.testing.assert_array_equal(counts, screen.counts)
        np.testing.assert_array_equal(
            dense(adata.obsm["perturbations"]),
            screen.dosages[:, np.argsort(screen.names)].astype(np.float32),
        )
        assert list(adata.uns["perturbations_names"]) == sorted(screen.names)
    return answer
