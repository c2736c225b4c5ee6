"""Direction of changes, against numbers written out and scipy."""

import numpy as np
import pytest
from scipy.spatial.distance import cosine
from scipy.stats import pearsonr

from scvi_sams.metrics import (
    cosine_delta,
    cosine_logfc,
    pearson_delta,
    perturbench_cosine_logfc,
)

CONTROL = np.array([1.0, 2, 3])
OBSERVED = CONTROL + np.array([[1, 0, 0], [1, 2, 3], [0, 3, 4]])
PREDICTED = CONTROL + np.array([[1, 1, 0], [-1, -2, -3], [0, 4, 3]])


@pytest.fixture
def profiles():
    """Positive predictions, observations and reference."""
    rng = np.random.default_rng(0)
    observed = rng.exponential(size=(6, 50))
    predicted = observed * rng.uniform(0.3, 2, size=observed.shape)
    return predicted, observed, rng.exponential(size=50)


def test_changes_by_hand():
    # cosines: 1/√2; opposite; 24/25
    np.testing.assert_allclose(
        cosine_delta(PREDICTED, OBSERVED, reference=CONTROL), [2**-0.5, -1, 0.96]
    )
    # about their means: (1, 1, -2)/3 and (2, -1, -1)/3 give 3/6; opposite;
    # (-7, 5, 2)/3 and (-7, 2, 5)/3 give 69/78
    np.testing.assert_allclose(
        pearson_delta(PREDICTED, OBSERVED, reference=CONTROL), [0.5, -1, 23 / 26]
    )


@pytest.mark.parametrize("own", [False, True], ids=["one-reference", "each-its-own"])
@pytest.mark.parametrize(
    ("metric", "independent"),
    [
        pytest.param(pearson_delta, lambda a, b: pearsonr(a, b)[0], id="pearson"),
        pytest.param(cosine_delta, lambda a, b: 1 - cosine(a, b), id="cosine"),
    ],
)
def test_changes_agree_with_scipy(profiles, metric, independent, own):
    predicted, observed, reference = profiles
    if own:
        reference = np.random.default_rng(1).exponential(size=observed.shape)
    rows = np.broadcast_to(reference, observed.shape)
    expected = [independent(predicted[p] - rows[p], observed[p] - rows[p]) for p in range(6)]
    found = metric(predicted, observed, reference=reference)
    np.testing.assert_allclose(found, expected)
    assert (found > 0.2).all()
    assert (found < 0.99).all()


def test_the_reference_of_perturbed_cells_does_not_reward_a_shared_shift():
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=500), 0.3 * rng.normal(size=(20, 500))
    observed, shift_only = shared + own, shared + 0.3 * rng.normal(size=(20, 500))
    assert pearson_delta(shift_only, observed, reference=np.zeros(500)).mean() > 0.9
    assert abs(pearson_delta(shift_only, observed, reference=shared).mean()) < 0.05


@pytest.mark.parametrize("dtype", [np.float32, float])
@pytest.mark.parametrize("side", ["predicted", "observed"])
def test_no_change_has_no_direction(dtype, side):
    rng = np.random.default_rng(0)
    cells = rng.exponential(size=(1000, 60)).astype(dtype)
    control, other = cells.mean(axis=0), cells[:3] + dtype(1)
    same = np.array([control, cells[rng.permutation(1000)].mean(axis=0, dtype=dtype), control])
    same[1] = np.nextafter(control, dtype(9))  # another order of summation
    pair = (same, other) if side == "predicted" else (other, same)
    # to predict nothing is to agree in nothing, while nothing can agree with no change
    expected = np.full(3, 0 if side == "predicted" else np.nan)
    for found in (
        cosine_delta(*pair, reference=control),
        pearson_delta(*pair, reference=control),
        cosine_logfc(*pair, control=control, pseudocount=1),
        perturbench_cosine_logfc(*pair, control=control),
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_shift_of_all_genes_counts_for_the_cosine_alone():
    control = np.array([0.3, 1.7, 2.9, 12.1])
    shifted = control[None] + 0.1
    assert cosine_delta(shifted, shifted, reference=control)[0] == pytest.approx(1)
    assert np.isnan(pearson_delta(shifted, shifted, reference=control)).all()


def test_log_fold_changes_by_hand():
    # with 1 added, the control is 1, 2, 4; fold changes 2, 1, 1 and 4, 4, 1
    found = cosine_logfc(
        [[3.0, 7, 3]], [[1.0, 1, 3]], control=np.array([0.0, 1, 3]), pseudocount=1
    )
    assert found[0] == pytest.approx(2 / np.sqrt(8))


@pytest.mark.parametrize("pseudocount", [0.5, 1, 10])
def test_log_fold_changes_agree_with_scipy(profiles, pseudocount):
    predicted, observed, control = profiles
    logs = [np.log(array + pseudocount) for array in profiles]
    expected = [1 - cosine(a - logs[2], b - logs[2]) for a, b in zip(*logs[:2], strict=True)]
    np.testing.assert_allclose(
        cosine_logfc(predicted, observed, control=control, pseudocount=pseudocount), expected
    )


def test_perturbench_takes_logs_of_logs():
    # with 0.1 added, the control is 1, 1, 1; predicted e, e, 1 and observed e, 1, 1/e
    control = np.full(3, 0.9)
    predicted = [[np.e - 0.1, np.e - 0.1, 0.9]]
    observed = [[np.e - 0.1, 0.9, 1 / np.e - 0.1]]
    found = perturbench_cosine_logfc(predicted, observed, control=control)
    assert found[0] == pytest.approx(0.5)
    assert found == pytest.approx(
        cosine_logfc(predicted, observed, control=control, pseudocount=0.1)
    )


def test_values_without_logarithm_are_named(profiles):
    predicted, observed, control = profiles
    with pytest.raises(ValueError, match=r"`predicted` goes down to -0.05.*clip"):
        cosine_logfc(predicted * 0 - 0.05, observed, control=control, pseudocount=1)
    with pytest.raises(ValueError, match=r"`control` goes down to -0.1,"):
        perturbench_cosine_logfc(predicted, observed, control=control * 0 - 0.1)
    perturbench_cosine_logfc(predicted - predicted.min() - 0.05, observed, control=control)
    with pytest.raises(ValueError, match="`pseudocount` is 0"):
        cosine_logfc(predicted, observed, control=control, pseudocount=0)
