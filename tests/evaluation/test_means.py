"""Means and variances of groups of cells, against numpy."""

import numpy as np
import pytest
from scipy import sparse

from scvi_sams.evaluation import _means
from scvi_sams.evaluation._means import COUNTS, LOG1P_CP10K, mean_profiles


@pytest.mark.parametrize("at_once", [(1, 1), (7, 3), (4096, 256)])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csr_array])
@pytest.mark.parametrize("units", [COUNTS, LOG1P_CP10K])
def test_groups_agree_with_numpy(monkeypatch, at_once, form, units):
    monkeypatch.setattr(_means, "_CELLS_AT_ONCE", at_once[0])
    monkeypatch.setattr(_means, "_GROUPS_AT_ONCE", at_once[1])
    rng = np.random.default_rng(0)
    counts = rng.poisson(1, (60, 8)).astype(np.float32)
    counts[:, 0] += 1
    counts[:, 7] = 0
    group = rng.integers(-1, 5, 60)
    group[group == 2] = 5  # a group without cells, and one of one cell
    group[0] = 6
    logs = np.log1p(1e4 * counts.astype(float) / counts.sum(1, keepdims=True, dtype=float))
    values = form(counts if units == COUNTS else logs)
    found = mean_profiles(values, group, 7, units=units, with_variance=True)
    assert found.n_cells.tolist() == [(group == g).sum() for g in range(7)]
    for g in (0, 1, 3, 4, 5):
        own = logs[group == g]
        np.testing.assert_allclose(found.log[g], own.mean(0))
        np.testing.assert_allclose(found.linear[g], np.expm1(own).mean(0))
        np.testing.assert_allclose(found.variance[g], own.var(0, ddof=1), atol=1e-12)
    assert np.isnan(found.log[2]).all()
    assert np.isfinite(found.log[6]).all()
    assert np.isnan(found.variance[[2, 6]]).all()


def test_equal_cells_do_not_vary():
    values = np.tile(np.random.default_rng(0).gamma(2, 1, 9), (30, 1))
    found = mean_profiles(values, np.arange(30) % 3, 3, units=LOG1P_CP10K, with_variance=True)
    assert (found.variance == 0).all()


def test_precision_is_as_asked():
    group = np.zeros(2, dtype=int)
    found = mean_profiles(np.ones((2, 3)), group, 1, units=COUNTS, dtype=np.float32)
    assert found.log.dtype == found.linear.dtype == np.float32
    assert found.variance is None
