"""The checks of figures see what they are for."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tests.pl.checks import (
    assert_filled,
    assert_nothing_cut_off,
    assert_readable,
    assert_saved,
)


def plain():
    figure, ax = plt.subplots(layout="constrained")
    ax.scatter([0, 1], [0, 1])
    return figure, ax


def long_names():
    figure, ax = plt.subplots(figsize=(2, 2))
    ax.scatter([0, 1], [0, 1])
    ax.set_yticks([0, 1], ["A_VERY_LONG_NAME_OF_A_PERTURBATION"] * 2)
    return figure


def wide_title():
    figure, ax = plain()
    ax.set_title("a title that is wider than the whole figure by far" * 3)
    return figure


def legend_beyond():
    figure, ax = plt.subplots()
    ax.scatter([0, 1], [0, 1], label="a long entry that lies beyond the edge")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def label_beyond():
    figure, ax = plain()
    ax.annotate("GENE", (1, 1), xytext=(300, 0), textcoords="offset points").set_in_layout(False)
    return figure


def squeezed():
    figure, ax = plt.subplots(figsize=(4, 0.8), layout="constrained")
    ax.scatter([0, 1], [0, 1])
    ax.set_xlabel("x")
    return figure


def crowded_ticks():
    figure, ax = plain()
    ax.set_yticks(np.linspace(0, 1, 100), [f"NAME{i}" for i in range(100)])
    return figure


def crowded_labels():
    figure, ax = plain()
    for i in range(2):
        ax.annotate(f"GENE{i}", (0.5, 0.5))
    return figure


def tiny_names():
    figure, ax = plain()
    ax.set_yticks([0], ["NAME"], fontsize=2)
    return figure


def empty_axes():
    return plt.subplots()[0]


def points_beyond():
    figure, ax = plain()
    ax.set_xlim(0, 0.5)
    return figure


def cut_image():
    figure, ax = plt.subplots()
    ax.imshow(np.eye(5))
    ax.set_ylim(3.5, -0.5)
    return figure


@pytest.mark.parametrize(
    ("check", "draw"),
    [
        (assert_nothing_cut_off, long_names),
        (assert_nothing_cut_off, wide_title),
        (assert_nothing_cut_off, legend_beyond),
        (assert_nothing_cut_off, label_beyond),
        (assert_nothing_cut_off, squeezed),
        (assert_nothing_cut_off, plt.figure),
        (assert_readable, crowded_ticks),
        (assert_readable, crowded_labels),
        (assert_readable, tiny_names),
        (assert_filled, empty_axes),
        (assert_filled, points_beyond),
        (assert_filled, cut_image),
        (assert_filled, plt.figure),
    ],
    ids=lambda value: value.__name__,
)
def test_checks_fail_on_bad_figures(check, draw):
    with pytest.raises(AssertionError):
        check(draw())


@pytest.mark.parametrize("check", [assert_nothing_cut_off, assert_readable, assert_filled])
def test_checks_pass_a_good_figure(check):
    check(plain()[0])


def test_saved_pictures_are_checked(tmp_path):
    plain()[0].savefig(tmp_path / "good.png")
    assert_saved(tmp_path / "good.png")
    plt.figure().savefig(tmp_path / "blank.png")
    with pytest.raises(AssertionError, match="blank"):
        assert_saved(tmp_path / "blank.png")
    long_names().savefig(tmp_path / "cut.png")
    with pytest.raises(AssertionError, match="cut off"):
        assert_saved(tmp_path / "cut.png")
