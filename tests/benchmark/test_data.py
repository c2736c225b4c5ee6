import numpy as np
import pytest

import scvi_sams as sams
from scvi_sams.benchmark._data import prepared, subsets

COLUMNS = {"perturbation_key": "perturbation", "control": "control"}


@pytest.fixture
def adata(screen):
    screen.layers["counts"] = screen.X.copy()
    return screen


def test_genes_are_chosen_by_training_cells_alone(adata):
    adata.X = adata.X.toarray()
    split = {"method": "random", "arguments": {"stratify_keys": ["perturbation"]}, "seed": 3}
    first = prepared(adata, **split, n_top_genes=10)
    changed = adata.copy()
    is_test = adata.obs_names.isin(first.obs_names[first.obs["split"] == "test"])
    changed.X[is_test] = np.random.default_rng(0).poisson(50, changed.X[is_test].shape)
    second = prepared(changed, **split, n_top_genes=10)
    assert first.n_vars == 10
    assert list(first.var_names) == list(second.var_names)


def test_genes_that_do_not_vary_in_training_are_left_out(adata):
    adata.X = adata.X.toarray()
    adata.X[:, 0] = 0
    adata.X[:, 1] = 2
    found = prepared(adata, "random", {}, 0)
    assert list(found.var_names) == list(adata.var_names[2:])


def test_cells_of_few_counts_are_left_out_and_the_screen_is_not_changed(adata):
    adata.X = adata.X.toarray()
    adata.X[:5] = 0
    adata.X[5:10, :] = 0
    adata.X[5:10, 3] = 4
    before = adata.copy()
    found = prepared(adata, "random", {}, 0, min_counts=5)
    assert not set(adata.obs_names[:10]) & set(found.obs_names)
    assert (found.X.sum(axis=1) >= 5).all()
    np.testing.assert_array_equal(adata.X, before.X)
    assert "split" not in adata.obs


def test_cells_are_chosen_by_their_counts_of_all_genes(adata):
    fewest = int(adata.X.sum(axis=1).min())
    found = prepared(adata, "random", {}, 0, min_counts=fewest, n_top_genes=5)
    assert found.X.sum(axis=1).min() < fewest
    assert found.n_obs == (adata[:, found.var_names].X.sum(axis=1) > 0).sum()


def test_counts_of_a_layer_are_what_is_split(adata):
    adata.X = adata.X * 0.5
    found = prepared(adata, "random", {}, 0, layer="counts")
    expected = adata[found.obs_names, found.var_names].layers["counts"]
    np.testing.assert_array_equal(found.X.toarray(), expected.toarray())


def test_conditions_seen_and_unseen_are_scored_apart(adata):
    pair = next(x for x in adata.obs["perturbation"].unique() if "+" in x)
    sams.splits.combinations(adata, **COLUMNS, held_out=[pair], seen_share=0.3)
    parts = subsets(adata, **COLUMNS)
    labels = adata.obs["perturbation"].to_numpy()
    assert set(labels[parts["unseen"]]) == {pair, "control"}
    assert pair not in labels[parts["seen"]]
    assert "control" in labels[parts["seen"]]
    assert (adata.obs["split"][parts["seen"] | parts["unseen"]] == "test").all()


def test_conditions_of_one_kind_are_one_subset(adata):
    sams.splits.random(adata, stratify_keys="perturbation")
    parts = subsets(adata, **COLUMNS)
    assert list(parts) == ["all"]
    assert parts["all"].sum() == (adata.obs["split"] == "test").sum()
