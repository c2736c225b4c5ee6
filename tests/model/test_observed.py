"""Means of groups of cells against pandas."""

import numpy as np
import pandas as pd
import pytest
import torch

from scvi_sams.model._conditions import NO_PERTURBATION
from scvi_sams.model._observed import Moments
from scvi_sams.model._response import Response
from tests.conftest import real_valued, trained


@pytest.fixture
def some(model):
    """Cells in no order."""
    return np.random.default_rng(0).permutation(model.adata.n_obs)[:250]


def frame_of(model, cells, name):
    """Responses of cells by numpy."""
    x = model.adata.X[cells].toarray().astype(float)
    if name == "log2_cp10k":
        x = np.log2(1 + 1e4 * x / np.maximum(x.sum(1, keepdims=True), 1))
    return pd.DataFrame(x)


def label_of(model, condition):
    names = model.perturbation_names[condition.members]
    return tuple(sorted(zip(names, condition.doses.round(6), strict=True)))


def labels(model, cells):
    """Perturbations and doses of each cell, from its labels."""
    obs = model.adata.obs.iloc[cells]
    return [
        ()
        if name == "control"
        else tuple(sorted(zip(name.split("+"), map(float, dose.split("+")), strict=True)))
        for name, dose in zip(obs["perturbation"], obs["dosage"], strict=True)
    ]


@pytest.fixture
def model(screen):
    return trained(screen, setup={"dosage_key": "dosage"})


def test_conditions_are_those_of_the_labels_with_the_control_first_and_then_by_size(model, some):
    conditions, group = model._conditions_of(model.adata, some)
    assert [label_of(model, conditions[g]) for g in group] == labels(model, some)
    assert conditions[0] is NO_PERTURBATION
    n_cells = np.bincount(group)
    assert (np.diff(n_cells[1:]) <= 0).all()
    assert len(conditions) == len(set(labels(model, some)))
    for condition in conditions:
        assert (np.diff(condition.members) > 0).all()


@pytest.mark.parametrize("name", ["log2_cp10k", "mean"])
def test_moments_equal_those_of_pandas(model, some, name):
    _, group = model._conditions_of(model.adata, some)
    response = Response(name, model.module.likelihood)
    (found,) = model._moments(model.adata, some, group, group.max() + 1, [response])
    by_group = frame_of(model, some, name).groupby(group)
    np.testing.assert_array_equal(found.n_cells[:, 0], np.bincount(group))
    np.testing.assert_allclose(found.mean, by_group.mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.variance, by_group.var(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n_cells", [5, 11, 500])
def test_sampling_error_is_right_on_average_and_never_zero_of_a_gene_that_varies(n_cells):
    """Groups of a rare gene, many of them without a count."""
    rng = np.random.default_rng(0)
    rate = np.array([0.05, 0.2, 2.0])
    x = rng.poisson(rate, size=(3_000, n_cells, 3))
    sizes = np.full((3_000, 1), n_cells)
    moments = Moments(sizes, x.mean(1), x.var(1, ddof=1))
    assert n_cells > 11 or (moments.variance == 0).any()
    assert (moments.error > 0).all()
    np.testing.assert_allclose(moments.error.mean(0), rate / n_cells, rtol=0.15)
    np.testing.assert_allclose(moments.within, rate, rtol=0.15)


def test_sampling_error_leans_on_all_groups_with_the_weight_of_ten_cells():
    variance, sizes = np.array([[4.0], [1.0], [np.nan]]), np.array([[21], [11], [1]])
    moments = Moments(sizes, 0 * variance, variance)
    within = (20 * 4 + 10 * 1) / 30
    expected = [(20 * 4 + 10 * within) / 30 / 21, (10 * 1 + 10 * within) / 20 / 11, np.nan]
    np.testing.assert_allclose(moments.error[:, 0], expected)


def test_several_responses_are_read_in_one_pass(model, some):
    responses = [Response(name, model.module.likelihood) for name in ("mean", "log2_cp10k")]
    group = np.arange(len(some)) % 3
    together = model._moments(model.adata, some, group, 3, responses)
    for response, found in zip(responses, together, strict=True):
        (alone,) = model._moments(model.adata, some, group, 3, [response])
        np.testing.assert_array_equal(found.mean, alone.mean)
        np.testing.assert_array_equal(found.variance, alone.variance)


def test_cells_of_no_group_are_left_out_and_small_groups_have_no_variance(model, some):
    group = np.full(len(some), -1)
    group[:40], group[40] = 0, 2
    response = Response("mean", model.module.likelihood)
    (found,) = model._moments(model.adata, some, group, 4, [response])
    x = frame_of(model, some, "mean").to_numpy()
    np.testing.assert_array_equal(found.n_cells[:, 0], [40, 0, 1, 0])
    np.testing.assert_allclose(found.mean[0], x[:40].mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.mean[2], x[40])
    assert np.isnan(found.mean[[1, 3]]).all()
    assert np.isnan(found.variance[1:]).all()
    np.testing.assert_allclose(found.within, x[:40].var(0, ddof=1), rtol=1e-6)


def test_pooled_variance_is_the_mean_square_within_groups(model, some):
    _, group = model._conditions_of(model.adata, some)
    response = Response("log2_cp10k", model.module.likelihood)
    (found,) = model._moments(model.adata, some, group, group.max() + 1, [response])
    y = frame_of(model, some, "log2_cp10k")
    within = y - y.groupby(group).transform("mean")
    expected = (within**2).sum() / (len(some) - len(np.unique(group)))
    np.testing.assert_allclose(found.within, expected, rtol=1e-5)


def test_real_values_far_from_zero_keep_their_variance(screen):
    values = real_valued(screen)
    values.X = np.round(values.X * 50) + 1_000  # whole, so that nobody asks about them
    model = trained(values, gene_likelihood="normal")
    everything = np.arange(values.n_obs)
    response = Response("mean", model.module.likelihood)
    (found,) = model._moments(values, everything, 0 * everything, 1, [response])
    np.testing.assert_allclose(found.variance[0], values.X.astype(float).var(0, ddof=1), rtol=1e-6)


def test_reading_cells_takes_them_from_the_data_that_is_asked_for(model, screen):
    other = screen[100:200].copy()
    model._validate_anndata(other)
    response = Response("mean", model.module.likelihood)
    with torch.inference_mode():
        (found,) = model._moments(other, np.arange(100), np.zeros(100, int), 1, [response])
    np.testing.assert_allclose(found.mean[0], np.asarray(other.X.mean(0)).ravel(), rtol=1e-5)
