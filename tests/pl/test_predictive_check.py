"""Posterior predictive checks: each statistic drawn, what is missed highlighted and counted."""

import numpy as np
import pytest

import scvi_sams as sams
from tests.pl import standins

MISSED = (0.8352941176470589, 0.3686274509803922, 0.0)


def colour_of(scatter):
    return tuple(scatter.get_facecolor()[0][:3]) if len(scatter.get_facecolor()) else None


def test_each_statistic_has_a_panel_in_a_fixed_order():
    axes = sams.pl.posterior_predictive_check(standins.check())
    titles = [ax.get_title().split("\n")[0] for ax in axes]
    assert titles == ["Mean", "Variance", "Share of zeros", "Effect against controls"]
    assert [ax.get_xscale() for ax in axes] == ["log", "log", "linear", "linear"]


@pytest.mark.parametrize("statistic", ["mean", "variance", "zeros", "ate"])
def test_entries_that_are_missed_are_highlighted_and_counted(statistic):
    check = standins.check()
    ax = sams.pl.posterior_predictive_check(check, statistic)
    observed, replicated, p = (
        check.layers[f"{statistic}_{part}"] for part in ("observed", "replicated", "pvalue")
    )
    missed = p > 0.99
    fits, misses = ax.collections[:2]
    np.testing.assert_allclose(
        misses.get_offsets(), np.column_stack([observed[missed], replicated[missed]])
    )
    np.testing.assert_allclose(
        fits.get_offsets(), np.column_stack([observed[~missed], replicated[~missed]])
    )
    assert colour_of(misses) == pytest.approx(MISSED)
    assert colour_of(fits) != pytest.approx(MISSED)
    title = f"{missed.sum()} of 150 missed\n({missed.mean():.1%}; 2.0% by chance)"
    assert ax.get_title().endswith(title)


def test_both_tails_count():
    check = standins.check()
    check.layers["mean_pvalue"][:] = 0.5
    check.layers["mean_pvalue"][0, :3] = 0.001, 0.999, 0.02
    draw = sams.pl.posterior_predictive_check
    assert "2 of 150 missed" in draw(check, "mean").get_title()
    assert "3 of 150 missed" in draw(check, "mean", tail=0.05).get_title()


@pytest.mark.parametrize(("n", "share"), [(20, "9.5%"), (100, "2.0%"), (1_000, "2.0%")])
def test_few_replicates_miss_more_by_chance(n, share):
    check = standins.check()
    check.uns["posterior_predictive_check"] = {"n_samples": n}
    assert f"{share} by chance" in sams.pl.posterior_predictive_check(check, "mean").get_title()


def test_entries_that_are_not_finite_are_left_out():
    check = standins.check()
    for part in ("observed", "replicated", "pvalue"):
        check.layers[f"ate_{part}"][0] = np.nan  # as of the control
    assert "of 120 missed" in sams.pl.posterior_predictive_check(check, "ate").get_title()


def test_means_of_zero_are_drawn_at_the_lower_end():
    check = standins.check()
    check.layers["mean_observed"][0, 0] = 0
    ax = sams.pl.posterior_predictive_check(check, "mean")
    x = np.concatenate([of.get_offsets()[:, 0] for of in ax.collections[:2]])
    assert len(x) == 150
    assert x.min() > 0
    assert ax.get_xlim()[0] < x.min()


def test_means_of_real_values_without_positive_ones_are_drawn():
    check = standins.check()
    for part in ("observed", "replicated"):
        check.layers[f"mean_{part}"][:] *= -1
    assert sams.pl.posterior_predictive_check(check, "mean").get_xscale() == "linear"


def all_nan(check):
    check.layers["mean_pvalue"][:] = np.nan
    return check


def without_layers(check):
    for layer in list(check.layers):
        del check.layers[layer]
    return check


def without_pvalue(check):
    del check.layers["mean_pvalue"]
    return check


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda check: check, {"statistics": "means"}, "no statistic 'means'; nearest: 'mean'"),
        (lambda check: check, {"statistics": []}, "No statistic is given"),
        (lambda check: check, {"tail": 0.5}, "between 0 and 0.5; it is 0.5"),
        (lambda check: check[:0], {}, "`check` is empty"),
        (without_layers, {}, "no layers of `sams.tl.posterior_predictive_check`"),
        (without_pvalue, {}, "layer 'mean_pvalue'"),
        (all_nan, {}, "No entry of the statistic 'mean' is finite"),
    ],
    ids=["unknown", "none", "tail", "empty", "no layers", "no p-values", "not finite"],
)
def test_wrong_input_raises(change, arguments, message):
    with pytest.raises(ValueError, match=message):
        sams.pl.posterior_predictive_check(change(standins.check()), **arguments)
