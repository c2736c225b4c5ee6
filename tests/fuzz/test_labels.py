"""Labels are read as they are written, or refused."""

import anndata as ad
import numpy as np
import pandas as pd
from hypothesis import strategies as st

import scvi_sams as sams
from scvi_sams.data._labels import encode_labels
from tests.fuzz.harness import ask, fuzzed
from tests.fuzz.labels import labels, naive_reading


def received(dosages, names):
    """What each cell received, out of an encoding."""
    return [
        {name: float(dose) for name, dose in zip(names, row, strict=True) if dose}
        for row in dosages.toarray()
    ]


def expected(rows):
    """The naive reading in the precision of the encoding; doses of 0 are none."""
    single = [{name: float(np.float32(dose)) for name, dose in row.items()} for row in rows]
    return [{name: dose for name, dose in row.items() if dose} for row in single]


@fuzzed("encode_labels", st.integers(2, 8).flatmap(labels), ci=200, nightly=8000)
def test_labels_are_read_as_a_naive_parser_reads_them(case):
    column = pd.Series(case.column, name="label")
    dosages = None if case.doses is None else pd.Series(case.doses, name="dose", dtype=object)
    answer = ask(
        lambda: encode_labels(
            column, control=case.controls, delimiter=case.delimiter, dosages=dosages
        ),
        {"labels": column.to_frame()},
        given=["label", "dose", "delimiter", "control"],
    )
    rows = naive_reading(case)
    if answer.refusal is not None:
        assert rows is None, f"refused what can be read as {rows}: {answer.refusal}"
        return answer
    assert rows is not None, "read what is malformed"
    assert received(answer.value.dosages, answer.value.names) == expected(rows)
    assert list(answer.value.names) == sorted({name for row in rows for name in row})
    return answer


@fuzzed("pp.encode_perturbations", st.integers(2, 8).flatmap(labels), ci=60, nightly=3000)
def test_encoding_an_anndata_adds_what_is_documented_alone(case):
    adata = ad.AnnData(np.ones((len(case.raw), 1), np.float32))
    adata.obs["label"] = list(case.column) if isinstance(case.column, pd.Series) else case.column
    if case.doses is not None:
        adata.obs["dose"] = pd.Series(case.doses, index=adata.obs_names, dtype=object)
    answer = ask(
        lambda: sams.pp.encode_perturbations(
            adata,
            "label",
            control=case.control,
            delimiter=case.delimiter,
            dosage_key=None if case.doses is None else "dose",
        ),
        {"adata": adata},
        given=["label", "dose", "delimiter", "control"],
        additions=("obsm.perturbations", "uns.perturbations_names"),
    )
    rows = naive_reading(case)
    assert (rows is None) == (answer.refusal is not None), answer.refusal
    if rows is not None:
        found = received(adata.obsm["perturbations"], adata.uns["perturbations_names"])
        assert found == expected(rows)
    return answer
