"""The package as a whole."""

import subprocess
import sys
from importlib.metadata import metadata, version
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

import scvi_sams as sams

ROOT = Path(__file__).parents[1]
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
    assert Version(sams.__version__) == Version(version("scvi-sams"))


def test_registry_entry_and_citation_agree():
    entry = yaml.safe_load((ROOT / "meta.yaml").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert entry["version"] == citation["version"]
    assert entry["license"] == citation["license"] == metadata("scvi-sams")["License-Expression"]


@pytest.mark.parametrize("name", sams.__all__)
def test_public_names_are_documented(name):
    public = getattr(sams, name)
    assert public.__doc__
    for inner in getattr(public, "__all__", []):
        assert getattr(public, inner).__doc__
