"""Labels and matrices become one encoding."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scvi_sams.data._labels import encode_labels, encode_matrix, pack


def dense(labels, *, doses=None, control=("ctrl",), delimiter="+"):
    encoding = encode_labels(
        pd.Series(labels, index=[f"c{i}" for i in range(len(labels))], name="label"),
        control=control,
        delimiter=delimiter,
        dosages=None if doses is None else pd.Series(doses, name="dose"),
    )
    return list(encoding.names), encoding.dosages.toarray().tolist()


@pytest.mark.parametrize(
    ("labels", "names", "dosages"),
    [
        pytest.param(["B", "ctrl", "A"], ["A", "B"], [[0, 1], [0, 0], [1, 0]], id="singles"),
        pytest.param(["A+B", "ctrl"], ["A", "B"], [[1, 1], [0, 0]], id="combination"),
        pytest.param(["B+A", "ctrl"], ["A", "B"], [[1, 1], [0, 0]], id="order-is-free"),
        pytest.param(["A+ctrl", "ctrl+ctrl"], ["A"], [[1], [0]], id="with-control"),
        pytest.param(["A + B", "ctrl"], ["A", "B"], [[1, 1], [0, 0]], id="spaces"),
        pytest.param(["é ü", "ctrl"], ["é ü"], [[1], [0]], id="unicode"),
    ],
)
def test_labels_are_split_and_named(labels, names, dosages):
    assert dense(labels) == (names, dosages)


def test_delimiter_none_never_splits():
    assert dense(["HLA-DR+", "ctrl"], delimiter=None) == (["HLA-DR+"], [[1], [0]])


def test_control_that_holds_the_delimiter_is_not_split():
    assert dense(["A", "NT+1"], control=("NT+1",)) == (["A"], [[1], [0]])


def test_integer_labels_are_names():
    assert dense([7, 0, 3], control=("0",)) == (["3", "7"], [[0, 1], [0, 0], [1, 0]])


@pytest.mark.parametrize(
    ("label", "dose", "expected"),
    [
        pytest.param("A+B", "1.0+0.5", [1.0, 0.5], id="one-per-part"),
        pytest.param("B+A", "1.0+0.5", [0.5, 1.0], id="in-the-order-of-the-label"),
        pytest.param("A+B", 2.0, [2.0, 2.0], id="shared"),
        pytest.param("A+B", "1e+3", [1000.0, 1000.0], id="exponent-is-no-delimiter"),
        pytest.param("A+ctrl+B", "1+9+2", [1.0, 2.0], id="dose-of-control-is-not-read"),
    ],
)
def test_dosages_go_with_their_parts(label, dose, expected):
    names, dosages = dense([label, "A", "B", "ctrl"], doses=[dose, 1, 1, np.nan])
    assert names == ["A", "B"]
    assert dosages[0] == expected
    assert dosages[3] == [0, 0]


@pytest.mark.parametrize(
    "dose", ["high", "1+2+3", np.nan, "inf", ""], ids=["word", "too-many", "nan", "inf", "empty"]
)
def test_dosage_that_does_not_parse_raises(dose):
    with pytest.raises(ValueError, match=r"dosage .* in column 'dose' beside the label 'A\+B'"):
        dense(["A+B", "ctrl"], doses=[dose, 1])


@pytest.mark.parametrize("doses", [[1.0, True], [True, 1.0], [1, np.True_]], ids=str)
def test_true_is_no_dosage_beside_one_either(doses):
    with pytest.raises(ValueError, match=r"dosage '?True'? in column"):
        dense(["A", "B"], doses=pd.Series(doses, dtype=object), control=())


@pytest.mark.parametrize("dtype", [np.float32, np.float64, object])
def test_numbers_are_named_as_they_are_written(dtype):
    names, _ = dense(np.array([0.1, 0.2], dtype=dtype), control=(), delimiter=None)
    assert list(names) == ["0.1", "0.2"]


def test_negative_dosage_raises():
    with pytest.raises(ValueError, match=r"'1\+-2' in column 'dose' beside .*'A\+B' is negative"):
        dense(["A+B", "ctrl"], doses=["1+-2", 1])
    assert dense(["A+ctrl", "ctrl"], doses=["1+-2", -1]) == (["A"], [[1], [0]])


@pytest.mark.parametrize("label", ["A+A", "A+B + A", "A+ctrl+A"])
def test_name_that_stands_twice_raises_and_says_how_else(label):
    with pytest.raises(ValueError, match=r"names 'A' more than once.*`delimiter=None`"):
        dense([label, "ctrl"])
    assert dense([label, "ctrl"], delimiter=None) == ([label], [[1], [0]])


@pytest.mark.parametrize("label", ["B\0", "B\0C"])
def test_label_with_a_nul_character_raises(label):
    with pytest.raises(ValueError, match=r"column 'label' holds 'B\\x00C?', with a NUL"):
        dense(["B", label, "ctrl"])


@pytest.mark.parametrize("label", ["", "A++B", "+A", " "])
def test_empty_part_raises(label):
    with pytest.raises(ValueError, match="empty part"):
        dense([label, "ctrl"])


def test_missing_label_raises_and_names_cells():
    with pytest.raises(
        ValueError, match=r"'label' has no value for 2 cell\(s\), first 'c1', 'c3'"
    ):
        dense(["A", None, "ctrl", np.nan])


def test_control_that_no_cell_carries_raises_with_nearest():
    with pytest.raises(ValueError, match="'control' does not occur in label; nearest: 'contrl'"):
        dense(["A", "contrl"], control=("control",))


KINDS = {
    "ndarray": np.asarray,
    "csr-matrix": sparse.csr_matrix,
    "csr-array": sparse.csr_array,
    "csc-matrix": sparse.csc_matrix,
    "bool": lambda x: np.asarray(x) > 0,
    "int": lambda x: np.asarray(x, dtype=np.int8),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_matrix_columns_are_sorted_by_name(kind):
    matrix = kind(np.array([[1.0, 0, 0], [0, 1, 1], [0, 0, 0]]))
    encoding = encode_matrix(matrix, ["c", "a", "b"], control=(), where="obsm['x']")
    assert list(encoding.names) == ["a", "b", "c"]
    np.testing.assert_array_equal(encoding.dosages.toarray(), [[0, 0, 1], [1, 1, 0], [0, 0, 0]])


def test_control_columns_of_a_matrix_are_left_out():
    encoding = encode_matrix(np.eye(3), ["a", "NT", "b"], control=("NT",), where="obsm['x']")
    assert list(encoding.names) == ["a", "b"]
    np.testing.assert_array_equal(encoding.dosages.toarray(), [[1, 0], [0, 0], [0, 1]])


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        pytest.param([[1.0, np.nan]], ["a", "b"], "not finite.*row 0", id="nan"),
        pytest.param([[0, 0], [np.inf, 0]], ["a", "b"], "not finite.*row 1", id="inf"),
        pytest.param([[0, 0], [0, -2]], ["a", "b"], "negative.*first -2 in row 1", id="negative"),
        pytest.param([[1.0, 0]], ["a"], "2 columns but 1 names", id="names"),
        pytest.param([[1.0, 0]], ["a", "a"], "several columns named 'a'", id="repeated"),
        pytest.param([["x", "y"]], ["a", "b"], "numeric matrix", id="text"),
        pytest.param([[1.0, 0]], ["a", "b"], "'NT' does not occur", id="control"),
    ],
)
def test_malformed_matrix_raises(matrix, names, message):
    control = ("NT",) if "NT" in message else ()
    with pytest.raises(ValueError, match=message):
        encode_matrix(np.array(matrix), names, control=control, where="obsm['x']")


def test_matrix_is_not_changed():
    matrix = sparse.csr_matrix(np.array([[2.0, 1.0], [0.0, 3.0]]))
    before = matrix.copy()
    encode_matrix(matrix, ["b", "a"], control=(), where="obsm['x']")
    assert (matrix != before).nnz == 0


def test_pack_lists_indices_then_doses():
    dosages = sparse.csr_matrix(np.array([[0, 2.0, 0, 0.5], [0, 0, 0, 0], [1, 0, 0, 0]]))
    np.testing.assert_array_equal(pack(dosages), [[1, 3, 2.0, 0.5], [0, 0, 0, 0], [0, 0, 1, 0]])


def test_pack_of_controls_alone_keeps_one_slot():
    assert pack(sparse.csr_matrix((3, 5))).shape == (3, 2)
