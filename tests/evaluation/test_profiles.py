"""What all metrics of profiles ask of their input."""

import numpy as np
import pytest

from scvi_sams import metrics

GOOD = np.arange(1.0, 7.0).reshape(2, 3)
NAN = np.where(GOOD == 5, np.nan, GOOD)
WITH = {
    "weighted_mse": {"weights": GOOD},
    "weighted_r2_delta": {"weights": GOOD, "reference": np.zeros(3)},
    "pearson_delta": {"reference": np.zeros(3)},
    "cosine_delta": {"reference": np.zeros(3)},
    "cosine_logfc": {"control": np.zeros(3), "pseudocount": 1.0},
    "perturbench_cosine_logfc": {"control": np.zeros(3)},
}
PLAIN = [
    "rmse",
    "mae",
    "r2",
    "rank_of_predictions",
    "rank_of_truths",
    "perturbench_rank",
    "variance_ratio",
    "ate_pearson",
    "ate_r2",
]
CALLS = {name: {} for name in PLAIN} | WITH


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("predicted", "observed", "message"),
    [
        pytest.param(GOOD, GOOD[:, :2], r"has shape \(2, 3\) and `observed` \(2, 2\)", id="genes"),
        pytest.param(GOOD[:1], GOOD, r"has shape \(1, 3\) and `observed` \(2, 3\)", id="rows"),
        pytest.param(GOOD[0], GOOD, r"`predicted` has shape \(3,\); give a matrix", id="vector"),
        pytest.param(GOOD[:, :0], GOOD[:, :0], r"`predicted` has shape \(2, 0\)", id="no-gene"),
        pytest.param(GOOD, NAN, r"`observed` holds NaN.* in 1 row\(s\), first 1", id="nan"),
        pytest.param(
            np.full((2, 3), np.inf), GOOD, r"`predicted` holds NaN or infinite", id="infinite"
        ),
    ],
)
def test_unfit_profiles_are_named(name, predicted, observed, message):
    with pytest.raises(ValueError, match=message):
        getattr(metrics, name)(predicted, observed, **CALLS[name])


@pytest.mark.parametrize("name", ["r2", *sorted(set(WITH) - {"weighted_mse"})])
def test_one_gene_cannot_be_correlated(name):
    arguments = {
        key: value[..., :1] if isinstance(value, np.ndarray) else value
        for key, value in CALLS[name].items()
    }
    with pytest.raises(ValueError, match="have 1 gene; give at least 2"):
        getattr(metrics, name)(GOOD[:, :1], GOOD[:, :1], **arguments)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        pytest.param(np.zeros(2), "of 2 genes and `observed` of 3", id="genes"),
        pytest.param(np.zeros((1, 3)), r"has shape \(1, 3\) and `observed` \(2, 3\)", id="rows"),
        pytest.param(np.array([0, np.inf, 0]), "holds NaN or infinite", id="infinite"),
    ],
)
@pytest.mark.parametrize("name", [key for key in WITH if key != "weighted_mse"])
def test_unfit_references_are_named(name, reference, message):
    key = "control" if "control" in WITH[name] else "reference"
    with pytest.raises(ValueError, match=f"`{key}`.*{message}|`{key}` {message}"):
        getattr(metrics, name)(GOOD, GOOD, **WITH[name] | {key: reference})


@pytest.mark.parametrize("name", CALLS)
def test_arguments_beyond_the_two_profiles_go_by_name(name):
    with pytest.raises(TypeError, match="positional"):
        getattr(metrics, name)(GOOD, GOOD, GOOD)


@pytest.mark.parametrize("name", CALLS)
def test_single_precision_and_integers_are_taken(name):
    rng = np.random.default_rng(0)
    profiles = rng.integers(1, 9, size=(2, 4, 6))
    arguments = {
        key: np.ones(6) if value is not WITH["weighted_mse"]["weights"] else np.ones((4, 6))
        for key, value in CALLS[name].items()
        if isinstance(value, np.ndarray)
    }
    arguments |= {key: value for key, value in CALLS[name].items() if key == "pseudocount"}
    results = [
        getattr(metrics, name)(*profiles.astype(dtype), **arguments)
        for dtype in (int, np.float32, float)
    ]
    for result in results:
        np.testing.assert_allclose(result, results[-1], rtol=1e-6)
        assert np.asarray(result).dtype == float
