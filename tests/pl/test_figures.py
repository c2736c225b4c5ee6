"""What holds for all figures: filled, readable, nothing cut off, shown and saved as asked."""

import copy
import random
from inspect import signature
from types import SimpleNamespace

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes

import scvi_sams as sams
from tests.pl import standins
from tests.pl.checks import (
    assert_filled,
    assert_nothing_cut_off,
    assert_readable,
    assert_saved,
    points_of,
)

# arguments of every figure, of a size
ARGUMENTS = {
    "additivity": lambda size: (standins.interactions(**size),),
    "ate_agreement": lambda size: (standins.ate(**size), standins.ate(**size)),
    "collapse": lambda size: (standins.ate(**size), standins.ate(**size)),
    "dimension_genes": lambda size: (standins.responses(**size),),
    "dose_response": lambda size: (
        standins.doses(n_genes=size["n_genes"]),
        "DRUG",
        list(standins.names("GENE", 7)),
    ),
    "effects": lambda size: (standins.effects(**size),),
    "inclusion_probability": lambda size: (standins.effects(**size),),
    "interactions": lambda size: (standins.interactions(**size),),
    "perturbation_embedding": lambda size: (standins.effects(**size, n_clusters=12),),
    "posterior_predictive_check": lambda size: (standins.check(**size),),
    "training_history": lambda size: (standins.model(),),
    "volcano": lambda size: (
        standins.ate(**size),
        standins.names("PERTURBATION", size["n_perturbations"])[3],
    ),
}
FAST = {"perturbation_embedding": {"method": "pca"}}
ONE_PANEL = {  # of figures with several
    "additivity": {"pairs": "LEFT000+PARTNER0"},
    "dimension_genes": {"dimension": "z0"},
    "posterior_predictive_check": {"statistics": "mean"},
    "training_history": {"metrics": "elbo"},
}
of_every_figure = pytest.mark.parametrize("name", sams.pl.__all__)


def draw(name, size=standins.SMALL, **kwargs):
    return getattr(sams.pl, name)(*ARGUMENTS[name](size), **FAST.get(name, {}) | kwargs)


@of_every_figure
@pytest.mark.parametrize("size", [standins.SMALL, standins.LARGE], ids=["small", "large"])
def test_figures_are_filled_readable_and_not_cut_off(name, size, tmp_path):
    figure = draw(name, size, return_fig=True, save=tmp_path / "figure.png")
    assert_filled(figure)
    assert_nothing_cut_off(figure)
    assert_readable(figure)
    assert_saved(tmp_path / "figure.png")


@of_every_figure
def test_figures_leave_the_random_state_as_it_was(name):
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    getattr(sams.pl, name)(*ARGUMENTS[name](standins.SMALL))  # the embedding by UMAP
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])


@of_every_figure
def test_figures_do_not_change_what_they_draw(name):
    arguments = ARGUMENTS[name](standins.SMALL)
    before = copy.deepcopy(arguments)
    getattr(sams.pl, name)(*arguments, **FAST.get(name, {}))
    for now, then in zip(arguments, before, strict=True):
        if isinstance(now, ad.AnnData):
            np.testing.assert_array_equal(now.X, then.X)
            pd.testing.assert_frame_equal(now.obs, then.obs)
            layers = set(now.layers) - {None}  # the layer None is X
            assert layers == set(then.layers) - {None}
            for layer in layers:
                np.testing.assert_array_equal(now.layers[layer], then.layers[layer])
            assert (now.uns, sorted(now.obsm)) == (then.uns, sorted(then.obsm))
        elif isinstance(now, pd.DataFrame):
            pd.testing.assert_frame_equal(now, then)
        elif hasattr(now, "history"):
            for key, frame in now.history.items():
                pd.testing.assert_frame_equal(frame, then.history[key])
        else:
            assert now == then


@of_every_figure
def test_figures_are_returned_as_asked(name, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(True))
    drawn = draw(name)
    axes = drawn if isinstance(drawn, list) else [drawn]
    assert all(isinstance(ax, Axes) for ax in axes)
    assert not shown
    assert draw(name, show=True, return_fig=True) is plt.gcf()
    assert shown == [True]


@pytest.mark.parametrize("name", [name for name in sams.pl.__all__ if name != "collapse"])
def test_figures_draw_on_given_axes(name):
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    assert draw(name, ax=right, **ONE_PANEL.get(name, {})) is right
    assert not left.has_data()
    assert right.has_data()
    left.remove()
    assert_filled(figure)
    assert_nothing_cut_off(figure)


def wrong_things():
    """Each figure with what it does not draw."""
    for name, arguments in ARGUMENTS.items():
        drawn = {type(arguments(standins.SMALL)[0])} - {SimpleNamespace}
        if name in ("ate_agreement", "collapse"):
            drawn |= {pd.DataFrame}
        for wrong in (SimpleNamespace(), standins.interactions(), standins.effects()):
            if type(wrong) not in drawn:
                yield pytest.param(name, wrong, id=f"{name}-{type(wrong).__name__}")


@pytest.mark.parametrize(("name", "wrong"), list(wrong_things()))
def test_other_things_than_results_raise(name, wrong):
    others = ARGUMENTS[name](standins.SMALL)[1:]
    argument = next(iter(signature(getattr(sams.pl, name)).parameters))
    message = f"`{argument}` is .*; it is of type {type(wrong).__name__}"
    with pytest.raises(TypeError, match=message):
        getattr(sams.pl, name)(wrong, *others)
    assert not plt.get_fignums(), "an empty figure is left behind"


@pytest.mark.parametrize("name", ONE_PANEL)
def test_several_panels_do_not_go_on_one_axes(name):
    with pytest.raises(ValueError, match=r"`ax` takes one panel, and there are [2-9]"):
        draw(name, ax=plt.subplots()[1])


def test_figures_draw_within_subfigures():
    figure = plt.figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subfigures(1, 2)
    sams.pl.volcano(standins.ate(), "PERTURBATION000", ax=left.subplots())
    drawn = sams.pl.effects(standins.effects(), ax=right.subplots(), return_fig=True)
    assert drawn is figure
    assert len(points_of(left.axes[0]))
    assert_nothing_cut_off(figure)
