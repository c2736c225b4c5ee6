"""What training has to know of its cells."""

import numpy as np
import pytest
import scvi
import torch

import scvi_sams as sams
from scvi_sams.data._statistics import training_statistics
from tests.conftest import FEW_STEPS, SMALL, set_up, trained


def test_statistics_are_those_of_the_training_cells_alone(screen):
    set_up(screen, size_factor_key="depth")
    model = sams.SAMSVAE(screen, **SMALL)
    model.train(**FEW_STEPS)
    rows = model.train_indices
    assert len(rows) < screen.n_obs
    x = screen.X.toarray()[rows]
    received = screen.obsm["perturbations"].toarray()[rows] != 0
    module = model.module
    np.testing.assert_array_equal(module.perturbations.n_cells, received.sum(0))
    np.testing.assert_allclose(module.encoder.input_mean, np.log1p(x).mean(0), rtol=1e-4)
    np.testing.assert_allclose(1 / module.encoder.inverse_sd, np.log1p(x).std(0), rtol=1e-3)
    mean = screen.obs["depth"].to_numpy()[rows].mean()
    assert module.mean_size_factor.item() == pytest.approx(mean, rel=1e-5)


def test_statistics_do_not_depend_on_chunks(screen, monkeypatch):
    set_up(screen)
    manager = sams.SAMSVAE(screen, **SMALL).adata_manager
    whole = training_statistics(manager, np.arange(screen.n_obs), 6)
    monkeypatch.setattr("scvi_sams.data._statistics._ROWS_AT_ONCE", 17)
    chunked = training_statistics(manager, np.arange(screen.n_obs)[::-1], 6)
    for a, b in zip(whole, chunked, strict=True):
        torch.testing.assert_close(a, b)


def test_training_on_keeps_the_standardisation_and_follows_the_numbers(screen):
    screen.obs["half"] = np.where(np.arange(screen.n_obs) % 2, "train", "val")
    model = trained(screen)
    before = model.module.encoder.input_mean.clone()
    model.train(**FEW_STEPS, split_key="half")
    torch.testing.assert_close(model.module.encoder.input_mean, before)
    received = screen.obsm["perturbations"].toarray()[1::2] != 0
    np.testing.assert_array_equal(model.module.perturbations.n_cells, received.sum(0))


def test_statistics_follow_the_split_that_trains_without_a_seed(screen):
    scvi.settings.seed = None
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    model.train(**FEW_STEPS)
    received = screen.obsm["perturbations"].toarray()[model.train_indices] != 0
    np.testing.assert_array_equal(model.module.perturbations.n_cells, received.sum(0))
    assert not set(model.train_indices) & set(model.validation_indices)
