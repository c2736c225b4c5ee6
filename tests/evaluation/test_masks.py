"""Recovery of masks, against cases counted by hand and scikit-learn."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from scvi_sams.metrics import mask_recovery, match_dimensions

TRUE = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]])


def test_permuted_dimensions_are_a_perfect_recovery():
    found = mask_recovery(TRUE[:, [2, 0, 1]] * 0.9, TRUE)
    assert found.to_dict() == {"precision": 1, "recall": 1, "f1": 1}
    assert list(match_dimensions(TRUE[:, [2, 0, 1]], TRUE)[1]) == [2, 0, 1]


def test_counts_by_hand():
    called = TRUE.copy()
    called[3, 0] = 1  # a false positive
    called[2, 2] = 0  # a miss
    found = mask_recovery(called, TRUE)
    assert found["precision"] == pytest.approx(3 / 4)
    assert found["recall"] == pytest.approx(3 / 4)
    assert found["f1"] == pytest.approx(3 / 4)


def test_recovery_agrees_with_sklearn_on_the_best_of_all_orders():
    rng = np.random.default_rng(0)
    true = rng.random((20, 4)) < 0.3
    called = (true ^ (rng.random(true.shape) < 0.2))[:, [2, 3, 1, 0]]
    planted = true.ravel()
    best = max(
        precision_recall_fscore_support(planted, called[:, order].ravel(), average="binary")[:3]
        for order in permutations(range(4))
    )
    # numbers called and planted are the same in all orders, so true positives decide all three
    np.testing.assert_allclose(mask_recovery(called, true), best)


def test_dimensions_without_partner_are_false_positives():
    called = np.column_stack([TRUE, [0, 1, 1, 0]])
    found = mask_recovery(called, TRUE)
    assert found["precision"] == pytest.approx(4 / 6)
    assert found["recall"] == 1


def test_nothing_called_has_no_precision():
    found = mask_recovery(np.zeros((4, 3)), TRUE)
    assert np.isnan(found["precision"])
    assert found["recall"] == 0


def test_different_perturbations_raise():
    with pytest.raises(ValueError, match="of 4 and of 3 perturbations"):
        mask_recovery(TRUE, TRUE[:3])
