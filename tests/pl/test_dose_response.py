"""Dose responses: rows in the order of doses, bands, and what lies beyond the data."""

import numpy as np
import pytest
from matplotlib.collections import PathCollection

import scvi_sams as sams
from tests.pl import standins

GENE = "GENE000"


def test_rows_of_the_perturbation_are_drawn_in_the_order_of_doses():
    ate = standins.doses()
    ax = sams.pl.dose_response(ate, "DRUG", GENE)
    segments = [line.get_xydata() for line in ax.lines if len(line.get_xdata()) == 2]
    segments = [s for s in segments if s[0, 0] >= 1]  # not the line at zero
    path = np.vstack([segments[0][:1], *[s[1:] for s in segments]])
    doses = np.arange(1.0, 7.0)
    np.testing.assert_allclose(path, np.column_stack([doses, -doses]))


def test_the_band_is_the_credible_interval():
    ate = standins.doses()
    ax = sams.pl.dose_response(ate, "DRUG", GENE)
    band = ax.collections[0].get_paths()[0].vertices
    for dose in range(1, 7):
        y = band[band[:, 0] == dose, 1]
        assert (y.min(), y.max()) == pytest.approx((-dose - 0.3, -dose + 0.3))
    assert ax.get_ylim()[0] < -6.3


def test_lines_are_dashed_beyond_the_doses_seen_only():
    ax = sams.pl.dose_response(standins.doses(), "DRUG", GENE)
    style = {
        tuple(line.get_xdata()): line.get_linestyle()
        for line in ax.lines
        if len(line.get_xdata()) == 2 and line.get_xdata()[0] >= 1
    }
    assert style == {(d, d + 1.0): "--" if d == 5 else "-" for d in range(1, 6)}


@pytest.mark.parametrize(
    ("support", "entries"),
    [
        ({}, {"between seen doses": "-", "beyond seen doses": "--"}),
        ({"beyond": "seen"}, {"between seen doses": "-"}),
        ({"between": "seen"}, {"beyond seen doses": "--"}),
        (
            {"seen": "untrained", "between": "untrained", "beyond": "untrained"},
            {"no dose seen": "--"},
        ),
    ],
    ids=["both", "between", "beyond", "untrained"],
)
def test_the_legend_says_what_open_circles_are(support, entries):
    ate = standins.doses()
    ate.obs["dose_support"] = ate.obs["dose_support"].replace(support)
    ax = sams.pl.dose_response(ate, "DRUG", GENE)
    handles, labels = ax.get_legend_handles_labels()
    assert labels == [GENE, *entries]
    assert [handle.get_linestyle() for handle in handles[1:]] == list(entries.values())
    assert all(handle.get_markerfacecolor() == "white" for handle in handles[1:])


def test_lines_of_untrained_perturbations_are_dashed():
    ate = standins.doses()
    ate.obs["dose_support"] = "untrained"
    ax = sams.pl.dose_response(ate, "DRUG", GENE)
    lines = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_xdata()[0] >= 1]
    assert {line.get_linestyle() for line in lines} == {"--"}


def test_seen_doses_are_full_circles_and_others_open():
    ax = sams.pl.dose_response(standins.doses(), "DRUG", GENE)
    full, hollow = (of for of in ax.collections if isinstance(of, PathCollection))
    np.testing.assert_array_equal(full.get_offsets()[:, 0], [1, 2, 3, 4])
    np.testing.assert_array_equal(hollow.get_offsets()[:, 0], [5, 6])
    np.testing.assert_array_equal(hollow.get_facecolor(), [[1, 1, 1, 1]])


def test_without_support_all_doses_count_as_seen():
    ate = standins.doses()
    del ate.obs["dose_support"]
    ax = sams.pl.dose_response(ate, "DRUG", GENE)
    assert all(line.get_linestyle() == "-" for line in ax.lines)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [GENE]


def test_genes_have_colours_of_their_own():
    genes = list(standins.doses().var_names[:7])
    ax = sams.pl.dose_response(standins.doses(), "DRUG", genes)
    handles, labels = ax.get_legend_handles_labels()
    assert labels[:7] == genes
    assert len({handle.get_color() for handle in handles[:7]}) == 7


def test_a_single_dose_is_a_point():
    ax = sams.pl.dose_response(standins.doses(), "OTHER", GENE)
    points = [of for of in ax.collections if isinstance(of, PathCollection)]
    assert sum(len(of.get_offsets()) for of in points) == 1


def test_doses_may_be_on_a_logarithmic_axis():
    assert sams.pl.dose_response(standins.doses(), "DRUG", GENE, log=True).get_xscale() == "log"


def with_dose(value):
    ate = standins.doses()
    ate.obs.iloc[0, ate.obs.columns.get_loc("dose")] = value
    return ate


def without_column(name):
    ate = standins.doses()
    del ate.obs[name]
    return ate


@pytest.mark.parametrize(
    ("ate", "arguments", "message"),
    [
        (standins.doses(), {"perturbation": "DRUGS"}, "no perturbation 'DRUGS'; nearest: 'DRUG'"),
        (standins.doses(), {"genes": "GENE0000"}, "no gene 'GENE0000'; nearest: 'GENE000'"),
        (standins.doses(), {"genes": []}, "No gene is given"),
        (
            standins.doses(),
            {"genes": list(standins.doses().var_names[:8])},
            "At most 7 genes can be told apart; there are 8",
        ),
        (with_dose(0.0), {"log": True}, "takes positive doses; there is 0"),
        (with_dose(standins.doses().obs["dose"].iloc[1]), {}, "dose of 'DRUG' occurs twice"),
        (with_dose(np.nan), {}, "no single dose"),
        (without_column("dose"), {}, "column 'dose' of obs"),
        (without_column("perturbation"), {}, "column 'perturbation' of obs"),
        (standins.doses()[:0], {}, "`ate` is empty"),
    ],
    ids=[
        "perturbation",
        "gene",
        "no gene",
        "many",
        "log",
        "twice",
        "no dose",
        "dose",
        "label",
        "empty",
    ],
)
def test_wrong_input_raises(ate, arguments, message):
    with pytest.raises(ValueError, match=message):
        sams.pl.dose_response(ate, **{"perturbation": "DRUG", "genes": GENE} | arguments)
