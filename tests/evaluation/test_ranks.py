"""Ranks, against loops over all pairs and numbers written out."""

import numpy as np
import pytest
from scipy.spatial.distance import cosine, euclidean

from scvi_sams.evaluation import _ranks
from scvi_sams.metrics import perturbench_rank, rank_of_predictions, rank_of_truths

DISTANCES = {"euclidean": euclidean, "cosine": cosine}
BOTH = pytest.mark.parametrize(
    "metric", [pytest.param(name, id=name) for name in ("euclidean", "cosine")]
)
RANKS = pytest.mark.parametrize("rank", [rank_of_predictions, rank_of_truths])


@pytest.fixture
def profiles():
    """Predictions that are often nearest to their own truth, not always."""
    rng = np.random.default_rng(0)
    observed = rng.normal(size=(30, 12))
    return observed + rng.normal(size=(30, 12)), observed


EXCLUDING = pytest.mark.parametrize("excluding", ["nothing", "own", "both"])


def by_loops(predicted, observed, metric, of_predictions, exclude, both):
    n = len(predicted)
    ranks = []
    for p in range(n):
        anchor, candidates = (
            (observed[p], predicted) if of_predictions else (predicted[p], observed)
        )
        n_nearer = 0
        for q in range(n):
            kept = ~(exclude[p] | exclude[q]) if both else ~exclude[p]
            far = [DISTANCES[metric](anchor[kept], candidates[i][kept]) for i in (q, p)]
            far = np.round(far, 12)  # of one gene alone, all cosines are 1 or -1
            n_nearer += 0 if p == q else (far[0] < far[1]) + (far[0] == far[1]) / 2
        ranks.append(n_nearer / (n - 1))
    return ranks


@BOTH
@EXCLUDING
def test_ranks_agree_with_loops(profiles, metric, excluding):
    share = 0 if excluding == "nothing" else 0.3
    exclude = np.random.default_rng(1).random((30, 12)) < share
    both = excluding == "both"
    given = {} if excluding == "nothing" else {"exclude": exclude, "exclude_both": both}
    for rank in (rank_of_predictions, rank_of_truths):
        found = rank(*profiles, metric=metric, **given)
        expected = by_loops(*profiles, metric, rank is rank_of_predictions, exclude, both)
        np.testing.assert_allclose(found, expected)
        assert 0 < found.mean() < 0.3


def test_both_questions_by_hand():
    observed = np.array([[0.0], [4], [10]])
    predicted = np.array([[3.0], [1], [9]])
    # of the truth 0 the prediction 1 is nearer than its own, of the truth 4 the prediction 3
    np.testing.assert_array_equal(rank_of_predictions(predicted, observed), [0.5, 0.5, 0])
    # to the prediction 3 the truth 4 is nearer than its own, to the prediction 1 the truth 0
    np.testing.assert_array_equal(rank_of_truths(predicted, observed), [0.5, 0.5, 0])
    predicted = np.array([[6.0], [4], [5]])
    # from the truth 10 the predictions are 4, 6 and 5 away, and only the first is nearer
    np.testing.assert_array_equal(rank_of_predictions(predicted, observed), [1, 0, 0.5])
    # from the prediction 5 the truths are 5, 1 and 5 away: a tie, and one nearer
    np.testing.assert_array_equal(rank_of_truths(predicted, observed), [1, 0, 0.75])


def test_ties_count_half_by_hand():
    observed = np.array([[0.0], [2], [8], [1]])
    predicted = np.array([[1.0], [-1], [-1], [1]])
    # from the truth 0 all are as far; from the truth 2 two are nearer and one as far as its own
    expected = [0.5, 2.5 / 3, 2.5 / 3, 0.5 / 3]
    np.testing.assert_allclose(rank_of_predictions(predicted, observed), expected, rtol=1e-15)


@BOTH
@RANKS
def test_the_truth_ranks_first(profiles, rank, metric):
    _, observed = profiles
    np.testing.assert_array_equal(rank(observed, observed, metric=metric), np.zeros(30))
    exclude = np.eye(30, 12, dtype=bool)
    np.testing.assert_array_equal(rank(observed, observed, metric=metric, exclude=exclude), 0)


@BOTH
@RANKS
def test_shuffled_predictions_rank_by_chance(rank, metric):
    rng = np.random.default_rng(0)
    observed = rng.normal(size=(400, 20))
    ranks = rank(rng.permutation(observed), observed, metric=metric)
    assert ranks.mean() == pytest.approx(0.5, abs=0.05)


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, float])
@pytest.mark.parametrize("n_genes", [1, 7, 64, 1001])
@EXCLUDING
def test_collapsed_predictions_score_half_exactly(metric, dtype, n_genes, excluding):
    rng = np.random.default_rng(0)
    observed = rng.normal(size=(333, n_genes)).astype(dtype)
    predicted = np.repeat(rng.normal(size=(1, n_genes)).astype(dtype), 333, axis=0)
    exclude = np.zeros(observed.shape, bool)
    if excluding != "nothing" and n_genes > 1:
        exclude[np.arange(333), rng.integers(n_genes, size=333)] = True
    ranks = rank_of_predictions(
        predicted, observed, metric=metric, exclude=exclude, exclude_both=excluding == "both"
    )
    np.testing.assert_array_equal(ranks, np.full(333, 0.5))
    found = rank_of_truths(predicted, observed, metric=metric)
    assert found.mean() == pytest.approx(0.5)


@BOTH
def test_equal_predictions_tie_exactly_and_signed_zeros_are_equal(metric):
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(5, 301))
    kinds[:, :7] = 0
    which = rng.integers(5, size=200)
    predicted, observed = kinds[which], rng.normal(size=(200, 301))
    predicted[::2, :7] = -0.0
    ranks = rank_of_predictions(predicted, observed, metric=metric)
    size = np.bincount(which)[which]
    # mid-ranks: half of the others of its kind, and all of some of the other kinds
    counts = np.bincount(which)
    for p in range(200):
        far = [DISTANCES[metric](observed[p], kind) for kind in kinds]
        nearer = sum(counts[k] for k in range(5) if k != which[p] and far[k] < far[which[p]])
        assert ranks[p] == (nearer + (size[p] - 1) / 2) / 199


def test_profiles_without_direction_tie_in_cosine():
    observed = np.random.default_rng(0).normal(size=(9, 4))
    nothing = np.zeros((9, 4))
    for pair in ((nothing, observed), (observed, nothing)):
        np.testing.assert_array_equal(rank_of_predictions(*pair, metric="cosine"), 0.5)
        np.testing.assert_array_equal(rank_of_truths(*pair, metric="cosine"), 0.5)


@BOTH
@RANKS
def test_the_perturbed_gene_says_nothing_where_both_leave_it_out(rank, metric):
    rng = np.random.default_rng(0)
    knocked = np.eye(200, dtype=bool)
    # the model knows which gene is knocked out, and nothing else
    observed, predicted = np.where(knocked, -50.0, rng.normal(size=(2, 200, 200)))
    assert rank(predicted, observed, metric=metric).max() == 0
    # leaving out a condition's own gene does not help: others are far by theirs
    ranks = rank(predicted, observed, exclude=knocked)
    assert ranks.max() == 0
    ranks = rank(predicted, observed, metric=metric, exclude=knocked, exclude_both=True)
    assert ranks.mean() == pytest.approx(0.5, abs=0.05)


@BOTH
@EXCLUDING
def test_the_size_of_blocks_does_not_matter(profiles, monkeypatch, metric, excluding):
    exclude = None if excluding == "nothing" else np.eye(30, 12, dtype=bool)
    results = []
    for size in (1, 7, 30, 1000):
        monkeypatch.setattr(_ranks, "_BLOCK_SIZE", size)
        results.append(
            [
                rank(*profiles, metric=metric, exclude=exclude, exclude_both=excluding == "both")
                for rank in (rank_of_predictions, rank_of_truths)
            ]
        )
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("far", [0, 1e4], ids=["centred", "far-from-0"])
def test_small_differences_far_from_zero_are_resolved(far):
    rng = np.random.default_rng(0)
    observed = far + 1e-3 * rng.normal(size=(50, 300))
    predicted = observed + 1e-5 * rng.normal(size=(50, 300))
    np.testing.assert_array_equal(rank_of_predictions(predicted, observed), 0)


@RANKS
@pytest.mark.parametrize("n", [0, 1])
def test_ranks_of_fewer_than_two_are_undefined(rank, n):
    found = rank(np.ones((n, 3)), np.ones((n, 3)))
    assert found.shape == (n,)
    assert np.isnan(found).all()


def test_perturbench_breaks_ties_at_random():
    observed = np.random.default_rng(0).normal(size=(500, 3))
    collapsed = np.ones((500, 3))
    found = perturbench_rank(collapsed, observed, seed=0)
    np.testing.assert_array_equal(found, perturbench_rank(collapsed, observed, seed=0))
    assert (found != perturbench_rank(collapsed, observed, seed=1)).any()
    assert found.mean() == pytest.approx(0.5, abs=0.05)
    assert np.quantile(found, [0.1, 0.9]) == pytest.approx([0.1, 0.9], abs=0.05)
    assert found.min() >= 0
    assert found.max() <= 1


def test_perturbench_by_hand():
    # cosines to the truth (1, 0): predicted 1, 1 (a tie), 0; to (0, 1): 0, 0 (a tie), 1
    observed = np.array([[1.0, 0], [0, 1], [1, 1]])
    predicted = np.array([[1.0, 0], [1, 0], [0, 1]])
    found = np.array([perturbench_rank(predicted, observed, seed=seed) for seed in range(400)])
    assert set(found[:, 0]) == {0, 0.5}
    assert found[:, 0].mean() == pytest.approx(0.25, abs=0.05)
    assert set(found[:, 1]) == {0.5, 1}
    assert found[:, 1].mean() == pytest.approx(0.75, abs=0.05)


@BOTH
def test_perturbench_is_the_rank_of_predictions_without_ties(profiles, metric):
    np.testing.assert_array_equal(
        perturbench_rank(*profiles, metric=metric, seed=3),
        rank_of_predictions(*profiles, metric=metric),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"metric": "chebyshev"}, r"'chebyshev'.*'euclidean'", id="metric"),
        pytest.param({"exclude": np.zeros((2, 3), bool)}, r"\(2, 3\) and .*\(3, 3\)", id="shape"),
        pytest.param({"exclude": np.zeros((3, 3))}, "of float64; give booleans", id="numbers"),
        pytest.param(
            {"exclude": np.eye(3, dtype=bool) | [[True], [False], [False]]},
            r"no gene to 1 condition\(s\), first 0",
            id="all-excluded",
        ),
    ],
)
@RANKS
def test_impossible_arguments_raise(rank, arguments, message):
    with pytest.raises(ValueError, match=message):
        rank(np.eye(3), np.eye(3), **arguments)
