"""Labels such as ``"KLF1+MAP2K6"`` as a sparse matrix of dosages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import is_bool
from scipy import sparse

from scvi_sams.data._names import as_text, listed, nearest


class Encoding(NamedTuple):
    """Which cell received how much of which perturbation.

    Attributes
    ----------
    dosages
        Sparse matrix of shape ``(n_cells, n_perturbations)``, float32; 0 where a cell did not
        receive the perturbation, an empty row for a control cell.
    names
        Names of the columns, sorted, of shape ``(n_perturbations,)``.
    """

    dosages: sparse.csr_matrix
    names: npt.NDArray[np.object_]


def encode_labels(
    labels: pd.Series,
    *,
    control: Sequence[str],
    delimiter: str | None,
    dosages: pd.Series | None = None,
    require_control: bool = True,
) -> Encoding:
    """Encode one label per cell.

    Parameters
    ----------
    labels
        One label per cell; ``"A+B"`` is a combination of A and B.
    control
        Labels that mean *not perturbed*. A cell with only these is a control; ``"A+control"`` is
        A.
    delimiter
        What separates the parts of a combination; ``None`` if labels are never split.
    dosages
        One dose per cell, which all of its perturbations share, or one per part of its label
        (``"1.0+0.5"`` beside ``"A+B"``). Doses of controls are not read. ``None`` for doses of 1.
    require_control
        Whether each control must be carried by at least one cell.

    Returns
    -------
    The dosages, with columns in sorted order of the names.

    Raises
    ------
    ValueError
        If a label or dose is missing or malformed, or no cell carries a control.
    """
    what = f"The perturbation label column {labels.name!r}"
    _check_complete(labels, what)
    text = as_text(labels, what)
    codes, uniques = pd.factorize(text)
    parts = [split_label(label, control, delimiter, labels.name) for label in uniques]
    if require_control:
        carried = set(uniques) | {part for split in parts for part in split}
        _check_controls(control, carried, labels.name)

    if dosages is None:
        received = [{name: 1.0 for name in split if name not in control} for split in parts]
        row_of_cell = codes
    else:
        if dosages.dtype == object:
            # True is no dose, but equals one, and of equal values pandas keeps the first
            dosages = dosages.map(lambda dose: str(dose) if is_bool(dose) else dose)
        dose_codes, dose_uniques = pd.factorize(dosages, use_na_sentinel=False)
        pair_codes, pairs = pd.factorize(codes.astype(np.int64) * len(dose_uniques) + dose_codes)
        received = []
        for pair in pairs:
            label, dose = divmod(int(pair), len(dose_uniques))
            received.append(
                doses_of_parts(
                    parts[label],
                    dose_uniques[dose],
                    control,
                    delimiter,
                    uniques[label],
                    f"column {dosages.name!r}",
                )
            )
        row_of_cell = pair_codes

    names = np.array(sorted({name for row in received for name in row}), dtype=object)
    column = {name: position for position, name in enumerate(names)}
    table = sparse.csr_matrix(
        (
            [dose for row in received for dose in row.values()],
            (
                [number for number, row in enumerate(received) for _ in row],
                [column[name] for row in received for name in row],
            ),
        ),
        shape=(len(received), len(names)),
        dtype=np.float32,
    )
    return Encoding(_canonical(table[row_of_cell]), names)


def split_label(
    label: str, control: Sequence[str], delimiter: str | None, where: object
) -> tuple[str, ...]:
    """Parts of a label, such as A and B of ``"A+B"``; a label that is a control is never split.

    Parameters
    ----------
    label
        The label.
    control
        Names that mean *not perturbed*.
    delimiter
        What separates the parts; ``None`` if labels are never split.
    where
        Column of the label, for messages.

    Raises
    ------
    ValueError
        If a part is empty, the delimiter is empty or no text, or a perturbation stands twice.
    """
    if delimiter is not None and not (isinstance(delimiter, str) and delimiter):
        raise ValueError(
            "`delimiter` must be text that is not empty, or None if labels are never split; it "
            f"is {delimiter!r}."
        )
    if label in control or delimiter is None:
        parts: tuple[str, ...] = (label,)
    else:
        parts = tuple(part.strip() for part in label.split(delimiter))
    if any(not part.strip() for part in parts):
        raise ValueError(
            f"The label {label!r} in {where!r} has an empty part. Name every "
            f"perturbation, or pass `delimiter=` if {delimiter!r} belongs to the names."
        )
    repeated = [part for part, n in Counter(parts).items() if n > 1 and part not in control]
    if repeated:
        raise ValueError(
            f"The label {label!r} in {where!r} names {repeated[0]!r} more than once. Name it once "
            "(how much of it a cell received is its dose), or pass `delimiter=None` if labels "
            "are names as they stand."
        )
    return parts


def encode_matrix(
    matrix: object,
    names: Sequence[object],
    *,
    control: Sequence[str],
    where: str,
    require_control: bool = True,
) -> Encoding:
    """Encode a cells × perturbations matrix of dosages whose columns are named.

    Parameters
    ----------
    matrix
        Dense or sparse (matrix or array) of shape ``(n_cells, n_perturbations)``: one-hot,
        multi-hot or real dosages. An all-zero row is a control.
    names
        Names of the columns.
    control
        Columns that mean *not perturbed*; they are left out.
    where
        The place of the matrix, for messages.
    require_control
        Whether each control must be a column.

    Returns
    -------
    The dosages, with columns in sorted order of the names.

    Raises
    ------
    ValueError
        If names and columns differ in number, a name stands twice, a control is no column, or an
        entry is negative or not finite.
    """
    if sparse.issparse(matrix):
        dosages = sparse.csr_matrix(matrix, dtype=np.float32, copy=True)
    else:
        dense = np.asarray(matrix)
        if dense.ndim != 2 or dense.dtype.kind not in "biuf":
            raise ValueError(
                f"{where} must be a numeric matrix of cells × perturbations; "
                f"it has shape {dense.shape} and dtype {dense.dtype}."
            )
        dosages = sparse.csr_matrix(dense.astype(np.float32))
    text = np.array([str(name) for name in names], dtype=object)
    if len(text) != dosages.shape[1]:
        raise ValueError(
            f"{where} has {dosages.shape[1]} columns but {len(text)} names. Give one per column."
        )
    repeated = pd.Index(text)[pd.Index(text).duplicated()].unique()
    if len(repeated):
        raise ValueError(f"{where} has several columns named {listed(repeated)}. Rename them.")
    is_bad = ~np.isfinite(dosages.data) | (dosages.data < 0)
    if is_bad.any():
        first = np.flatnonzero(is_bad)[0]
        row = int(np.searchsorted(dosages.indptr, first, side="right")) - 1
        raise ValueError(
            f"{where} holds values that are negative or not finite (NaN or infinite), first "
            f"{dosages.data[first]:g} in row {row}. Set them to 0 where the cell did not receive "
            "the perturbation, or drop the cells."
        )
    if require_control:
        _check_controls(control, set(text), where)
    kept = np.array([name not in control for name in text], dtype=bool)
    order = np.flatnonzero(kept)[np.argsort(text[kept].astype(str), kind="stable")]
    return Encoding(_canonical(dosages[:, order]), text[order])


def pack(dosages: sparse.csr_matrix) -> npt.NDArray[np.float32]:
    """Write each cell's perturbations as a short list: indices, then doses.

    A cell receives few of the T perturbations, so a model that reads lists takes steps whose
    cost does not grow with T.

    Parameters
    ----------
    dosages
        Shape ``(n_cells, n_perturbations)``.

    Returns
    -------
    Array of shape ``(n_cells, 2 * D)``, where D is the most perturbations that a cell received
    (at least 1): D column indices (exact in float32 up to 2²⁴ perturbations), padded with 0,
    then their D doses, padded with 0.
    """
    n_received = np.diff(dosages.indptr)
    width = max(int(n_received.max(initial=0)), 1)
    packed = np.zeros((dosages.shape[0], 2 * width), dtype=np.float32)
    cell = np.repeat(np.arange(dosages.shape[0]), n_received)
    slot = np.arange(dosages.nnz) - np.repeat(dosages.indptr[:-1], n_received)
    packed[cell, slot] = dosages.indices
    packed[cell, width + slot] = dosages.data
    return packed


def _canonical(dosages: sparse.csr_matrix) -> sparse.csr_matrix:
    dosages = sparse.csr_matrix(dosages)
    dosages.sum_duplicates()
    dosages.eliminate_zeros()
    dosages.sort_indices()
    return dosages


def _check_complete(column: pd.Series, what: str) -> None:
    missing = column.index[column.isna().to_numpy()]
    if len(missing):
        raise ValueError(
            f"{what} has no value for {len(missing)} cell(s), first {listed(missing, 3)}. "
            "Fill in their labels or drop these cells."
        )


def _check_controls(control: Sequence[str], carried: set[str], where: object) -> None:
    absent = [name for name in control if name not in carried]
    if absent:
        raise ValueError(
            f"The control {absent[0]!r} does not occur in {where!s}"
            f"{nearest(absent[0], sorted(carried))}. "
            "Correct `control=`, or pass `control=None` if the screen has no controls."
        )


def doses_of_parts(
    parts: tuple[str, ...],
    dose: object,
    control: Sequence[str],
    delimiter: str | None,
    label: str,
    where: str,
) -> dict[str, float]:
    """Dose of each perturbation of one label.

    Parameters
    ----------
    parts
        Parts of the label; controls among them have no dose.
    dose
        A number, which all parts share, or text with one number per part.
    control
        Names that mean *not perturbed*.
    delimiter
        What separates the numbers, as the parts of the label.
    label, where
        The label and the place of the dose, for messages.

    Raises
    ------
    ValueError
        If the dose is not one finite number, nor one for each part, or negative.
    """
    if all(part in control for part in parts):
        return {}
    doses = _parse_doses(dose, delimiter)
    if doses is None or len(doses) not in (1, len(parts)):
        raise ValueError(
            f"The dosage {dose!r} in {where} beside the label {label!r} is not a finite "
            f"number, nor {len(parts)} of them separated as the label is (such as '1.0+0.5' "
            "beside 'A+B')."
        )
    if len(doses) == 1:
        doses *= len(parts)
    received = {
        part: amount for part, amount in zip(parts, doses, strict=True) if part not in control
    }
    if min(received.values()) < 0:
        raise ValueError(
            f"The dosage {dose!r} in {where} beside the label {label!r} is negative. A dose is "
            "how much of a perturbation a cell received, and 0 is none."
        )
    return received


def _parse_doses(dose: object, delimiter: str | None) -> list[float] | None:
    text = str(dose).strip()
    # the whole first: "1e+3" is one number although it holds the delimiter
    for pieces in ([text], text.split(delimiter) if delimiter else []):
        try:
            numbers = [float(piece) for piece in pieces]
        except ValueError:
            continue
        return numbers if numbers and np.isfinite(numbers).all() else None
    return None
