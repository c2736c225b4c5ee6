"""Metrics of any matrices are those of the plainest way to write them, or are refused."""

import numpy as np
from hypothesis import strategies as st

import scvi_sams as sams
from tests.fuzz.harness import ask, fuzzed
from tests.fuzz.profiles import (
    has_near_ties,
    is_sound,
    matrices,
    naive_cosine,
    naive_energy,
    naive_mae,
    naive_median,
    naive_mmd,
    naive_r2,
    naive_rank,
    naive_rmse,
    naive_similarity,
    naive_variance,
    pairs,
)

OF_ROWS = {"rmse": (naive_rmse, 1), "mae": (naive_mae, 1), "r2": (naive_r2, 2)}
N_CELLS = st.sampled_from([2, 3, 4, 5] * 3 + [1, 0])
GIVEN = ["predicted", "observed", "reference", "profiles"]


@fuzzed(
    "metrics.rmse, mae, r2", st.tuples(pairs(), st.sampled_from([*OF_ROWS])), ci=60, nightly=700
)
def test_errors_are_those_of_each_row(case):
    (predicted, observed), name = case
    naive, least_genes = OF_ROWS[name]
    answer = ask(
        lambda: getattr(sams.metrics, name)(predicted, observed),
        {"predicted": predicted, "observed": observed},
        given=GIVEN,
    )
    assert (answer.refusal is None) == is_sound(predicted, observed, least_genes), answer.refusal
    if answer.refusal is None:
        x, y = predicted.astype(float), observed.astype(float)
        expected = [naive(*rows) for rows in zip(x, y, strict=True)]
        np.testing.assert_allclose(answer.value, expected, rtol=1e-6, atol=1e-12)
    return answer


@fuzzed("metrics.cosine_delta", st.tuples(pairs(), st.booleans()), ci=40, nightly=700)
def test_cosines_are_of_changes_from_a_reference(case):
    (predicted, observed), from_zero = case
    n_genes = observed.shape[1] if observed.ndim > 1 else 1
    reference = np.zeros(n_genes) if from_zero else np.linspace(0, 1, n_genes)
    answer = ask(
        lambda: sams.metrics.cosine_delta(predicted, observed, reference=reference),
        {"predicted": predicted, "observed": observed},
        given=GIVEN,
    )
    assert (answer.refusal is None) == is_sound(predicted, observed, 2), answer.refusal
    if answer.refusal is None:
        x, y = predicted - reference, observed - reference
        for found, predicted_change, change in zip(answer.value, x, y, strict=True):
            # changes as small as what rounding leaves are none
            largest = max(*map(np.abs, (*predicted_change, *change)), 1.0)
            sizes = [np.linalg.norm(row) for row in (predicted_change, change)]
            if all(size == 0 or size > 1e-4 * largest for size in sizes):
                expected = naive_cosine(predicted_change, change)
                np.testing.assert_allclose(found, expected, atol=1e-5)
            assert np.isnan(found) or -1 - 1e-6 <= found <= 1 + 1e-6
    return answer


@fuzzed("metrics.rank_of_*", st.tuples(pairs(), st.booleans()), ci=60, nightly=700)
def test_ranks_count_what_is_nearer(case):
    (predicted, observed), is_transposed = case
    rank = sams.metrics.rank_of_truths if is_transposed else sams.metrics.rank_of_predictions
    answer = ask(
        lambda: rank(predicted, observed),
        {"predicted": predicted, "observed": observed},
        given=GIVEN,
    )
    assert (answer.refusal is None) == is_sound(predicted, observed), answer.refusal
    if answer.refusal is None:
        x, y = predicted.astype(float), observed.astype(float)
        if is_transposed:
            x, y = y, x
        for p, found in enumerate(answer.value):
            if not has_near_ties(x, y, p):
                np.testing.assert_allclose(found, naive_rank(x, y, p))
            assert np.isnan(found) if len(x) < 2 else 0 <= found <= 1
    return answer


@fuzzed("metrics.variance_ratio, mean_similarity", pairs(), ci=40, nightly=700)
def test_collapse_is_what_variances_and_pairs_say(case):
    predicted, observed = case
    answer = ask(
        lambda: (
            sams.metrics.variance_ratio(predicted, observed),
            sams.metrics.mean_similarity(predicted),
        ),
        {"predicted": predicted, "observed": observed},
        given=GIVEN,
    )
    assert (answer.refusal is None) == is_sound(predicted, observed), answer.refusal
    if answer.refusal is None:
        ratio, similarity = answer.value
        x, y = predicted.astype(float), observed.astype(float)
        n = len(x)
        if n < 2 or (y == y[:1]).all():
            assert np.isnan(ratio)
        elif naive_variance(y) > 1e-9 * np.abs(y).max() ** 2:
            expected = naive_variance(x) / naive_variance(y)
            scale = np.abs(x).max() ** 2 / naive_variance(y)
            np.testing.assert_allclose(ratio, expected, rtol=1e-5, atol=1e-8 * scale)
        alike = [naive_similarity(x[p], x[q]) for p in range(n) for q in range(n) if p != q]
        np.testing.assert_allclose(similarity, np.mean(alike) if alike else np.nan, atol=1e-6)
    return answer


@fuzzed(
    "metrics.energy_distance, mmd",
    st.tuples(
        st.tuples(N_CELLS, N_CELLS, st.sampled_from([1, 2, 3, 1, 2, 3, 0])).flatmap(
            lambda n: st.tuples(matrices((n[0], n[2])), matrices((n[1], n[2])))
        ),
        st.sampled_from([None, None, 0.5, 1e-3, 0.0, -1.0, np.nan]),
    ),
    ci=40,
    nightly=700,
)
def test_distances_are_those_of_all_pairs_of_cells(case):
    (a, b), gamma = case
    answer = ask(
        lambda: sams.metrics.energy_distance(a, b), {"a": a, "b": b}, given=["`a`", "`b`"]
    )
    finite = np.isfinite(a).all() and np.isfinite(b).all()
    sound = finite and len(a) > 1 and len(b) > 1 and a.shape[1] > 0
    assert (answer.refusal is None) == sound, answer.refusal
    other = ask(
        lambda: sams.metrics.mmd(a, b, gamma=gamma),
        {"a": a, "b": b},
        given=["`a`", "`b`", "`gamma"],
    )
    if not sound:
        assert other.refusal is not None
        return answer
    x, y = a.astype(float), b.astype(float)
    scale = max(np.abs(x).max(), np.abs(y).max())
    np.testing.assert_allclose(answer.value, naive_energy(x, y), atol=1e-9 * scale + 1e-12)
    if gamma is None:
        median = naive_median(x, y)
        if 0 < median <= 1e-12 * scale**2:
            return answer  # what rounding leaves of none
        width = 1 / median if median else 0.0
    else:
        width = gamma
    assert (other.refusal is None) == (width > 0), other.refusal
    if other.refusal is None:
        np.testing.assert_allclose(other.value, naive_mmd(x, y, width), atol=1e-6)
    return answer
