"""Distinct rows of long tables."""

import numpy as np
import pytest

from scvi_sams.data import _distinct
from scvi_sams.data._distinct import distinct_rows


@pytest.mark.parametrize("at_once", [1, 7, 1_000])
@pytest.mark.parametrize("n_columns", [1, 2, 4])
def test_as_numpy_finds_them(monkeypatch, at_once, n_columns):
    monkeypatch.setattr(_distinct, "_ROWS_AT_ONCE", at_once)
    table = np.random.default_rng(0).integers(3, size=(100, n_columns)).astype(np.float32)
    rows, code, n_each = distinct_rows(table)
    expected = np.unique(table, axis=0, return_inverse=True, return_counts=True)
    assert np.array_equal(rows, expected[0])
    assert np.array_equal(code, expected[1].ravel())
    assert np.array_equal(n_each, expected[2])


def test_of_nothing():
    rows, code, n_each = distinct_rows(np.zeros((0, 2)))
    assert rows.shape == (0, 2)
    assert not len(code)
    assert not len(n_each)
