"""Metrics of resampled conditions, against the metrics of the resamples written out."""

import numpy as np
import pytest

from scvi_sams.evaluation._joint import JOINT, Arm, joint_scores
from scvi_sams.metrics import ate_pearson, ate_r2, mean_similarity, variance_ratio

DRAWS = [[0, 1, 2, 3, 4], [0, 0, 2, 4, 4], [3, 3, 3, 1, 1]]


def arm(seed, n=5, n_genes=30):
    rng = np.random.default_rng(seed)
    predicted, observed = rng.normal(size=(2, n, n_genes)) + rng.normal(size=n_genes)
    weights = np.array([np.bincount(draw, minlength=n) for draw in DRAWS], dtype=float)
    own, control = rng.normal(size=(2, n_genes))
    return Arm(predicted, observed, own, control, weights)


def test_resamples_are_scored_as_if_written_out():
    arms = [arm(0), arm(1)]
    found = joint_scores(arms, JOINT)
    for row, draw in enumerate(DRAWS):
        predicted = np.concatenate([a.predicted[draw] - a.own_control for a in arms]) / np.log(2)
        observed = np.concatenate([a.observed[draw] - a.control for a in arms]) / np.log(2)
        for suffix, n_top in (("", None), ("_top20", 20)):
            for name, metric in (("ate_pearson", ate_pearson), ("ate_r2", ate_r2)):
                expected = metric(predicted, observed, n_top=n_top)
                assert found[name + suffix][row] == pytest.approx(expected)
        ratios = [variance_ratio(a.predicted[draw], a.observed[draw]) for a in arms]
        assert found["variance_ratio"][row] == pytest.approx(np.mean(ratios))
        alike = [alike_of_different(a.predicted - a.control, draw) for a in arms]
        assert found["similarity"][row] == pytest.approx(np.mean(alike))
    assert found["similarity"][0] == pytest.approx(
        np.mean([mean_similarity(a.predicted - a.control) for a in arms])
    )


def alike_of_different(changes, draw):
    """Mean cosine of pairs of drawn conditions that are not the same one drawn twice."""
    units = changes / np.linalg.norm(changes, axis=1, keepdims=True)
    return np.mean([units[p] @ units[q] for p in draw for q in draw if p != q])


def test_similarity_of_resamples_is_of_conditions_without_direction_too():
    one = arm(0)
    one.predicted[[1, 3]] = one.control
    for row, draw in enumerate(DRAWS):
        still = [p in (1, 3) for p in range(5)]
        units = one.predicted - one.control
        units[~np.array(still)] /= np.linalg.norm(units[~np.array(still)], axis=1, keepdims=True)
        pairs = [(p, q) for p in draw for q in draw if p != q]
        expected = np.mean([1 if still[p] and still[q] else units[p] @ units[q] for p, q in pairs])
        assert joint_scores([one], ["similarity"])["similarity"][row] == pytest.approx(expected)


def test_one_condition_does_not_vary():
    one = arm(0)
    one = Arm(one.predicted[:1], one.observed[:1], one.own_control, one.control, np.ones((2, 1)))
    found = joint_scores([one], ["variance_ratio", "similarity", "ate_r2"])
    assert list(found) == ["ate_r2", "variance_ratio", "similarity"]
    assert np.isnan(found["variance_ratio"]).all()
    assert np.isnan(found["similarity"]).all()
    assert np.isfinite(found["ate_r2"]).all()


def test_a_resample_of_nothing_has_no_score():
    nothing = arm(0)
    nothing = Arm(
        nothing.predicted, nothing.observed, nothing.own_control, nothing.control, np.zeros((1, 5))
    )
    assert np.isnan(list(joint_scores([nothing], JOINT).values())).all()


def test_a_context_of_one_condition_is_passed_over():
    lone = arm(1)
    lone = Arm(
        lone.predicted[:1], lone.observed[:1], lone.own_control, lone.control, np.ones((3, 1))
    )
    both, alone = (joint_scores(arms, ["variance_ratio"]) for arms in ([arm(0), lone], [arm(0)]))
    np.testing.assert_allclose(both["variance_ratio"], alone["variance_ratio"])
