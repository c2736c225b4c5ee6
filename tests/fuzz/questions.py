"""A tiny trained model, questions about it, and cells that it was not trained on."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
from hypothesis import strategies as st

import scvi_sams as sams
from tests.conftest import FEW_STEPS
from tests.fuzz.labels import MISSING, Labels, labels, naive_reading, names, rarely
from tests.fuzz.matrices import FORMS, formed

KNOWN = ["A", "B", "KLF1", "é ü"]
GENES = [f"g{i}" for i in range(6)]


@cache
def tiny_model() -> sams.SAMSVAE:
    """Trained for an epoch on cells of four perturbations and one pair, in two batches."""
    rng = np.random.default_rng(0)
    kinds = ["control", *KNOWN, "A+B"]
    adata = ad.AnnData(rng.poisson(3.0, (90, len(GENES))).astype(np.float32) + 1)
    adata.var_names = GENES
    adata.obs["label"] = np.tile(kinds, 15)
    adata.obs["batch"] = np.repeat(["x", "y"], 45)
    level = logging.getLogger("lightning.pytorch").level
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.random.fork_rng():
        torch.manual_seed(0)
        warnings.simplefilter("ignore")
        sams.SAMSVAE.setup_anndata(
            adata, perturbation_key="label", control="control", batch_key="batch"
        )
        model = sams.SAMSVAE(adata, n_latent=2, n_hidden=8)
        model.train(**FEW_STEPS | {"max_epochs": 1})
    logging.getLogger("lightning.pytorch").setLevel(level)
    return model


@dataclass(frozen=True)
class Question:
    """Conditions to ask for.

    Attributes
    ----------
    perturbations
        Labels, of which some are malformed or unknown.
    doses
        One for each, or None.
    """

    perturbations: list[Any]
    doses: list[Any] | None

    @property
    def received(self) -> list[dict[str, float]] | None:
        """What cells receive; None where there is no answer."""
        if any(value is None or value is pd.NA or value != value for value in self.perturbations):
            return None
        doses = None if self.doses is None else [*self.doses, 1.0]
        asked = [*self.perturbations, "control"]
        rows = naive_reading(Labels(asked, asked, "control", "+", doses))
        if rows is None or any(name not in KNOWN for row in rows for name in row):
            return None
        return rows[:-1]


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """One to three labels, mostly known, and doses."""
    known = st.sampled_from([*KNOWN, *KNOWN, "control"])
    combined = st.lists(known, min_size=2, max_size=3, unique=True).map("+".join)
    odd = st.one_of(
        names, st.sampled_from(["A+A", "A++B", "a", "A+unknown", "control+control", " A", 7])
    )
    some = st.lists(st.one_of(known, combined), min_size=1, max_size=3)
    asked: list[Any] = draw(some)
    if draw(rarely(4)):
        asked[-1] = draw(odd | st.sampled_from(MISSING))
    doses: list[Any] | None = None
    if draw(st.booleans()):
        doses = [draw(st.sampled_from([1.0, 0.5, 2, "0.5", 0.0, 1e3])) for _ in asked]
        if draw(rarely(4)):
            odd_doses = [-1.0, np.nan, np.inf, "high", "1+2", "1+2+3", True, None]
            doses[-1] = draw(st.sampled_from(odd_doses))
    return Question(asked, doses)


SETTINGS: dict[str, list[Any]] = {
    "seed": [0, 1, 2**31, 2**40, np.int64(3)],
    "library_size": ["observed", 10.0, 1, np.float32(50)],
    "covariates": [None, {}, {"batch": "x"}, {"batch": ["x", "y"]}],
}
ODD_SETTINGS: dict[str, list[Any]] = {
    "seed": [-1, 1.5, None, "0", 2**70],
    "library_size": [0, -1.0, np.nan, np.inf, "all", None, True],
    "covariates": [{"batch": "z"}, {"donor": 1}, {"batch": []}, ["batch"], {"batch": None}],
}


@st.composite
def requests(draw: st.DrawFn, **own: tuple[list[Any], list[Any]]) -> tuple[dict[str, Any], bool]:
    """Arguments of a question, and whether all are in order."""
    kinds = {name: (SETTINGS[name], ODD_SETTINGS[name]) for name in SETTINGS} | own
    asked = {
        name: draw(st.sampled_from(usual))
        for name, (usual, _) in kinds.items()
        if draw(st.booleans())
    }
    if not draw(rarely(4)):
        return asked, True
    name = draw(st.sampled_from(sorted(kinds)))
    return asked | {name: draw(st.sampled_from(kinds[name][1]))}, False


@dataclass(frozen=True)
class Query:
    """Cells that the model was not trained on, and what is odd about them."""

    adata: ad.AnnData
    labels: Labels
    counts: np.ndarray
    kind: str

    @property
    def is_sound(self) -> bool:
        """Whether the model can read them; controls need not be among them."""
        known = Labels(
            [*self.labels.column, "control"], [*self.labels.raw, "control"], "control", "+", None
        )
        rows = naive_reading(known)
        return (
            self.kind == "fine"
            and rows is not None
            and all(name in KNOWN for row in rows for name in row)
        )


@st.composite
def queries(draw: st.DrawFn) -> Query:
    """A few cells in any form; with unknown perturbations, genes or batches now and then."""
    n_cells = draw(st.integers(1, 6))
    question = st.lists(
        st.sampled_from([*KNOWN, "control", "A+B", "B+A", "KLF1+control", "A + é ü"]),
        min_size=n_cells,
        max_size=n_cells,
    )
    raw = draw(question)
    given = Labels(raw, raw, "control", "+", None)
    if draw(rarely(4)):
        drawn = draw(labels(n_cells))
        given = Labels(list(drawn.column), drawn.raw, "control", "+", None)
    kind = draw(st.sampled_from(["fine"] * 10 + ["genes", "order", "batch", "no batch", "empty"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    counts = rng.poisson(3.0, (n_cells, len(GENES))) + 1
    if kind == "empty":
        counts[0] = 0
    dtype = draw(st.sampled_from(["uint8", "int32", "int64", "float32", "float64"]))
    adata = ad.AnnData(
        formed(counts.astype(dtype), draw(st.sampled_from(FORMS)), draw(st.booleans()))
    )
    adata.obs_names = [f"query {i}" for i in range(n_cells)]
    adata.var_names = {"genes": [*GENES[:-1], "other"], "order": GENES[::-1]}.get(kind, GENES)
    column = list(given.column)
    is_text = all(isinstance(value, str) for value in column)
    adata.obs["label"] = (
        pd.Categorical(column)
        if is_text and draw(st.booleans())
        else pd.Series(column, dtype=object).array
    )
    if kind != "no batch":
        adata.obs["batch"] = "z" if kind == "batch" else draw(st.sampled_from(["x", "y"]))
    return Query(adata, given, counts, kind)
