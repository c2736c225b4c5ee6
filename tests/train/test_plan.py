"""How the model is optimised."""

import numpy as np
import pytest
from lightning.pytorch.callbacks import Callback

import scvi_sams as sams
from scvi_sams.train._plan import SAMSTrainingPlan
from tests.conftest import FEW_STEPS, MODELS, SMALL, set_up, trained

WITH_MASKS = ["SAMSVAE", "SVAEPlus"]


class Watch(Callback):
    """What each step found: whether masks are free, their temperature, the optimizer's memory."""

    def __init__(self):
        self.are_free, self.temperatures, self.first_moments = [], [], []
        self.kl_weights, self.mask_weights, self.inclusion, self.rates = [], [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        posterior = pl_module.module.perturbations
        self.are_free.append(bool(posterior.masks_are_free))
        self.temperatures.append(getattr(posterior.masks, "temperature", None))
        self.kl_weights.append(float(pl_module.kl_weight))
        self.mask_weights.append(pl_module.loss_kwargs.get("mask_weight", 1.0))
        self.inclusion.append(posterior.inclusion_probability.detach().clone())
        (optimizer,) = trainer.optimizers
        self.rates.append([group["lr"] for group in optimizer.param_groups])
        self.first_moments.append(
            sum(float(state["step"]) for state in optimizer.state.values())
            / max(len(optimizer.state), 1)
        )


def watched(adata, *, cls=sams.SAMSVAE, max_epochs=6, **plan_kwargs):
    """A model trained under watch; early stopping never stops it."""
    set_up(adata, cls)
    model = cls(adata, **SMALL)
    return model, watch(model, max_epochs=max_epochs, **plan_kwargs)


def watch(model, max_epochs=6, **plan_kwargs):
    record = Watch()
    model.train(
        **FEW_STEPS | {"max_epochs": max_epochs, "early_stopping_patience": 1_000},
        plan_kwargs=plan_kwargs,
        callbacks=[record],
    )
    return record


def test_groups_of_the_optimizer(model):
    plan = SAMSTrainingPlan(model.module, lr=1e-4, lr_mask=0.5, weight_decay=0.1)
    groups = plan.configure_optimizers()["optimizer"].param_groups
    matrices, vectors, _, masks = groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0, 0, 0]
    assert [group["lr"] for group in groups] == [1e-4, 1e-4, 1e-4, 0.5]
    assert {group["eps"] for group in groups} == {1e-8}
    assert masks["params"][0] is model.module.perturbations.masks.logits
    assert any(p is model.module.likelihood.log_dispersion for p in vectors["params"])
    assert any(p is model.module.likelihood.to_genes.weight for p in matrices["params"])
    n_grouped = sum(len(group["params"]) for group in groups)
    assert n_grouped == len(list(model.module.parameters()))


def test_divergence_has_full_weight_from_the_start_unless_asked(model):
    assert SAMSTrainingPlan(model.module).n_epochs_kl_warmup is None
    assert SAMSTrainingPlan(model.module, n_epochs_kl_warmup=5).n_epochs_kl_warmup == 5


def test_weight_of_the_basal_divergence_falls_to_one_also_in_a_short_run(screen):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    model.train(**FEW_STEPS | {"max_epochs": 9}, plan_kwargs={"initial_kl_weight": 4.0})
    weight = model.history["kl_weight"].to_numpy(dtype=float).ravel()
    assert (np.diff(weight) <= 0).all()
    assert weight[0] > 2
    assert (weight[4:] == 1).all()


def test_basal_divergence_has_full_weight_unless_asked(model):
    assert SAMSTrainingPlan(model.module).kl_weight == 1
    assert SAMSTrainingPlan(model.module, initial_kl_weight=10.0).kl_weight == 10


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_in_one_group_and_masks_only_where_there_are_some(screen, name):
    set_up(screen, MODELS[name])
    module = MODELS[name](screen, **SMALL).module
    plan = SAMSTrainingPlan(module, lr=1e-4, lr_mask=0.5, weight_decay=0.1)
    groups = plan.configure_optimizers()["optimizer"].param_groups
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) >= {id(p) for p in module.parameters() if p.requires_grad}
    assert (0.5 in [group["lr"] for group in groups]) == (name in WITH_MASKS)
    variational = {id(p) for p in module.perturbations.parameters()}
    for group in groups:
        decays = {id(p) not in variational and p.ndim == 2 for p in group["params"]}
        assert decays == {group["weight_decay"] > 0}


@pytest.mark.parametrize("name", WITH_MASKS)
def test_masks_are_full_at_first_and_then_free_for_good(screen, name):
    model, record = watched(screen, cls=MODELS[name], n_steps_dense=7)
    assert record.are_free == [False] * 7 + [True] * (len(record.are_free) - 7)
    assert all((inclusion == 1).all() for inclusion in record.inclusion[:7])
    assert all((inclusion < 1).all() for inclusion in record.inclusion[7:])
    assert model.module.is_settled
    # the optimizer starts anew with the new axes
    assert record.first_moments[6] == pytest.approx(7, abs=1)
    assert record.first_moments[7] == 1


def test_dense_start_is_at_most_a_third_of_a_short_run(screen):
    _, record = watched(screen, n_steps_dense=10_000)
    n_steps = len(record.are_free)
    assert record.are_free.count(False) == n_steps // 3
    assert record.are_free == sorted(record.are_free)


@pytest.mark.parametrize("n_steps_dense", [0, 10_000], ids=["masked", "dense-start"])
@pytest.mark.parametrize("name", ["CPAVAE", "ConditionalVAE"])
def test_models_without_masks_have_no_dense_start(screen, name, n_steps_dense):
    _, record = watched(screen, cls=MODELS[name], max_epochs=3, n_steps_dense=n_steps_dense)
    assert all(record.are_free)
    assert record.first_moments[-1] == pytest.approx(len(record.are_free), abs=1)


def test_no_steps_are_no_dense_start(screen, monkeypatch):
    def fail(shifts):
        raise AssertionError("nothing is to be rotated")

    monkeypatch.setattr("scvi_sams.module._module.sparse_rotation", fail)
    _, record = watched(screen, max_epochs=3, n_steps_dense=0)
    assert all(record.are_free)


def test_training_on_does_not_start_dense_again(screen, tmp_path):
    model, record = watched(screen, max_epochs=3)
    assert not record.are_free[0]
    assert all(watch(model, max_epochs=3).are_free)
    model.save(str(tmp_path / "model"), save_anndata=True)
    loaded = sams.SAMSVAE.load(str(tmp_path / "model"), accelerator="cpu")
    assert all(watch(loaded, max_epochs=3).are_free)


@pytest.mark.parametrize("name", MODELS)
def test_kept_weights_are_never_those_of_the_dense_start(screen, name, monkeypatch):
    """Also where the bound without masks is better than any that follows."""
    cls = MODELS[name]
    loss = cls._module_cls.loss

    def flattered(self, *args, **kwargs):
        result = loss(self, *args, **kwargs)
        if not self.perturbations.masks_are_free:
            n_cells = result.n_obs_minibatch
            object.__setattr__(
                result, "reconstruction_loss_sum", result.reconstruction_loss_sum - 1e6 * n_cells
            )
        return result

    monkeypatch.setattr(cls._module_cls, "loss", flattered)
    model, _ = watched(screen, cls=cls, n_steps_dense=15)
    bound = model.history["elbo_validation"].to_numpy(dtype=float).ravel()
    assert (bound.min() < -1e5) == (name in WITH_MASKS), "the dense start looked better"
    assert model.module.perturbations.masks_are_free
    if name in WITH_MASKS:
        assert model.module.is_settled
        assert (model.module.perturbations.inclusion_probability < 1).all()


def test_step_sizes_that_fell_in_the_dense_start_are_whole_again_after_it(screen):
    # a threshold that no epoch reaches: every epoch is a plateau
    plateau = {"reduce_lr_on_plateau": True, "lr_patience": 0, "lr_threshold": 1e9}
    _, record = watched(screen, max_epochs=9, n_steps_dense=10**6, **plateau)
    first = record.are_free.index(True)
    assert record.rates[first - 1][0] < 0.9 * record.rates[0][0]
    assert record.rates[first] == record.rates[0]
    assert record.rates[-1][0] < 0.9 * record.rates[0][0]


def test_step_sizes_that_fell_while_masks_were_cheap_are_whole_again_after_it(screen):
    plateau = {"reduce_lr_on_plateau": True, "lr_patience": 0, "lr_threshold": 1e9}
    _, record = watched(screen, max_epochs=9, n_steps_dense=0, **plateau)
    first = record.mask_weights.index(1.0)
    assert record.rates[first - 1][0] < 0.9 * record.rates[0][0]
    assert record.rates[first] == record.rates[0]
    assert record.rates[-1][0] < 0.9 * record.rates[0][0]


def test_accumulated_batches_are_one_step(screen):
    set_up(screen)
    model, record = sams.SAMSVAE(screen, **SMALL), Watch()
    model.train(
        **FEW_STEPS | {"max_epochs": 12},
        accumulate_grad_batches=2,
        early_stopping_patience=1_000,
        plan_kwargs={"n_steps_dense": 0, "n_epochs_mask_kl": 2},
        callbacks=[record],
    )
    is_rising = np.array(record.mask_weights) < 1
    assert is_rising.sum() == 2 * len(is_rising) / 12


def test_temperature_goes_geometrically_from_the_first_masked_step(screen):
    _, record = watched(
        screen, n_steps_dense=6, initial_temperature=4.0, temperature=0.25, n_steps_temperature=8
    )
    temperatures = record.temperatures[record.are_free.index(True) :]
    progress = np.clip(np.arange(len(temperatures)) / 8, 0, 1)
    np.testing.assert_allclose(temperatures, 4.0 ** (1 - progress) * 0.25**progress)


def test_temperature_is_one_unless_asked(screen):
    _, record = watched(screen, max_epochs=3)
    assert set(record.temperatures) == {1.0}


def test_weight_of_the_masks_rises_linearly_from_the_first_masked_step(screen):
    _, record = watched(screen, n_steps_dense=6, n_steps_mask_kl=8)
    since_free = np.arange(len(record.mask_weights)) - record.are_free.index(True)
    assert since_free[-1] > 8
    np.testing.assert_allclose(record.mask_weights[6:], np.clip(since_free[6:] / 8, 0, 1))


@pytest.mark.parametrize(
    ("schedule", "n_rising"),
    [
        pytest.param({}, lambda n_steps, n_epochs: n_steps // 3, id="third-of-the-run"),
        pytest.param(
            {"n_epochs_mask_kl": 1}, lambda n_steps, n_epochs: n_steps // n_epochs, id="epochs"
        ),
    ],
)
def test_weight_of_the_masks_is_whole_in_time(screen, schedule, n_rising):
    _, record = watched(screen, max_epochs=6, n_steps_dense=0, **schedule)
    weights = np.array(record.mask_weights)
    assert (weights < 1).sum() == n_rising(len(weights), 6)
    assert (weights == np.sort(weights)).all()


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        pytest.param(sams.SAMSVAE, {"mask_kl_weight": 0.0}, id="no-weight"),
        pytest.param(sams.SVAEPlus, {}, id="no-weight-by-default"),
        pytest.param(sams.CPAVAE, {}, id="no-masks"),
    ],
)
def test_nothing_rises_where_there_is_no_weight(screen, cls, settings):
    set_up(screen, cls)
    model = cls(screen, **SMALL, **settings)
    assert set(watch(model, max_epochs=3, n_steps_dense=0).mask_weights) == {1.0}


def test_training_on_has_the_whole_weight_at_once(screen):
    model, record = watched(screen, max_epochs=3, n_steps_dense=2, n_steps_mask_kl=2)
    assert min(record.mask_weights) == 0
    assert set(watch(model, max_epochs=3).mask_weights) == {1.0}


def test_training_that_ends_before_the_whole_weight_says_so(screen):
    class Stop(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = True

    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    with pytest.warns(UserWarning, match="before `mask_kl_weight` was in full force"):
        model.train(
            **FEW_STEPS | {"max_epochs": 60}, plan_kwargs={"n_steps_dense": 0}, callbacks=[Stop()]
        )


@pytest.mark.parametrize("initial", [4.0, 0.25])
def test_weight_of_the_basal_divergence_goes_to_one_linearly(screen, initial):
    _, record = watched(screen, initial_kl_weight=initial, n_steps_kl=8)
    steps = np.arange(1, len(record.kl_weights) + 1)  # seen after the step
    expected = initial + (1 - initial) * np.clip(steps / 8, 0, 1)
    np.testing.assert_allclose(record.kl_weights, expected, rtol=1e-6)


def test_schedules_fit_a_run_however_short(screen):
    _, record = watched(screen, max_epochs=1, initial_kl_weight=3.0, n_steps_kl=10_000)
    n_steps = len(record.kl_weights)
    assert record.kl_weights[max(n_steps // 3, 1) :] == [1.0] * (n_steps - max(n_steps // 3, 1))


def test_gradients_come_from_all_particles(screen, monkeypatch):
    seen = []
    inference = sams.SAMSVAE._module_cls._regular_inference

    def record(self, *args, **kwargs):
        seen.append(kwargs["n_samples"])
        return inference(self, *args, **kwargs)

    monkeypatch.setattr(sams.SAMSVAE._module_cls, "_regular_inference", record)
    trained(screen, n_particles=3)
    assert set(seen) == {3}


@pytest.mark.parametrize("patience", [1, 4], ids=["impatient", "patient"])
def test_early_stopping_ends_the_dense_start_rather_than_training(screen, patience):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    record = Watch()
    model.train(
        **FEW_STEPS | {"max_epochs": 30, "early_stopping_patience": patience},
        # no step changes anything, so the bound of the first epoch is hardly beaten
        plan_kwargs={"lr": 1e-12, "n_steps_dense": 1_000},
        callbacks=[record],
    )
    assert not record.are_free[0]
    assert record.are_free[-1]
    assert sum(not free for free in record.are_free) < len(record.are_free) * 0.7
    assert model.module.perturbations.masks_are_free


def test_masks_that_were_learned_without_a_dense_start_are_not_rotated_later(screen):
    model, _ = watched(screen, max_epochs=3, n_steps_dense=0)
    assert model.module.is_settled
    record = watch(model, max_epochs=3)
    assert all(record.are_free)


def test_half_precision_with_clipped_gradients(screen):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    model.train(**FEW_STEPS, precision="bf16-mixed")
    assert np.isfinite(model.history["elbo_validation"].to_numpy(dtype=float)).all()


def test_one_fused_step_for_all_perturbations(model):
    optimizer = SAMSTrainingPlan(model.module).configure_optimizers()["optimizer"]
    assert all(group["fused"] for group in optimizer.param_groups)
