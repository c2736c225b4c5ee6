"""Guide RNAs are called by count and share."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scvi_sams as sams

COUNTS = np.array(
    [
        [20, 0, 0, 1],  # A1 alone
        [10, 9, 0, 0],  # two guides of A
        [10, 0, 9, 0],  # A and B
        [3, 0, 0, 0],  # too few
        [0, 0, 0, 0],  # none
        [0, 0, 0, 8],  # control
        [10, 0, 0, 9],  # A beside a control
    ]
)
GUIDES = ["A1", "A2", "B1", "NT1"]
TARGETS = {"A1": "A", "A2": "A", "B1": "B", "NT1": "control"}


def guides() -> ad.AnnData:
    return ad.AnnData(
        COUNTS.astype(np.float32),
        obs=pd.DataFrame(index=[f"c{i}" for i in range(len(COUNTS))]),
        var=pd.DataFrame({"target": list(TARGETS.values())}, index=GUIDES),
    )


def labels(adata):
    return [None if pd.isna(x) else x for x in adata.obs["perturbation"]]


def test_targets_of_single_perturbations():
    adata = guides()
    summary = sams.pp.assign_guides(adata, targets=TARGETS, control="control")
    assert labels(adata) == ["A", "A", None, None, None, "control", "A"]
    assert summary.to_dict() == {
        "assigned": 4,
        "no guide counts": 1,
        "below threshold": 1,
        "too many guides": 1,
    }
    assert list(adata.obs["perturbation_call"][2:5]) == [
        "too many guides",
        "below threshold",
        "no guide counts",
    ]


def test_combinations_are_joined():
    adata = guides()
    sams.pp.assign_guides(adata, targets="target", control="control", max_guides=2)
    assert labels(adata)[2] == "A+B"


def test_guides_of_their_own_and_the_layer_for_mudata():
    adata = guides()
    sams.pp.assign_guides(adata, control="NT1", max_guides=2)
    assert labels(adata) == ["A1", "A1+A2", "A1+B1", None, None, "NT1", "A1"]
    np.testing.assert_array_equal(
        adata.layers["assigned"].toarray()[:4],
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [np.nan, 0, 0, 0]],
    )


def test_share_excludes_background():
    adata = guides()
    sams.pp.assign_guides(adata, targets=TARGETS, control="control", min_share=0.6)
    assert list(adata.obs["perturbation_call"])[1] == "below threshold"


@pytest.mark.parametrize("frame", [True, False], ids=["DataFrame", "matrix"])
def test_counts_in_obsm(frame):
    source = guides()
    adata = ad.AnnData(np.ones((len(COUNTS), 2), dtype=np.float32), obs=source.obs)
    adata.obsm["grna_counts"] = (
        pd.DataFrame(COUNTS, columns=GUIDES, index=adata.obs_names) if frame else COUNTS
    )
    adata.uns["grna_names"] = np.array(GUIDES)
    sams.pp.assign_guides(adata, obsm_key="grna_counts", targets=TARGETS, control="control")
    assert labels(adata) == ["A", "A", None, None, None, "control", "A"]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        pytest.param({"min_count": 0}, ValueError, "at least 1", id="min_count"),
        pytest.param({"min_share": 2}, ValueError, "min_share", id="min_share"),
        pytest.param({"obsm_key": "nope"}, KeyError, "no 'nope'", id="obsm"),
        pytest.param({"layer": "nope"}, KeyError, "no 'nope'", id="layer"),
        pytest.param({"targets": {"A1": "A"}}, ValueError, "no entry.*'A2'", id="targets"),
        pytest.param({"control": "nt1"}, ValueError, "no guide; nearest: 'NT1'", id="control"),
        pytest.param({"targets": "nope"}, KeyError, "no column 'nope'", id="column"),
    ],
)
def test_bad_input_names_the_culprit(kwargs, error, message):
    with pytest.raises(error, match=message):
        sams.pp.assign_guides(guides(), **kwargs)


def test_unnamed_obsm_columns_raise():
    adata = guides()
    adata.obsm["counts"] = COUNTS
    with pytest.raises(KeyError, match="have no names"):
        sams.pp.assign_guides(adata, obsm_key="counts")


def test_negative_counts_raise():
    adata = guides()
    adata.X[0, 0] = -1
    with pytest.raises(ValueError, match="negative"):
        sams.pp.assign_guides(adata)


def test_calls_of_a_real_screen_agree_with_the_published_ones(data_dir):
    adata = ad.read_h5ad(data_dir / "papalexi2021_eccite_thp1_299genes.h5ad")
    adata = adata[adata.obs["guide_confident"].to_numpy(dtype=bool)].copy()
    names = [str(name) for name in adata.uns["grna_names"]]
    targets = {
        name: "control" if name.startswith("NT") else name.rsplit("g", 1)[0] for name in names
    }
    published = adata.obs["perturbation"].astype(str).to_numpy()
    sams.pp.assign_guides(
        adata,
        obsm_key="grna_counts",
        targets=targets,
        control="control",
        min_share=0.5,
        key_added="called",
    )
    called = adata.obs["called"].notna().to_numpy()
    assert called.mean() > 0.95
    assert (adata.obs["called"][called].astype(str) == published[called]).mean() > 0.99
