"""Scores as people read them."""

import numpy as np
import pytest

from scvi_sams.benchmark._numbers import counted, decimals, duration, enumerated, number


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([0.1, 0.9], 3, id="shares"),
        pytest.param([-1250.0, -1230.0], 1, id="close together, far from zero"),
        pytest.param([100.0, 9000.0], 0, id="large"),
        pytest.param([0.031, 0.034], 5, id="small"),
        pytest.param([0.5], 3, id="one value"),
        pytest.param([np.nan, 0.5, 0.5], 3, id="equal values"),
        pytest.param([np.nan], 3, id="no value"),
        pytest.param([0.0], 3, id="zero"),
    ],
)
def test_decimals_tell_values_apart(values, expected):
    assert decimals(values) == expected


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(-1234.56, 1, "−1,234.6"), (-0.0004, 2, "0.00"), (np.nan, 2, "–"), (0.125, 3, "0.125")],
)
def test_numbers(value, digits, text):
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5.0 s"), (90, "1.5 min"), (5400, "1.5 h"), (np.nan, "–")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_words():
    assert [counted(1, "seed"), counted(2, "seed")] == ["1 seed", "2 seeds"]
    assert [enumerated(list(names)) for names in ("a", "ab", "abc")] == [
        "a",
        "a and b",
        "a, b and c",
    ]
