import re
from collections import Counter

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scvi_sams as sams

COLUMNS = {"perturbation_key": "perturbation", "control": "control"}
PAIRS = ["A+B", "B+A", "C+D", "A+C", "B+control", "E+F"]


def cells(labels: dict[str, int], **columns) -> ad.AnnData:
    """As many empty cells of each label."""
    names = np.repeat(list(labels), list(labels.values()))
    obs = pd.DataFrame({"perturbation": names}, index=[f"cell{i}" for i in range(len(names))])
    return ad.AnnData(np.zeros((len(names), 1), np.float32), obs=obs.assign(**columns))


@pytest.fixture
def screen():
    """Singles A, B, C, D; pairs of them; E and F only together; 40 cells each, two lines."""
    labels = ["control", "A", "B", "C", "D", *PAIRS]
    adata = cells(dict.fromkeys(labels, 40))
    adata.obs["line"] = np.tile(["x", "y"], adata.n_obs // 2)
    return adata


def conditions_in(adata, part):
    return set(adata.obs["perturbation"][adata.obs["split"] == part])


def test_random_cuts_the_same_shares_from_each_stratum(screen):
    sams.splits.random(
        screen, stratify_keys=["perturbation", "line"], test_share=0.25, validation_share=0.15
    )
    counts = screen.obs.groupby(["perturbation", "line"])["split"].value_counts().unstack()
    assert (counts["test"] == 5).all()
    assert (counts["val"] == 3).all()


def test_strata_of_one_cell_fall_on_each_side_by_chance():
    adata = cells({f"P{i}": 1 for i in range(2000)})
    sams.splits.random(adata, stratify_keys="perturbation", test_share=0.3)
    assert (adata.obs["split"] == "test").mean() == pytest.approx(0.3, abs=0.05)


def test_combinations_are_held_out_whole(screen):
    sams.splits.combinations(screen, **COLUMNS, test_share=0.5)
    sams.splits.check_no_leak(screen, **COLUMNS)
    # A+B and B+A are one; E+F stays, since E and F are seen nowhere else
    held_out = conditions_in(screen, "test") - {"control"}
    assert held_out < set(PAIRS) - {"E+F", "B+control"}
    assert ("A+B" in held_out) == ("B+A" in held_out)
    of_control = screen.obs["split"][screen.obs["perturbation"] == "control"].value_counts()
    assert of_control.to_dict() == {"train": 26, "test": 8, "val": 6}


@pytest.mark.parametrize("seed", range(5))
def test_every_perturbation_stays_known(seed):
    labels = [f"P{i}+P{(i * 7 + 1) % 12}" for i in range(12)] + [f"P{i}" for i in range(4)]
    adata = cells(dict.fromkeys(["control", *labels], 10))
    sams.splits.combinations(adata, **COLUMNS, test_share=0.9, seed=seed)
    seen = {part for label in conditions_in(adata, "train") for part in label.split("+")}
    assert {f"P{i}" for i in range(12)} <= seen


def test_parts_seen_counts_the_singles_that_were_trained_on():
    adata = cells(dict.fromkeys(["control", "A", "B", "A+B", "A+C", "C+D", "D+E", "E+F"], 5))
    sams.splits.combinations(adata, **COLUMNS, test_share=0.9)
    seen = adata.obs.groupby("perturbation")["split_parts_seen"].first()
    expected = {"A+B": 2, "A+C": 1, "C+D": 0, "D+E": 0}
    held_out = conditions_in(adata, "test") - {"control"}
    assert held_out <= set(expected)
    assert {name: seen[name] for name in held_out} == {name: expected[name] for name in held_out}
    assert (seen.drop(index=list(held_out)) == -1).all()


def test_inverse_combinations_hold_out_singles_that_combinations_show(screen):
    sams.splits.inverse_combinations(screen, **COLUMNS, test_share=0.9)
    sams.splits.check_no_leak(screen, **COLUMNS)
    assert conditions_in(screen, "test") == {"control", "A", "B", "B+control", "C", "D"}


def test_transfer_holds_perturbations_out_in_some_contexts(screen):
    sams.splits.transfer(screen, **COLUMNS, covariate_keys="line", test_share=0.4)
    sams.splits.check_no_leak(screen, **COLUMNS, covariate_keys="line")
    # A+B and B+A are one condition, B and B+control another
    names = screen.obs["perturbation"].replace({"B+A": "A+B", "B+control": "B"})
    table = pd.crosstab([names, screen.obs["line"]], screen.obs["split"])
    n_contexts = Counter(name for name, _ in table.index[table["test"] == 0])
    assert set(n_contexts) == set(names) - {"control"}
    held_out = (table["test"] > 0).drop(index="control")
    assert held_out.sum() == round(0.4 * len(held_out))


def test_replicate_tests_on_other_batches(screen):
    sams.splits.replicate(screen, batch_key="line", test="y", validation_share=0.1)
    assert set(screen.obs["line"][screen.obs["split"] == "test"]) == {"y"}
    assert (screen.obs["split"] == "val").sum() == pytest.approx(0.1 * screen.n_obs / 2, abs=1)


@pytest.mark.parametrize(
    ("split", "arguments"),
    [
        ("random", {}),
        ("combinations", COLUMNS),
        ("inverse_combinations", COLUMNS),
        ("transfer", COLUMNS | {"covariate_keys": "line"}),
        ("replicate", {"batch_key": "line"}),
    ],
)
def test_a_seed_gives_one_split_and_its_hash(screen, split, arguments, tmp_path):
    function = getattr(sams.splits, split)
    hashes = []
    for seed in (0, 0, 1, 2, 3):
        function(screen, **arguments, seed=seed)
        hashes.append(screen.uns["split"]["hash"])
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) > 1
    assert screen.uns["split"]["method"] == split
    assert list(screen.obs["split"].cat.categories) == ["train", "val", "test"]
    shuffled = screen[np.random.default_rng(0).permutation(screen.n_obs)]
    assert sams.splits.split_hash(shuffled) == hashes[-1]
    screen.write_h5ad(tmp_path / "screen.h5ad")
    again = ad.read_h5ad(tmp_path / "screen.h5ad")
    assert sams.splits.split_hash(again) == again.uns["split"]["hash"]


def test_a_leak_is_named(screen):
    screen.obs["split"] = "train"
    screen.obs.loc[screen.obs["perturbation"].isin(["B+A", "C", "control"]), "split"] = "test"
    with pytest.raises(ValueError, match=re.escape("1 condition(s) of test have cells in train")):
        sams.splits.check_no_leak(screen, **COLUMNS)
    with pytest.raises(ValueError, match=r"'A\+B in x', 'A\+B in y'"):
        sams.splits.check_no_leak(screen, **COLUMNS, covariate_keys="line")


@pytest.mark.parametrize(
    ("split", "arguments", "error", "message"),
    [
        ("random", {"test_share": 1.5}, ValueError, "`test_share` must be at least 0"),
        ("random", {"test_share": 0.6, "validation_share": 0.5}, ValueError, "add up to 1.1"),
        ("random", {"test_share": 0.0}, ValueError, "no cell for test"),
        ("random", {"stratify_keys": "lime"}, KeyError, "nearest: 'line'"),
        ("combinations", COLUMNS | {"control": "controls"}, ValueError, "nearest: 'control'"),
        ("combinations", COLUMNS | {"control": ()}, ValueError, "No cell is a control"),
        ("combinations", COLUMNS | {"delimiter": "_"}, ValueError, "no combination to hold out"),
        ("combinations", COLUMNS | {"validation_share": -1}, ValueError, "`validation_share`"),
        ("transfer", COLUMNS | {"covariate_keys": "one"}, ValueError, "several contexts"),
        ("transfer", COLUMNS | {"covariate_keys": "own"}, ValueError, "no control cells in 'no'"),
        ("replicate", {"batch_key": "line", "test": "z"}, ValueError, "has no 'z'"),
        ("replicate", {"batch_key": "line", "test": ["x", "y"]}, ValueError, "leave a batch"),
        ("replicate", {"batch_key": "gap"}, ValueError, "has no value for 1 cell"),
    ],
)
def test_bad_input_is_named_and_leaves_the_cells_alone(screen, split, arguments, error, message):
    screen.obs["one"] = "same"
    screen.obs["own"] = np.where(screen.obs["perturbation"] == "control", "yes", "no")
    screen.obs["gap"] = [None, *["g"] * (screen.n_obs - 1)]
    before = screen.copy()
    with pytest.raises(error, match=message):
        getattr(sams.splits, split)(screen, **arguments)
    pd.testing.assert_frame_equal(screen.obs, before.obs)
    assert not screen.uns


def test_combinations_can_be_held_out_by_name_in_any_order(screen):
    sams.splits.combinations(screen, **COLUMNS, held_out=["D+C", "A+B"])
    assert conditions_in(screen, "test") == {"control", "A+B", "B+A", "C+D"}
    assert screen.uns["split"]["held_out"] == ["D+C", "A+B"]
    sams.splits.check_no_leak(screen, **COLUMNS)


def test_cells_of_seen_conditions_stand_beside_held_out_combinations(screen):
    sams.splits.combinations(
        screen, **COLUMNS, held_out=["A+B"], seen_share=0.25, control_share=0.5
    )
    counts = screen.obs.groupby("perturbation")["split"].value_counts().unstack()
    assert counts.loc["C"].to_dict() == {"train": 24, "val": 6, "test": 10}
    assert counts.loc["control", "test"] == 20
    assert counts.loc["A+B", "test"] == 40
    assert (screen.obs["split_parts_seen"] >= 0).sum() == 80


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        pytest.param(["A+Z"], "'A+Z' is no combination of the data", id="unknown"),
        pytest.param(["A"], "'A' is no combination", id="single"),
        pytest.param(
            ["E+F"], "Without 'E+F' no cell shows 'E', 'F'", id="only one that shows them"
        ),
        pytest.param([], "`held_out` is empty", id="none"),
    ],
)
def test_what_cannot_be_held_out_is_refused(screen, held_out, message):
    before = screen.copy()
    with pytest.raises(ValueError, match=re.escape(message)):
        sams.splits.combinations(screen, **COLUMNS, held_out=held_out)
    assert list(screen.obs) == list(before.obs)


def test_labels_that_differ_after_a_nul_character_are_refused(screen):
    screen.obs["odd"] = np.tile(["x", "x\0y"], screen.n_obs // 2).astype(object)
    with pytest.raises(ValueError, match=r"Column 'odd' of obs holds 'x\\x00y', with a NUL"):
        sams.splits.random(screen, stratify_keys="odd")
    assert "split" not in screen.obs


@pytest.mark.parametrize("seed", [-1, None, 1.5])
def test_a_seed_is_an_integer_that_draws_the_same_again(screen, seed):
    before = screen.obs.copy()
    with pytest.raises(ValueError, match="`seed` must be an integer of at least 0; it is"):
        sams.splits.combinations(screen, **COLUMNS, seed=seed)
    pd.testing.assert_frame_equal(screen.obs, before)


@pytest.mark.parametrize(
    ("split", "arguments", "read"),
    [
        ("random", {"stratify_keys": "line"}, "line"),
        ("combinations", COLUMNS, "perturbation"),
        ("transfer", COLUMNS | {"covariate_keys": ["line"]}, "line"),
        ("replicate", {"batch_key": "line"}, "line"),
    ],
)
def test_a_column_that_is_read_is_not_overwritten(screen, split, arguments, read):
    before = screen.obs.copy()
    with pytest.raises(ValueError, match=f"`key_added` is '{read}', which the split is made from"):
        getattr(sams.splits, split)(screen, **arguments, key_added=read)
    pd.testing.assert_frame_equal(screen.obs, before)


def test_labels_are_not_overwritten_by_the_number_of_parts_seen(screen):
    screen.obs["split_parts_seen"] = screen.obs["perturbation"]
    columns = COLUMNS | {"perturbation_key": "split_parts_seen"}
    with pytest.raises(ValueError, match="which the split is made from"):
        sams.splits.combinations(screen, **columns)
    assert screen.obs["split_parts_seen"].equals(
        screen.obs["perturbation"].rename("split_parts_seen")
    )


@pytest.mark.parametrize("share", ["0.3", None, True], ids=repr)
def test_shares_are_numbers(screen, share):
    with pytest.raises(ValueError, match="`test_share` must be"):
        sams.splits.random(screen, test_share=share)


def test_an_empty_delimiter_is_refused(screen):
    with pytest.raises(ValueError, match="`delimiter` must be text that is not empty"):
        sams.splits.combinations(screen, **COLUMNS, delimiter="")


def test_no_batches_to_test_on_are_not_one_at_random(screen):
    with pytest.raises(ValueError, match="no batch to test on"):
        sams.splits.replicate(screen, batch_key="line", test=[])
