"""Counts and dosages in all the forms that matrices come in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

FORMS = ["array", "csr_matrix", "csc_matrix", "csr_array", "csc_array"]
COUNTS = ["int8", "uint16", "int32", "int64", "float16", "float32", "float64"]
DOSAGES = ["bool", *COUNTS]


@dataclass(frozen=True)
class Screen:
    """A screen, and what it is made of."""

    adata: ad.AnnData
    counts: np.ndarray  # N x G
    dosages: np.ndarray  # N x T
    names: list[str]
    layer: str | None

    @property
    def is_sound(self) -> bool:
        """Whether it can be set up: no view, and every number one that a screen may hold."""
        x, d = self.counts.astype(float), self.dosages.astype(float)
        if self.adata.is_view or not np.isfinite(x).all() or not np.isfinite(d).all():
            return False
        if (x < 0).any():  # real values, of which some are no integers
            return bool((x != np.round(x)).any() and (d >= 0).all())
        return bool((x.sum(axis=1) > 0).all() and (d >= 0).all())


def numbers(dtype: str) -> st.SearchStrategy[Any]:
    """Mostly small counts; now and then what has no place in a screen."""
    kind = np.dtype(dtype).kind
    if kind == "b":
        return st.booleans()
    usual = st.integers(0, 5)
    if kind == "f":
        return st.one_of(usual, usual, usual, st.sampled_from([0.5, -1.0, np.nan, np.inf, 6e4]))
    if kind == "u":
        return usual
    return st.one_of(usual, usual, usual, usual, st.just(-1))


def formed(values: np.ndarray, form: str, with_zeros: bool) -> Any:
    """The values as a dense or sparse matrix, its zeros stored or not."""
    if form == "array":
        return values
    if values.dtype == np.float16:  # which scipy knows not
        values = values.astype(np.float32)
    if not with_zeros:
        return getattr(sparse, form)(values)
    order = "C" if form.startswith("csr") else "F"
    rows, columns = np.indices(values.shape)
    n_major, n_minor = values.shape if order == "C" else values.shape[::-1]
    minor = (columns if order == "C" else rows).ravel(order)
    starts = np.arange(n_major + 1) * n_minor
    return getattr(sparse, form)((values.ravel(order), minor, starts), shape=values.shape)


@st.composite
def screens(draw: Any) -> Screen:
    """From 2 cells, 1 gene and 2 perturbations up; views, layers and tables among them."""
    n_cells, n_genes, n_kinds = (
        draw(st.integers(low, high)) for low, high in [(2, 7), (1, 4), (2, 3)]
    )
    dtypes = draw(st.sampled_from(COUNTS)), draw(st.sampled_from(DOSAGES))
    shapes = (n_cells, n_genes), (n_cells, n_kinds)
    counts, dosages = (
        draw(hnp.arrays(dtype, shape, elements=numbers(dtype)))
        for dtype, shape in zip(dtypes, shapes, strict=True)
    )
    x = formed(counts, draw(st.sampled_from(FORMS)), draw(st.booleans()))
    names = draw(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=4),
            min_size=n_kinds,
            max_size=n_kinds,
            unique=True,
        )
    )
    layer = draw(st.sampled_from([None, "counts"]))
    adata = ad.AnnData(x if layer is None else np.zeros(counts.shape, np.float32))
    adata.obs_names = [f"cell {i}" for i in range(n_cells)]
    if layer is not None:
        adata.layers[layer] = x
    if draw(st.booleans()):
        adata.obsm["received"] = pd.DataFrame(dosages, index=adata.obs_names, columns=names)
    else:
        form = draw(st.sampled_from(FORMS))
        adata.obsm["received"] = formed(dosages, form, draw(st.booleans()))
        adata.uns["received_names"] = np.array(names, dtype=object)
    if draw(st.booleans()):
        adata, counts, dosages = adata[::-1], counts[::-1], dosages[::-1]
        adata = adata.copy() if draw(st.booleans()) else adata
    return Screen(adata, counts, dosages, names, layer)
