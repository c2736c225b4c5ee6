"""Training histories: curves, sensible limits, and the best epoch."""

from types import SimpleNamespace

import numpy as np
import pytest

import scvi_sams as sams
from tests.pl import standins


def lines_of(ax):
    return {line.get_label(): line for line in ax.lines}


def test_each_metric_has_its_curves():
    model = standins.model()
    axes = sams.pl.training_history(model)
    for ax, metric in zip(axes, ["elbo", "reconstruction_loss", "kl_local"], strict=True):
        for part in ("train", "validation"):
            x, y = lines_of(ax)[part].get_data()
            frame = model.history[f"{metric}_{part}"]
            np.testing.assert_array_equal(x, frame.index)
            np.testing.assert_allclose(y, frame.iloc[:, 0].astype(float))


def test_first_epochs_do_not_set_the_limits():
    model = standins.model()
    ax = sams.pl.training_history(model, metrics="elbo")
    low, high = ax.get_ylim()
    late = np.concatenate(
        [model.history[f"elbo_{part}"].iloc[20:, 0] for part in ("train", "validation")]
    )
    assert model.history["elbo_train"].iloc[0, 0] > 2 * high
    assert low < late.min()
    assert late.max() < high < late.max() + np.ptp(late)


def test_the_best_epoch_is_among_those_with_free_masks():
    lines = lines_of(sams.pl.training_history(standins.model(), metrics="elbo"))
    assert lines["best epoch (150)"].get_xdata()[0] == 150
    assert lines["masks set free"].get_xdata()[0] == 40


@pytest.mark.parametrize("masks", ["none", "always free", "never free"])
def test_without_a_dense_start_all_epochs_count(masks):
    model = standins.model()
    if masks == "none":
        del model.history["kl_mask_validation"]
    else:
        model.history["kl_mask_validation"].iloc[:] = float(masks == "always free")
    lines = lines_of(sams.pl.training_history(model, metrics="elbo"))
    assert "best epoch (0)" in lines
    assert "masks set free" not in lines


def test_without_validation_there_is_no_best_epoch():
    model = standins.model()
    model.history = {k: v for k, v in model.history.items() if "validation" not in k}
    assert set(lines_of(sams.pl.training_history(model, metrics="elbo"))) == {"train"}


def test_epochs_without_validation_are_left_out():
    model = standins.model()
    model.history["elbo_validation"].iloc[::2] = np.nan
    lines = lines_of(sams.pl.training_history(model, metrics="elbo"))
    np.testing.assert_array_equal(lines["validation"].get_xdata(), np.arange(1, 200, 2))
    assert "best epoch (149)" in lines


def test_a_single_epoch_is_a_point():
    ax = sams.pl.training_history(standins.model(n_epochs=1), metrics="elbo")
    assert lines_of(ax)["train"].get_marker() == "o"


@pytest.mark.parametrize(
    "model",
    [SimpleNamespace(history=None), SimpleNamespace(history={})],
    ids=["untrained", "empty"],
)
def test_untrained_models_raise(model):
    with pytest.raises(ValueError, match="no history; train it first"):
        sams.pl.training_history(model)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [("elbow", "no metric 'elbow'; nearest: 'elbo'; it has 'elbo', "), ([], "it has 'elbo', ")],
    ids=["unknown", "none"],
)
def test_wrong_metrics_raise(metrics, message):
    with pytest.raises(ValueError, match=message):
        sams.pl.training_history(standins.model(), metrics=metrics)
