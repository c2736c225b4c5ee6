"""YAML with lines."""

import math

import pytest

from scvi_sams.benchmark._yaml import read_yaml


@pytest.mark.parametrize(
    ("word", "value"),
    [
        pytest.param("1e-4", 1e-4, id="exponent without a point"),
        pytest.param("1.0e-4", 1e-4, id="exponent"),
        pytest.param("-.5", -0.5, id="no digit before the point"),
        pytest.param("012", 12, id="leading zero"),
        pytest.param("no", "no", id="no is text"),
        pytest.param("1:30", "1:30", id="no base 60"),
        pytest.param("2020-01-01", "2020-01-01", id="no dates"),
        pytest.param("'1e-4'", "1e-4", id="quoted number"),
        pytest.param('"true"', "true", id="quoted truth"),
        pytest.param("True", True, id="truth"),
        pytest.param("~", None, id="null"),
        pytest.param("", None, id="empty"),
        pytest.param("[1, [a]]", [1, ["a"]], id="lists"),
        pytest.param("|\n  1\n", "1\n", id="block of text"),
    ],
)
def test_words_mean_what_they_look_like(word, value):
    found = read_yaml(f"key: {word}").content["key"]
    assert type(found) is type(value)
    assert found == value


def test_whole_numbers_are_no_floats():
    assert read_yaml("[3, 3.0]").content == [3, 3.0]
    assert [type(x) for x in read_yaml("[3, 3.0]").content] == [int, float]
    assert math.isclose(read_yaml("2.5E+3").content, 2500)


def test_every_key_and_item_has_its_line():
    lines = read_yaml("a:\n  b:\n    - x\n\n    - y\n# says nothing\n1: {c: 2}\n").lines
    assert lines == {
        (): 1,
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "b", 0): 3,
        ("a", "b", 1): 5,
        ("1",): 7,
        ("1", "c"): 7,
    }


def test_a_mistake_is_at_the_nearest_line_above():
    document = read_yaml("a:\n  b: 1\n")
    assert str(document.mistake(("a", "b", 3, "c"), "no")) == "line 2: a.b[3].c: no"
    assert str(document.mistake(("d",), "no")) == "line 1: d: no"
    assert str(document.mistake((), "no")) == "line 1: no"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            "a: 1\nb: 2\na: 3", "line 3: a: is given twice, first in line 1", id="repeated key"
        ),
        pytest.param("a: 1\nb: c: d", "line 2: mapping values are not allowed here", id="colon"),
        pytest.param("a: [1,\nb: 2", "line 2: expected ',' or ']'", id="open list"),
        pytest.param("a: 1\n---\nb: 2", "line 2: but found another document", id="documents"),
        pytest.param("a: 1\nb: *c", "line 2: found undefined alias", id="alias"),
        pytest.param("a: &a\n  - *a", "line 1: a[0]: contains itself", id="cycle"),
        pytest.param("a: 1\n[1, 2]: 3", "line 2: a key must be text", id="list as a key"),
        pytest.param("a: 1\nb: \x01", "line 2: no text: special characters", id="character"),
    ],
)
def test_mistakes_have_lines(text, said):
    (mistake,) = read_yaml(text).mistakes
    assert str(mistake).startswith(said)


def test_the_same_content_may_be_in_two_places():
    document = read_yaml("a: &x {n: 1}\nb: *x")
    assert document.content == {"a": {"n": 1}, "b": {"n": 1}}
    assert not document.mistakes
