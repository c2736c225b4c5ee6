"""Strategies of observed cells and predictions of them, and their means in the plainest way."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from hypothesis import strategies as st

from tests.fuzz.labels import rarely
from tests.fuzz.matrices import FORMS, formed

COUNTS, LOGS = "counts", "log1p counts per 10,000"
CONTROL = "control"
KINDS = ["fine"] * 24 + ["repeated", "other gene", "fewer genes", "no control", "lacks", "bad"]
BAD = [np.nan, np.inf, -np.inf, -1.0, 0.5, 50.0]


@dataclass(frozen=True)
class Side:
    """Cells of one side.

    Attributes
    ----------
    adata
        As it is given.
    values
        Its values, dense and in double precision.
    units
        What they are.
    kind
        What is odd about it.
    """

    adata: ad.AnnData
    values: np.ndarray
    units: str
    kind: str

    @property
    def labels(self) -> list[str]:
        """One per cell."""
        return list(self.adata.obs["p"].astype(str))

    @property
    def logs(self) -> pd.DataFrame:
        """Log-normalised values, cells × genes."""
        y = self.values
        if self.units == COUNTS:
            totals = y.sum(axis=1, keepdims=True)
            y = np.log1p(np.divide(1e4 * y, totals, out=np.zeros_like(y), where=totals > 0))
        return pd.DataFrame(y, columns=self.adata.var_names)

    def mean(self, label: str) -> pd.Series:
        """Mean log-normalised profile of a label."""
        return self.logs[[one == label for one in self.labels]].mean()

    def shuffled(self, seed: int) -> ad.AnnData:
        """The same cells and genes in another order."""
        rng = np.random.default_rng(seed)
        rows, columns = (rng.permutation(n) for n in self.adata.shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # genes of one name are among the cases
            return self.adata[rows, columns].copy()


@st.composite
def sides(draw: st.DrawFn, genes: list[str], perturbations: list[str], name: str) -> Side:
    """One to five cells of each condition; counts or logs, in any form."""
    kind, units = draw(st.sampled_from(KINDS)), draw(st.sampled_from([COUNTS, COUNTS, LOGS]))
    kept = perturbations[:-1] if kind == "lacks" else perturbations
    own = kept if kind == "no control" else [CONTROL, *kept]
    labels = [label for label in own for _ in range(draw(st.integers(1, 5)))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.poisson(draw(st.sampled_from([0.0, 0.3, 3.0, 50.0])), (len(labels), len(genes)))
    values = values.astype(float)
    shape = draw(st.sampled_from(["as drawn"] * 4 + ["constant", "one gene", "equal cells"]))
    if shape == "constant":
        values[:, 0] = 2
    elif shape == "one gene":
        values[:, 1:] = 0
    elif shape == "equal cells":
        values[:] = values[:1]
    if units == LOGS:
        values = np.log1p(values)
    if kind == "bad":
        place = tuple(rng.integers(values.shape))
        values[place] = draw(st.sampled_from(BAD))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    if (
        units == COUNTS
        and np.isfinite(values).all()
        and (values == np.abs(np.round(values))).all()
    ):
        dtype = draw(st.sampled_from(["int32", "uint16", "float32", "float64"]))
    stored = values.astype(dtype)
    own_genes = list(genes)
    if kind == "repeated":
        own_genes[-1] = own_genes[0]
    elif kind == "other gene":
        own_genes[-1] = "another"
    elif kind == "fewer genes":
        own_genes, stored = own_genes[:-1], stored[:, :-1]
    rows, columns = rng.permutation(len(labels)), rng.permutation(len(own_genes))
    stored, labels = stored[rows][:, columns], [labels[row] for row in rows]
    adata = ad.AnnData(formed(stored, draw(st.sampled_from(FORMS)), draw(st.booleans())))
    adata.obs_names = [f"{name} {i}" for i in range(len(labels))]
    adata.var_names = [own_genes[column] for column in columns]
    adata.obs["p"] = pd.Categorical(labels) if draw(st.booleans()) else labels
    return Side(adata, stored.astype(float), units, kind)


@st.composite
def evaluations(draw: st.DrawFn) -> tuple[Side, Side, dict[str, Any]]:
    """A prediction, what was observed, and what is asked."""
    n_genes, n_kinds = draw(st.integers(2, 5)), draw(st.integers(1, 3))
    # a target among the genes, and names that are none
    genes = [*"ABgh", "é ü"][:n_genes]
    perturbations = draw(st.permutations(["A", "B", "A+B", "x"]))[:n_kinds]
    observed = draw(sides(genes, perturbations, "observed"))
    predicted = draw(sides(genes, perturbations, "predicted"))
    if draw(rarely(8)):
        predicted = observed
    return predicted, observed, {"min_cells": draw(st.sampled_from([1, 1, 2]))}


def training_of(predicted: Side, observed: Side, seed: int, has_all: bool) -> Side:
    """Counts of cells to train on, of all conditions of both sides or of one of them."""
    rng = np.random.default_rng(seed)
    genes = list(dict.fromkeys([*predicted.adata.var_names, *observed.adata.var_names]))
    kinds = sorted({*predicted.labels, *observed.labels} - {CONTROL})
    labels = [CONTROL, *(kinds if has_all else kinds[:1])] * 2
    values = rng.poisson(3.0, (len(labels), len(genes))).astype(float)
    adata = ad.AnnData(values.astype(np.float32), obs={"p": labels})
    adata.obs_names = [f"training {i}" for i in range(len(labels))]
    adata.var_names = genes
    return Side(adata, values, COUNTS, "fine")
