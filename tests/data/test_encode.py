"""Encoding labels outside a model."""

import numpy as np
import pytest

import scvi_sams as sams


def test_matrix_and_names_are_written(screen):
    sams.pp.encode_perturbations(screen, "perturbation", control="control", dosage_key="dosage")
    names = screen.uns["perturbations_names"]
    dosages = screen.obsm["perturbations"].toarray()
    assert list(names) == sorted(names)
    for label, dosage, row in zip(
        screen.obs["perturbation"], screen.obs["dosage"], dosages, strict=True
    ):
        received = {name: row[t] for t, name in enumerate(names) if row[t]}
        parts = [] if label == "control" else label.split("+")
        expected = dict(zip(parts, np.float32(dosage.split("+")), strict=False)) if parts else {}
        assert received == expected


def test_missing_column_raises_with_the_nearest_and_changes_nothing(screen):
    before = sorted(screen.obsm)
    with pytest.raises(KeyError, match="nearest: 'perturbation'"):
        sams.pp.encode_perturbations(screen, "pertubation", control="control")
    assert sorted(screen.obsm) == before
