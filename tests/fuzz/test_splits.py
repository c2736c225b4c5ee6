"""Splits cut the shares that were asked for and hold out whole conditions, or are refused."""

from collections import Counter
from random import Random
from typing import Any

import pandas as pd
import pytest
from hypothesis import strategies as st

import scvi_sams as sams
from tests.fuzz.harness import Answer, ask, fuzzed
from tests.fuzz.labels import rarely
from tests.fuzz.splits import (
    Cells,
    Condition,
    can_be_spared,
    cells,
    cuts,
    is_sound,
    known_without,
    parts_by_condition,
    requests,
)

HELD_OUT = ("test_share", "control_share", "validation_share")
GIVEN = ["label", "context", "seed", "key_added", "delimiter", "control"]


def split(case: Cells, function: Any, asked: dict[str, Any]) -> Answer:
    """Ask for a split twice, the second time of a copy: the same cells are in the same parts."""
    key = asked["key_added"]
    copy = case.adata.copy()
    answer = ask(
        lambda: function(case.adata, **asked),
        {"adata": case.adata},
        given=GIVEN,
        additions=(f"obs.{key}", f"uns.{key}"),
    )
    if answer.refusal is None:
        found = case.adata.obs[key]
        assert list(found.cat.categories) == ["train", "val", "test"]
        assert not found.isna().any()
        assert {"train", "test"} <= set(found)
        function(copy, **asked)
        pd.testing.assert_series_equal(copy.obs[key], found)
        assert copy.uns[key] == case.adata.uns[key]
        assert copy.uns[key]["hash"] == sams.splits.split_hash(case.adata[::-1], split_key=key)
    return answer


def is_by_chance(answer: Answer) -> bool:
    """Whether a draw may have left a part empty, as of few cells it does."""
    return answer.refusal is not None and "leaves no cell for" in answer.refusal


def check_cuts(conditions: list[Condition], found: pd.Series, asked: dict[str, Any]) -> set:
    """Check the shares of conditions that are not held out whole; return those that are."""
    validation = float(asked.get("validation_share", 0.2))
    of_control = float(asked.get("control_share", 0.2))
    of_seen = float(asked.get("seen_share", 0.0))
    parts = parts_by_condition(conditions, found)
    out = set()
    for condition, counts in parts.items():
        n, shift = counts.total(), of_seen if condition[0] else of_control
        fewest, most = cuts(n, shift)
        if not fewest <= counts["test"] <= most:
            assert counts["test"] == n, f"{condition} is neither held out nor cut: {counts}"
            out.add(condition)
            continue
        if counts["test"] < n:
            fewest, most = cuts(n, validation * (1 - shift))
            assert fewest <= counts["val"] <= most, f"{condition} has {counts} of {n}"
    return out


def check_held_out(
    case: Cells, out: set[Condition], candidates: set[Condition], asked: dict[str, Any]
) -> None:
    """Conditions that are held out are as many as asked for, or as can be, and leak nowhere."""
    assert out <= candidates
    share = float(asked.get("test_share", 0.3))
    most = max(round(share * len(candidates)), 1)
    assert len(out) <= most
    key, adata = asked["key_added"], case.adata
    sams.splits.check_no_leak(adata, **case.columns, split_key=key)
    conditions = case.conditions()
    assert conditions is not None
    if len(out) < most:
        left = {c for c in candidates - out if c[0] <= known_without({*conditions}, {*out, c})}
        assert not left, f"{left} could have been held out too"
    for condition in out:
        rows = [i for i, other in enumerate(conditions) if other == condition]
        if len(rows) > 1:
            leaking = adata.copy()
            leaking.obs[key] = leaking.obs[key].astype(str)
            leaking.obs.iloc[rows[0], leaking.obs.columns.get_loc(key)] = "val"
            with pytest.raises(ValueError, match="have cells in train or val too"):
                sams.splits.check_no_leak(leaking, **case.columns, split_key=key)
            break


@fuzzed(
    "splits.random",
    st.tuples(
        cells(),
        requests("test_share", "validation_share"),
        st.sampled_from([None, (), "label", "context", ["label", "context"], "n", "absent"]),
    ),
    ci=60,
    nightly=700,
)
def test_random_splits_cut_the_same_shares_from_each_stratum(drawn):
    case, asked, keys = drawn
    answer = split(case, sams.splits.random, asked | {"stratify_keys": keys})
    test, validation = (
        float(asked.get(f"{name}_share", default))
        for name, default in (("test", 0.2), ("validation", 0.16))
    )
    names = [keys] if isinstance(keys, str) else list(keys or ())
    reads_label = "label" in names
    sound = is_sound(asked | {"key_added": "split"}) and test + validation < 1
    sound &= "absent" not in names and not (reads_label and asked["key_added"] == "label")
    for name in sorted({"label", "context"} & set(names)):
        held = [case.labels.column, case.contexts][name == "context"]
        sound &= held is not None and not any(
            pd.isna(value) or "\0" in str(value) for value in held if not isinstance(value, tuple)
        )
    columns = [list(map(str, case.adata.obs[name])) for name in names if name != "absent"]
    strata = [repr(values) for values in zip(*columns, strict=True)] or [""] * case.adata.n_obs
    if is_by_chance(answer):
        assert sound
        sizes = Counter(strata).values()
        fewest = sum(cuts(n, test)[0] for n in sizes)
        left = sum(n - cuts(n, test)[1] - cuts(n, validation)[1] for n in sizes)
        assert min(fewest, left) <= 0, f"{answer.refusal} It could have left some."
        return answer
    assert sound == (answer.refusal is None), answer.refusal
    if answer.refusal is None:
        for _, found in case.adata.obs.groupby(strata)[asked["key_added"]]:
            for part, share in (("test", test), ("val", validation)):
                fewest, most = cuts(len(found), share)
                assert fewest <= (found == part).sum() <= most
    return answer


@fuzzed(
    "splits.combinations",
    st.tuples(cells(), requests(*HELD_OUT, "seen_share"), rarely(3), st.integers(0, 2**32)),
    ci=60,
    nightly=700,
)
def test_held_out_combinations_leave_their_parts_known(drawn):
    case, asked, names_some, number = drawn
    random = Random(number)
    conditions = case.conditions()
    kinds = set(conditions or ())
    candidates = {condition for condition in kinds if len(condition[0]) > 1}
    chosen: set[Condition] | None = None
    if names_some and case.labels.delimiter:
        pool = sorted(candidates, key=lambda condition: sorted(condition[0]))
        chosen = set(random.sample(pool, random.randint(0, len(pool))))
        orders = [random.sample(sorted(received), len(received)) for received, _ in chosen]
        asked = asked | {"held_out": [case.labels.delimiter.join(parts) for parts in orders]}
    answer = split(case, sams.splits.combinations, asked | case.columns)
    if is_by_chance(answer):
        return answer
    shares = asked if chosen is None else {k: v for k, v in asked.items() if k != "test_share"}
    sound = is_sound(shares) and any(not received for received, _ in kinds)
    if chosen is None:
        sound &= any(can_be_spared(condition, kinds) for condition in candidates)
    else:
        known = known_without(kinds, chosen)
        sound &= bool(chosen) and all(received <= known for received, _ in chosen)
    assert sound == (answer.refusal is None), answer.refusal
    if answer.refusal is None:
        obs, key = case.adata.obs, asked["key_added"]
        seen = obs[f"{key}_parts_seen"]
        out = {c for c, n in zip(conditions, seen, strict=True) if n >= 0}
        assert check_cuts(conditions, obs[key], asked) <= out
        assert chosen in (None, out)
        alone = {name for received, _ in kinds if len(received) == 1 for name in received}
        for condition, n, part in zip(conditions, seen, obs[key], strict=True):
            assert n == (len(condition[0] & alone) if condition in out else -1)
            assert part == "test" or condition not in out
        assert {name for received, _ in out for name in received} <= known_without(kinds, out)
        if chosen is None and not asked.get("seen_share"):
            check_held_out(case, out, candidates, asked)
    return answer


@fuzzed("splits.inverse_combinations", st.tuples(cells(), requests(*HELD_OUT)), ci=40, nightly=500)
def test_held_out_singles_stay_known_from_combinations(drawn):
    case, asked = drawn
    answer = split(case, sams.splits.inverse_combinations, asked | case.columns)
    if is_by_chance(answer):
        return answer
    conditions = case.conditions()
    kinds = set(conditions or ())
    combined = {name for received, _ in kinds if len(received) > 1 for name in received}
    candidates = {c for c in kinds if len(c[0]) == 1 and c[0] <= combined}
    sound = is_sound(asked) and any(not received for received, _ in kinds) and bool(candidates)
    assert sound == (answer.refusal is None), answer.refusal
    if answer.refusal is None:
        out = check_cuts(conditions, case.adata.obs[asked["key_added"]], asked)
        check_held_out(case, out, candidates, asked)
    return answer


@fuzzed("splits.transfer", st.tuples(cells(), requests(*HELD_OUT)), ci=60, nightly=700)
def test_perturbations_are_held_out_in_contexts_and_known_from_others(drawn):
    case, asked = drawn
    answer = split(
        case, sams.splits.transfer, asked | case.columns | {"covariate_keys": ["context"]}
    )
    if is_by_chance(answer):
        return answer
    conditions = case.conditions(with_context=True)
    kinds = set(conditions or ())
    with_control = {where for received, where in kinds if not received}
    n_contexts = {r: len({where for other, where in kinds if other == r}) for r, _ in kinds}
    candidates = {c for c in kinds if c[0] and n_contexts[c[0]] > 1}
    sound = is_sound(asked) and bool(candidates)
    sound &= with_control == {where for _, where in kinds}
    assert sound == (answer.refusal is None), answer.refusal
    if answer.refusal is None:
        key = asked["key_added"]
        out = check_cuts(conditions, case.adata.obs[key], asked)
        assert out <= candidates
        assert {received for received, _ in out} <= {received for received, _ in kinds - out}
        columns = case.columns | {"covariate_keys": "context", "split_key": key}
        sams.splits.check_no_leak(case.adata, **columns)
    return answer


@fuzzed(
    "splits.replicate",
    st.tuples(
        cells(),
        requests("validation_share"),
        st.lists(st.sampled_from(["x", "x", "y", 0, "absent"]), max_size=2) | st.none(),
    ),
    ci=40,
    nightly=500,
)
def test_whole_batches_are_for_test(drawn):
    case, asked, test = drawn
    answer = split(case, sams.splits.replicate, asked | {"batch_key": "context"} | {"test": test})
    batches = case.contexts or []
    chosen = {str(name) for name in test or ()}
    sound = is_sound(asked | {"key_added": "split"}) and len({*batches}) > 1
    sound &= chosen < {*batches} and test != []
    if is_by_chance(answer):
        assert sound
        share = float(asked.get("validation_share", 0.2))
        sizes = Counter(name for name in batches if name not in chosen).values()
        left = [n - cuts(n, share)[1] for n in sizes]
        fewest = sum(left) - (0 if chosen else max(left))  # one of them is for test
        assert fewest <= 0, f"{answer.refusal} It could have left some."
        return answer
    assert sound == (answer.refusal is None), answer.refusal
    if answer.refusal is None:
        found = case.adata.obs[asked["key_added"]]
        tested = {b for b, part in zip(batches, found, strict=True) if part == "test"}
        assert tested == chosen or (not chosen and len(tested) == 1)
        assert tested.isdisjoint(
            b for b, part in zip(batches, found, strict=True) if part != "test"
        )
        for batch in {*batches} - tested:
            own = [part for b, part in zip(batches, found, strict=True) if b == batch]
            fewest, most = cuts(len(own), float(asked.get("validation_share", 0.2)))
            assert fewest <= own.count("val") <= most
    return answer
