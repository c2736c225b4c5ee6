"""Counts that stay on a disk are read by their values, in whatever order, or refused."""

import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy import sparse
from scvi import REGISTRY_KEYS

import scvi_sams as sams
from scvi_sams.data._loader import screen_loader
from tests.data.stores import write
from tests.fuzz.harness import SETUP, Answer, ask, fuzzed
from tests.fuzz.matrices import Screen, screens


@dataclass(frozen=True)
class Stored:
    """A screen, how it is stored, and how it is read."""

    screen: Screen
    suffix: str
    is_csc: bool
    loading: dict[str, Any]


@st.composite
def stores(draw: st.DrawFn) -> Stored:
    """Counts in X, as a file or a store; mini-batches of any size, in order or shuffled."""
    screen = draw(screens())
    adata = screen.adata.copy()
    if screen.layer is not None:
        adata.X = adata.layers.pop(screen.layer)
    adata.obsm["received"] = screen.dosages.copy()
    adata.uns["received_names"] = np.array(screen.names, dtype=object)
    if not sparse.issparse(adata.X):
        adata.X = np.ascontiguousarray(adata.X)
    return Stored(
        replace(screen, adata=adata, layer=None),
        draw(st.sampled_from([".h5ad", ".zarr"])),
        sparse.issparse(adata.X) and adata.X.format == "csc",
        {"batch_size": draw(st.integers(1, 8)), "shuffle": draw(st.booleans())},
    )


@fuzzed("open_store", stores(), ci=40, nightly=1500)
def test_rows_are_those_written(case):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"screen{case.suffix}"
        write(case.screen.adata, path)
        opened = ask(lambda: sams.datasets.open_store(path), {}, given=[str(path)])
        assert (opened.refusal is not None) == case.is_csc
        if opened.refusal is not None:
            return opened
        adata = opened.value
        try:
            return check(case, adata)
        finally:
            if adata.isbacked:
                adata.file.close()


def check(case: Stored, adata: Any) -> Answer:
    """Set it up as in memory, and read each cell once with its own perturbations."""
    answer = ask(
        lambda: sams.SAMSVAE.setup_anndata(adata, perturbation_obsm_key="received"),
        {"obsm": adata.obsm["received"]},
        given=["received"],
        additions=SETUP,
    )
    assert (answer.refusal is None) == case.screen.is_sound, answer.refusal
    if answer.refusal is None:
        manager = sams.SAMSVAE._get_most_recent_anndata_manager(adata, required=True)
        batches = list(screen_loader(manager, **case.loading))
        found = np.concatenate([batch[REGISTRY_KEYS.X_KEY].numpy() for batch in batches])
        expected = case.screen.counts.astype(np.float32)
        if case.loading["shuffle"]:
            assert Counter(map(tuple, found)) == Counter(map(tuple, expected))
        else:
            np.testing.assert_array_equal(found, expected)
        sizes = [len(batch[REGISTRY_KEYS.X_KEY]) for batch in batches]
        assert max(sizes) <= case.loading["batch_size"]
    return answer
