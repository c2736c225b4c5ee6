"""Genes of latent dimensions: the most raised and lowered, in order."""

import numpy as np
import pytest

import scvi_sams as sams
from tests.pl import standins
from tests.pl.checks import points_of


def shown_genes(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_the_most_raised_and_lowered_genes_are_shown_from_the_top():
    responses = standins.responses()
    ax = sams.pl.dimension_genes(responses, "z2", n_genes=4)
    response = responses.to_df().loc["z2"].sort_values(ascending=False)
    expected = response.iloc[[*range(4), *range(-4, 0)]]
    assert shown_genes(ax) == list(expected.index)
    np.testing.assert_allclose(ax.collections[-1].get_offsets()[:, 0], expected)
    top, bottom = (ax.transData.transform((0, row))[1] for row in (0, 7))
    assert top > bottom
    assert ax.get_title() == "z2 (2 perturbations)"


def test_genes_that_do_not_respond_are_left_out():
    responses = standins.responses(n_genes=6)
    responses.X[0] = [1, 0, -2, 0, 0, 3]
    ax = sams.pl.dimension_genes(responses, "z0", n_genes=6)
    assert shown_genes(ax) == list(responses.var_names[[5, 0, 2]])


def test_a_dimension_that_does_nothing_has_an_empty_panel():
    responses = standins.responses()
    responses.X[1] = 0
    assert not len(points_of(sams.pl.dimension_genes(responses, "z1")))


def test_by_default_the_dimensions_that_most_perturbations_shift_are_shown():
    responses = standins.responses(n_latent=10)
    axes = sams.pl.dimension_genes(responses)
    assert [ax.get_title().split()[0] for ax in axes] == ["z9", "z8", "z7", "z6", "z5", "z4"]
    responses.obs["n_perturbations"] = [0, 0, 3] + [0] * 7
    assert sams.pl.dimension_genes(responses).get_title() == "z2 (3 perturbations)"


def test_without_numbers_of_perturbations_the_largest_responses_count():
    responses = standins.responses(n_latent=8)
    del responses.obs["n_perturbations"]
    axes = sams.pl.dimension_genes(responses)
    largest = np.abs(responses.to_df()).max(axis=1).sort_values(ascending=False)
    assert [ax.get_title() for ax in axes] == list(largest.index[:6])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dimension": "z99"}, "no dimension 'z99'"),
        ({"dimension": []}, "No dimension is given"),
        ({"n_genes": 0}, "`n_genes` must be at least 1; it is 0"),
    ],
    ids=["unknown", "none", "no genes"],
)
def test_wrong_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        sams.pl.dimension_genes(standins.responses(), **arguments)


def test_empty_responses_raise():
    with pytest.raises(ValueError, match="`responses` is empty"):
        sams.pl.dimension_genes(standins.responses()[:0])
