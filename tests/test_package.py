"""The package as a whole."""

import subprocess
import sys

import pytest

import scvi_sams as sams

HEAVY = ("scanpy", "matplotlib", "pertpy", "decoupler", "ray", "annbatch", "huggingface_hub")


def imported_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(' '.join(m for m in sys.modules if '.' not in m))"
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_import_brings_nothing_heavy_that_scvi_does_not():
    extra = imported_after("import scvi.model, scvi_sams") - imported_after("import scvi.model")
    assert not extra & set(HEAVY)


def test_version_is_that_of_the_distribution():
    assert sams.__version__.count(".") == 2


@pytest.mark.parametrize("name", sams.__all__)
def test_public_names_are_documented(name):
    public = getattr(sams, name)
    assert public.__doc__
    for inner in getattr(public, "__all__", []):
        assert getattr(public, inner).__doc__
