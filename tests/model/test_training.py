"""Training: splits, early stopping, seeds, settings."""

import warnings

import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping

import scvi_sams as sams
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


@pytest.mark.parametrize(
    ("cls", "n_steps_dense", "n_steps_mask_kl"),
    [
        pytest.param(sams.SAMSVAE, 0, 0, id="masked"),
        pytest.param(sams.SAMSVAE, 40, 0, id="dense-start"),
        pytest.param(sams.SAMSVAE, 0, 40, id="rising-weight"),
        pytest.param(sams.SAMSVAE, 40, 40, id="dense-start-and-rising-weight"),
        pytest.param(sams.CPAVAE, 40, 40, id="no-masks"),
    ],
)
def test_early_stopping_stops_and_the_best_weights_are_kept(
    screen, cls, n_steps_dense, n_steps_mask_kl
):
    class Record(Callback):
        def __init__(self):
            self.biases, self.counts = [], []

        def on_validation_end(self, trainer, pl_module):
            module = pl_module.module
            self.biases.append(module.likelihood.to_genes.bias.detach().clone())
            is_free = bool(module.perturbations.masks_are_free)
            self.counts.append(is_free and pl_module.loss_kwargs.get("mask_weight", 1.0) == 1.0)

    set_up(screen, cls)
    model, record = cls(screen, **SMALL), Record()
    model.train(
        max_epochs=400,
        batch_size=64,
        enable_progress_bar=False,
        accelerator="cpu",
        early_stopping_patience=4,
        plan_kwargs={
            "lr": 0.02,
            "n_steps_dense": n_steps_dense,
            "n_steps_mask_kl": n_steps_mask_kl,
        },
        callbacks=[record],
    )
    bound = model.history["elbo_validation"].to_numpy(dtype=float).ravel()
    assert len(bound) < 400
    # the bounds of the dense start and of cheap masks are of other models, and do not count
    is_scheduled = n_steps_dense + n_steps_mask_kl > 0 and model.module.has_masks
    assert all(record.counts) != is_scheduled
    assert model.module.perturbations.masks_are_free
    bound = np.where(record.counts, bound, np.inf)
    assert bound.argmin() == len(bound) - 5
    assert torch.equal(model.module.likelihood.to_genes.bias, record.biases[bound.argmin()])


def test_default_length_follows_steps_not_epochs(screen, monkeypatch):
    set_up(screen)
    seen = {}
    monkeypatch.setattr(
        "scvi.model.base.UnsupervisedTrainingMixin.train",
        lambda self, **kwargs: seen.update(kwargs),
    )
    monkeypatch.setattr(sams.SAMSVAE, "_warn_if_unfinished", lambda self, max_epochs: None)
    model = sams.SAMSVAE(screen, **SMALL)
    model.train(batch_size=64)
    steps_per_epoch = int(np.ceil(len(seen["datamodule"].train_idx) / 64))
    assert seen["max_epochs"] == int(np.ceil(30_000 / steps_per_epoch))
    (stopping,) = [one for one in seen["callbacks"] if isinstance(one, EarlyStopping)]
    assert stopping.patience == int(np.ceil(1_000 / steps_per_epoch))
    assert seen["gradient_clip_val"] == 100


def test_small_screens_warn_of_nothing(screen):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*treespec, LeafSpec")
        warnings.filterwarnings("ignore", message=".*cells moved from training set")
        warnings.filterwarnings("ignore", message="Training ended at 3 epochs")
        assert trained(screen).is_trained


@pytest.mark.parametrize("value", [0, 1.5, True, "3", float("nan")], ids=repr)
@pytest.mark.parametrize("name", ["max_epochs", "batch_size", "early_stopping_patience"])
def test_lengths_are_integers_above_zero(screen, name, value):
    set_up(screen)
    said = f"`{name}` must be an integer of at least 1; it is {value!r}"
    with pytest.raises(ValueError, match=said):
        sams.SAMSVAE(screen, **SMALL).train(**{name: value})


@pytest.mark.parametrize("value", [-1, "1", True, float("nan")], ids=repr)
def test_the_norm_of_gradients_is_a_number(screen, value):
    set_up(screen)
    with pytest.raises(ValueError, match="`gradient_clip_val` must be a number of at least 0"):
        sams.SAMSVAE(screen, **SMALL).train(gradient_clip_val=value)


@pytest.mark.parametrize("name", ["train_size", "validation_size"])
def test_shares_of_cells_are_numbers(screen, name):
    set_up(screen)
    with pytest.raises(ValueError, match=f"`{name}` must be .*; it is '0.9'"):
        sams.SAMSVAE(screen, **SMALL).train(**{name: "0.9"})


def test_arguments_may_be_given_by_position_as_in_scvi_tools(screen):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    model.train(1, "cpu", enable_progress_bar=False)
    assert model.is_trained


def test_training_that_ends_too_early_says_so(screen):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    with pytest.warns(UserWarning, match="Training ended at 3 epochs.*Raise `max_epochs`"):
        model.train(**FEW_STEPS)


@pytest.mark.parametrize("kwargs", [{"logger": False}, {"check_val_every_n_epoch": 9}])
def test_training_without_a_history_of_the_bound_is_finished(screen, kwargs):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    model.train(**FEW_STEPS, **kwargs)
    assert np.isfinite(model.get_average_treatment_effects(n_samples=10).X).all()


def test_training_that_ends_by_itself_says_nothing(screen):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Training ended")
        model.train(**FEW_STEPS | {"max_epochs": 400}, early_stopping_patience=3)
    assert len(model.history["elbo_validation"]) < 400


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train_size": 0}, "`train_size` must be above 0 and at most 1; it is 0"),
        ({"train_size": np.nan}, "`train_size` must be above 0 and at most 1; it is nan"),
        ({"validation_size": 1.0}, "`validation_size` must be at least 0 and less than 1"),
        ({"train_size": 0.9, "validation_size": 0.2}, "add up to 1.1"),
    ],
)
def test_sizes_that_are_no_shares_are_refused(screen, sizes, message):
    set_up(screen)
    with pytest.raises(ValueError, match=message):
        sams.SAMSVAE(screen, **SMALL).train(**FEW_STEPS, **sizes)


def test_a_screen_that_leaves_no_cell_to_train_on_is_refused(screen):
    pair = screen[screen.obs["perturbation"].isin(["pert_0", "pert_1"])].copy()
    pair = pair[~pair.obs["perturbation"].duplicated()].copy()
    set_up(pair, control=None, batch_key=None)
    with pytest.raises(ValueError, match=r"no cells to train on\. Give `train_size`"):
        sams.SAMSVAE(pair, **SMALL).train(**FEW_STEPS, early_stopping=False)
