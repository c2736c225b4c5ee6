"""Screens in other representations, and what must not change."""

import pandas as pd

from tests.conftest import dosages_of


def as_frame(adata):
    adata.obsm["guides"] = dosages_of(adata).iloc[:, ::-1]
    return {"perturbation_obsm_key": "guides"}


def snapshot(adata):
    return (
        adata.obs.copy(),
        sorted(adata.obsm),
        sorted(adata.uns),
        adata.X.copy(),
        sorted(adata.layers),
    )


def assert_unchanged(adata, before):
    obs, obsm, uns, x, layers = before
    pd.testing.assert_frame_equal(adata.obs, obs)
    assert (sorted(adata.obsm), sorted(adata.uns), sorted(adata.layers)) == (obsm, uns, layers)
    assert (x != adata.X).nnz == 0


def spoil_obs(column, value):
    def spoil(adata):
        adata.obs[column] = adata.obs[column].astype(object)
        adata.obs.iloc[4, adata.obs.columns.get_loc(column)] = value

    return spoil
