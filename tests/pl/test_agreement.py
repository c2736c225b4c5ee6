"""Predicted against observed effects: names aligned, correlation and spread shown."""

import numpy as np
import pytest

import scvi_sams as sams
from tests.pl import standins
from tests.pl.checks import points_of


def noisy(data):
    other = data.copy()
    other.X = other.X + np.random.default_rng(1).normal(0, 0.2, data.shape)
    return other


def as_array(data):
    return data.X


def as_frame(data):
    return data.to_df()


def as_anndata(data):
    return data


@pytest.mark.parametrize("left", [as_array, as_frame, as_anndata], ids=lambda f: f.__name__)
@pytest.mark.parametrize("right", [as_array, as_frame, as_anndata], ids=lambda f: f.__name__)
def test_every_pair_of_effects_is_a_point_and_the_correlation_is_said(left, right):
    observed = standins.ate()
    predicted = noisy(observed)
    ax = sams.pl.ate_agreement(left(predicted), right(observed))
    expected = np.column_stack([observed.X.ravel(), predicted.X.ravel()])
    np.testing.assert_allclose(points_of(ax), expected)
    r = np.corrcoef(*expected.T)[0, 1]
    assert ax.get_title() == f"Pearson r = {r:.3f}"
    assert ax.get_xlim() == ax.get_ylim()


@pytest.mark.parametrize("as_named", [as_frame, as_anndata], ids=lambda f: f.__name__)
def test_names_are_aligned_and_what_only_one_has_is_left_out(as_named):
    observed = standins.ate()
    predicted = noisy(observed)
    ax = sams.pl.ate_agreement(as_named(predicted[::-1, ::-1][:4, :20]), as_named(observed[:3]))
    common = observed.obs_names[1:3], observed.var_names[10:]
    expected = [table.to_df().loc[common].to_numpy().ravel() for table in (observed, predicted)]
    np.testing.assert_allclose(points_of(ax), np.column_stack(expected))


def test_axes_have_the_titles_asked_for():
    ax = sams.pl.ate_agreement([[0.0, 1.0]], [[0.0, 1.0]], labels=("mine", "theirs"))
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("mine", "theirs")


def test_effects_that_are_not_finite_are_left_out():
    ax = sams.pl.ate_agreement([[0.0, 1.0, 2.0]], [[0.0, np.nan, 2.0]])
    np.testing.assert_array_equal(points_of(ax), [[0, 0], [2, 2]])


def test_constant_effects_have_no_correlation():
    ax = sams.pl.ate_agreement([[1.0, 1.0]], [[0.0, 1.0]])
    assert ax.get_title() == "Pearson r is undefined"


def renamed(data, **names):
    data = data.copy()
    data.obs_names = names.get("rows", data.obs_names)
    data.var_names = names.get("columns", data.var_names)
    return data


ATE = standins.ate()


@pytest.mark.parametrize("draw", [sams.pl.ate_agreement, sams.pl.collapse])
@pytest.mark.parametrize(
    ("predicted", "observed", "message"),
    [
        ([[0.0, 1.0]], [[0.0], [1.0]], r"shape \(1, 2\), observed ones \(2, 1\)"),
        (ATE, ATE.X[:2], r"shape \(5, 30\), observed ones \(2, 30\)"),
        (ATE, renamed(ATE, rows=list("abcde")), "no perturbation in common"),
        (ATE, renamed(ATE, columns=[f"g{i}" for i in range(30)]), "no gene in common"),
        (ATE.to_df().iloc[[0, 0]], ATE, "Predicted effects have names that occur twice"),
        (np.empty((0, 3)), np.empty((0, 3)), "no perturbation in common"),
    ],
    ids=["shapes", "a shape and names", "perturbations", "genes", "twice", "empty"],
)
def test_effects_that_do_not_match_raise(draw, predicted, observed, message):
    with pytest.raises(ValueError, match=message):
        draw(predicted, observed)


def test_nothing_finite_raises():
    with pytest.raises(ValueError, match="no effect that is finite"):
        sams.pl.ate_agreement([[np.nan]], [[1.0]])


@pytest.mark.parametrize(
    ("shrink", "ratio", "similarity"),
    [(1.0, "1", "0.0"), (0.1, "0.01", "0."), (0.0, "0", "1.00 predicted")],
    ids=["faithful", "shrunken", "collapsed"],
)
def test_collapse_shows_in_the_ratio_of_variances(shrink, ratio, similarity):
    observed = standins.ate(8)
    middle = observed.X.mean(axis=0) + 1
    predicted = middle + shrink * (observed.X - middle)
    genes, perturbations = sams.pl.collapse(predicted, observed)
    assert genes.get_title() == f"Genes: median ratio {ratio}"
    points = points_of(genes)
    np.testing.assert_allclose(np.sort(points[:, 0]), np.sort(observed.X.var(axis=0)))
    np.testing.assert_allclose(points[:, 1], max(shrink**2, 1e-4), rtol=1e-6)
    assert similarity in perturbations.get_title()


def test_similarities_are_of_each_perturbation_to_all_others():
    observed = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    ax = sams.pl.collapse(np.array([[1.0, 1.0]] * 3), observed)[1]
    np.testing.assert_allclose(points_of(ax), [[0.5, 1], [0.5, 1], [0, 1]])


def test_effects_of_zero_are_alike():
    ax = sams.pl.collapse(np.zeros((3, 2)), np.eye(3)[:, :2])[1]
    np.testing.assert_allclose(points_of(ax)[:, 1], 1)


@pytest.mark.parametrize(
    ("observed", "message"),
    [
        (np.ones((1, 3)), "Two perturbations or more"),
        (np.ones((2, 3)), "No gene differs between perturbations"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), "not finite"),
    ],
    ids=["one perturbation", "constant", "not finite"],
)
def test_observations_that_cannot_collapse_raise(observed, message):
    with pytest.raises(ValueError, match=message):
        sams.pl.collapse(observed, observed)
