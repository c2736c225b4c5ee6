"""Screens of any size train to finite weights, or are refused."""

import math
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import torch
from hypothesis import strategies as st

import scvi_sams as sams
from tests.fuzz.harness import SETUP, ask, fuzzed
from tests.fuzz.labels import rarely
from tests.fuzz.matrices import FORMS, formed


@dataclass(frozen=True)
class Training:
    """A tiny screen, settings of a model and of its training."""

    adata: ad.AnnData
    model: dict[str, Any]
    train: dict[str, Any]


@st.composite
def trainings(draw: st.DrawFn) -> Training:
    """From two cells and one gene up; more latent dimensions than genes, constant genes."""
    n_each = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    kinds = ["A", "B", "control", "A+B"][: len(n_each)]
    labels = np.repeat(kinds, n_each)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = len(labels), draw(st.integers(1, 6))
    counts = rng.poisson(draw(st.sampled_from([0.2, 3.0, 1e3])), shape).astype(np.float32)
    kind = draw(st.sampled_from(["as drawn"] * 3 + ["constant", "zero genes", "equal cells"]))
    if kind == "constant":
        counts[:] = 2
    elif kind == "zero genes":
        counts[:, 1:] = 0
    elif kind == "equal cells":
        counts[:] = counts[:1]
    counts[:, 0] += 1  # cells without a count are refused by the setup
    adata = ad.AnnData(formed(counts, draw(st.sampled_from(FORMS)), with_zeros=False))
    adata.obs_names = [f"cell {i}" for i in range(len(labels))]
    adata.obs["label"] = labels[rng.permutation(len(labels))]
    usual: dict[str, list[Any]] = {
        "n_latent": [1, 2, 9],
        "n_hidden": [1, 4],
        "gene_likelihood": ["nb", "zinb", "poisson", "normal"],
        "effect_guide": ["spike_slab", "mean_field", "correlated"],
        "n_particles": [1, 2],
    }
    model = {name: draw(st.sampled_from(values)) for name, values in usual.items()}
    train = {
        "batch_size": draw(st.sampled_from([1, 2, 3, 128])),
        "train_size": draw(st.sampled_from([None, 0.5, 0.9, 1.0])),
        # which needs cells to stop by
        "early_stopping": draw(st.sampled_from([False, False, True])),
    }
    if draw(rarely(8)):
        odd: list[tuple[str, Any]] = [("train_size", 0.0), ("train_size", 1.5), ("batch_size", 0)]
        name, value = draw(st.sampled_from(odd))
        train[name] = value
    if draw(rarely(12)):
        name, value = draw(
            st.sampled_from([("n_latent", 0), ("n_particles", 0), ("n_hidden", -1)])
        )
        model[name] = value
    return Training(adata, model, train)


def is_in_order(case: Training) -> bool:
    """Whether all settings are such that training can be asked for."""
    sizes = [case.model[name] for name in ("n_latent", "n_particles", "n_hidden")]
    share = case.train["train_size"]
    return min(sizes) > 0 and case.train["batch_size"] > 0 and (share is None or 0 < share <= 1)


@fuzzed("train", trainings(), ci=12, nightly=200)
def test_trained_weights_are_finite(case):
    controls = {"control"} & {*case.adata.obs["label"]}

    set_up = ask(
        lambda: sams.SAMSVAE.setup_anndata(
            case.adata, perturbation_key="label", control="control" if controls else None
        ),
        {"adata": case.adata},
        additions=SETUP,
    )
    assert set_up.refusal is None

    def train():
        model = sams.SAMSVAE(case.adata, **case.model)
        model.train(
            max_epochs=1, accelerator="cpu", enable_progress_bar=False, logger=False, **case.train
        )
        return model

    answer = ask(
        train, {"adata": case.adata}, given=list(case.model | case.train), additions=SETUP
    )
    if is_in_order(case):
        n_cells = case.adata.n_obs
        n_train = math.ceil((case.train["train_size"] or 0.9) * n_cells)
        # scvi-tools validates on what would be a batch of one or two
        lacks_training = n_train < 3
        lacks_validation = case.train["early_stopping"] and n_train == n_cells
        lacks = {"no cells to train on": lacks_training, "no validation cells": lacks_validation}
        assert answer.refusal is None or any(
            said in answer.refusal for said, is_so in lacks.items() if is_so
        ), answer.refusal
    else:
        assert answer.refusal is not None
    if answer.refusal is None:
        model = answer.value
        assert all(torch.isfinite(weight).all() for weight in model.module.parameters())
        assert model.get_latent_representation().shape == (
            case.adata.n_obs,
            case.model["n_latent"],
        )
        assert np.isfinite(model.get_latent_representation()).all()
    return answer
