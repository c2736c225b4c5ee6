"""Weights of genes, against scanpy and numbers written out."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

from scvi_sams.evaluation._means import LOG1P_CP10K, Profiles, mean_profiles
from scvi_sams.evaluation._weights import effect_weights


def test_weights_are_squared_statistics_of_scanpy():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], [300, 20, 7])
    x = rng.gamma(2, 1, (327, 12)) + 0.3 * group[:, None] * rng.normal(size=12)
    x -= x.min()
    profiles = mean_profiles(x, group, 3, units=LOG1P_CP10K, with_variance=True)
    adata = ad.AnnData(x)
    adata.obs["set"] = pd.Categorical(group.astype(str))
    sc.tl.rank_genes_groups(adata, "set", reference="0", method="t-test_overestim_var")
    results = adata.uns["rank_genes_groups"]
    found = effect_weights(profiles[1:], profiles[:1])
    for row, name in enumerate(["1", "2"]):
        squares = np.zeros(12)
        squares[results["names"][name].astype(int)] = results["scores"][name].astype(float) ** 2
        np.testing.assert_allclose(found[row], squares / squares.sum(), rtol=1e-5)


def profiles_of(log, variance, n_cells):
    log = np.atleast_2d(np.asarray(log, dtype=float))
    return Profiles(log, log, np.atleast_1d(n_cells), np.atleast_2d(np.asarray(variance, float)))


def test_weights_by_hand():
    control = profiles_of([0.0, 0, 0], [1.0, 0, 0], 100)
    # t² over n: 4 / (1 + 1), 9 / 3, and nothing to test
    found = effect_weights(profiles_of([2.0, 3, 5], [1.0, 3, 0], 8), control)
    np.testing.assert_allclose(found, [[0.4, 0.6, 0]])


@pytest.mark.parametrize(
    ("log", "variance"),
    [
        pytest.param([1.0, 2], [np.nan, np.nan], id="one-cell"),
        pytest.param([0.0, 0], [1.0, 1], id="no-effect"),
    ],
)
def test_nothing_counts_where_nothing_can_be_said(log, variance):
    found = effect_weights(profiles_of(log, variance, 1), profiles_of([0.0, 0], [1.0, 1], 9))
    assert (found == 0).all()


def test_variances_must_be_known():
    bare = Profiles(np.zeros((1, 2)), np.zeros((1, 2)), np.array([5]))
    with pytest.raises(ValueError, match="Weights take variances"):
        effect_weights(bare, bare)
