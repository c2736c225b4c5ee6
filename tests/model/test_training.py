"""Training: the plan, splits, early stopping, seeds."""

import warnings
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback

import scvi_sams as sams
from scvi_sams.data._statistics import training_statistics
from scvi_sams.train._best_weights import KeepBestWeights
from scvi_sams.train._plan import SAMSTrainingPlan
from tests.conftest import FEW_STEPS, SMALL, set_up, trained


def test_same_seed_gives_the_same_result(screen):
    results = []
    for _ in range(2):
        scvi.settings.seed = 7
        results.append(trained(screen.copy()))
    np.testing.assert_array_equal(*(model.get_latent_representation() for model in results))
    np.testing.assert_array_equal(
        *(model.history["elbo_validation"].to_numpy(dtype=float) for model in results)
    )


def test_training_improves_the_bound(screen):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    model.train(**FEW_STEPS | {"max_epochs": 40})
    history = model.history["elbo_train"].to_numpy(dtype=float)
    assert history[-1] < history[0] - 1


def test_groups_of_the_optimizer(model):
    plan = SAMSTrainingPlan(model.module, lr=1e-4, lr_mask=0.5, weight_decay=0.1)
    networks, effects, masks = plan.configure_optimizers()["optimizer"].param_groups
    assert (networks["weight_decay"], effects["weight_decay"], masks["weight_decay"]) == (
        0.1,
        0,
        0,
    )
    assert (networks["lr"], effects["lr"], masks["lr"]) == (1e-4, 1e-4, 0.5)
    assert networks["eps"] == 1e-8
    assert masks["params"][0] is model.module.perturbations.mask.logits
    n_grouped = sum(len(group["params"]) for group in (networks, effects, masks))
    assert n_grouped == len(list(model.module.parameters()))


def test_divergence_has_full_weight_from_the_start_unless_asked(model):
    assert SAMSTrainingPlan(model.module).n_epochs_kl_warmup is None
    assert SAMSTrainingPlan(model.module, n_epochs_kl_warmup=5).n_epochs_kl_warmup == 5


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
    np.testing.assert_allclose(module.encoder.log_mean, np.log1p(x).mean(0), rtol=1e-4)
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
    before = model.module.encoder.log_mean.clone()
    model.train(**FEW_STEPS, split_key="half")
    torch.testing.assert_close(model.module.encoder.log_mean, before)
    received = screen.obsm["perturbations"].toarray()[1::2] != 0
    np.testing.assert_array_equal(model.module.perturbations.n_cells, received.sum(0))


def test_split_key_is_honoured(screen):
    split = np.array(["train", "val", "test", "train"] * 100)[: screen.n_obs]
    screen.obs["split"] = split
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    model.train(**FEW_STEPS, split_key="split")
    for indices, name in [
        (model.train_indices, "train"),
        (model.validation_indices, "val"),
        (model.test_indices, "test"),
    ]:
        np.testing.assert_array_equal(np.sort(indices), np.flatnonzero(split == name))


@pytest.mark.parametrize(
    ("split", "error", "message"),
    [
        pytest.param("validate", ValueError, "holds 'validate'", id="unknown-value"),
        pytest.param("val", ValueError, "no cells to train on", id="no-train"),
        pytest.param("train", ValueError, "no 'val' cells", id="no-val"),
        pytest.param(None, KeyError, "no column 'split'", id="no-column"),
    ],
)
def test_bad_split_names_the_culprit(screen, split, error, message):
    if split:
        screen.obs["split"] = split
    set_up(screen)
    with pytest.raises(error, match=message):
        sams.SAMSVAE(screen, **SMALL).train(**FEW_STEPS, split_key="split")


def test_perturbation_without_training_cell_warns_and_keeps_its_prior(screen):
    held_out = screen.obs["perturbation"].astype(str).str.contains("pert_3").to_numpy()
    screen.obs["split"] = np.where(
        held_out, "test", np.where(np.arange(len(held_out)) % 5, "train", "val")
    )
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    with pytest.warns(UserWarning, match=r"1 perturbation\(s\) have no training cell: 'pert_3'"):
        model.train(**FEW_STEPS, split_key="split")
    effects = model.get_perturbation_effects()
    assert effects.obs.loc["pert_3", "n_cells"] == 0
    np.testing.assert_allclose(effects["pert_3"].layers["inclusion_probability"], 0.01, rtol=1e-4)
    np.testing.assert_allclose(effects["pert_3"].layers["effect_mean"], 0)
    np.testing.assert_allclose(effects["pert_3"].layers["effect_sd"], 1, rtol=1e-5)
    ate = model.get_average_treatment_effects(["pert_3", "pert_1"], n_samples=50)
    assert list(ate.obs["trained"]) == [False, True]


def test_early_stopping_stops_and_the_best_weights_are_kept(screen):
    class Record(Callback):
        biases: ClassVar[list] = []

        def on_validation_end(self, trainer, pl_module):
            self.biases.append(pl_module.module.decoder.to_genes.bias.detach().clone())

    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    model.train(
        max_epochs=400,
        batch_size=64,
        enable_progress_bar=False,
        accelerator="cpu",
        early_stopping_patience=4,
        plan_kwargs={"lr": 0.02},
        callbacks=[Record()],
    )
    bound = model.history["elbo_validation"].to_numpy(dtype=float).ravel()
    assert len(bound) < 400
    assert bound.argmin() == len(bound) - 5
    assert torch.equal(model.module.decoder.to_genes.bias, Record.biases[bound.argmin()])


def test_best_weights_are_those_of_the_lowest_value(model):
    plan = SimpleNamespace(module=model.module)
    keep, bias = KeepBestWeights(), model.module.decoder.to_genes.bias
    for epoch, value in enumerate([3.0, 1.0, 2.0]):
        metrics = {"elbo_validation": torch.tensor(value)}
        bias.data.fill_(epoch)
        keep.on_validation_end(
            SimpleNamespace(callback_metrics=metrics, current_epoch=epoch), plan
        )
    keep.on_train_end(None, plan)
    assert keep.best_epoch == 1
    assert (bias == 1).all()


def test_default_length_follows_steps_not_epochs(screen, monkeypatch):
    set_up(screen)
    seen = {}
    monkeypatch.setattr(
        "scvi.model.base.UnsupervisedTrainingMixin.train",
        lambda self, **kwargs: seen.update(kwargs),
    )
    model = sams.SAMSVAE(screen, **SMALL)
    model.train(batch_size=64)
    steps_per_epoch = int(np.ceil(len(seen["datamodule"].train_idx) / 64))
    assert seen["max_epochs"] == int(np.ceil(30_000 / steps_per_epoch))
    assert seen["early_stopping_patience"] == int(np.ceil(1_000 / steps_per_epoch))
    assert seen["gradient_clip_val"] == 100


def test_small_screens_warn_of_nothing(screen):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*treespec, LeafSpec")
        warnings.filterwarnings("ignore", message=".*cells moved from training set")
        assert trained(screen).is_trained


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"mask_prior": 1.5}, r"must be a probability in \(0, 1\)", id="mask_prior"),
        pytest.param({"effect_prior_scale": 0}, "must be positive", id="effect_prior_scale"),
        pytest.param({"effect_guide": "correlated"}, "'mean_field' or 'spike_slab'", id="guide"),
        pytest.param({"mask_prior": None}, "probability", id="mask_prior-none"),
        pytest.param({"gene_likelihood": "zinb"}, "must be 'nb'", id="gene_likelihood"),
        pytest.param({"n_particles": 0}, "n_particles", id="n_particles"),
        pytest.param({"n_latent": 0}, "n_latent", id="n_latent"),
        pytest.param({"mask_kl_weight": -1}, "mask_kl_weight", id="mask_kl_weight"),
    ],
)
def test_impossible_settings_raise_at_once(screen, kwargs, message):
    set_up(screen)
    with pytest.raises(ValueError, match=message):
        sams.SAMSVAE(screen, **kwargs)


def test_statistics_follow_the_split_that_trains_without_a_seed(screen):
    scvi.settings.seed = None
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    model.train(**FEW_STEPS)
    received = screen.obsm["perturbations"].toarray()[model.train_indices] != 0
    np.testing.assert_array_equal(model.module.perturbations.n_cells, received.sum(0))
    assert not set(model.train_indices) & set(model.validation_indices)


def test_weight_of_the_basal_divergence_falls_to_one_also_in_a_short_run(screen):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    model.train(**FEW_STEPS | {"max_epochs": 9}, plan_kwargs={"initial_kl_weight": 4.0})
    weight = model.history["kl_weight"].to_numpy(dtype=float).ravel()
    assert (np.diff(weight) <= 0).all()
    assert weight[0] > 2
    assert (weight[4:] == 1).all()


def test_schedule_of_the_basal_divergence_can_be_left_out(model):
    assert SAMSTrainingPlan(model.module, initial_kl_weight=1.0).kl_weight == 1
    assert SAMSTrainingPlan(model.module).kl_weight == 10


@pytest.mark.parametrize("name", ["max_epochs", "batch_size"])
def test_lengths_must_be_positive(screen, name):
    set_up(screen)
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1; it is 0"):
        sams.SAMSVAE(screen, **SMALL).train(**{name: 0})


def test_arguments_may_be_given_by_position_as_in_scvi_tools(screen):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    model.train(1, "cpu", enable_progress_bar=False)
    assert model.is_trained
