"""PerturBench's definitions within an evaluation, with numbers written out."""

import anndata as ad
import numpy as np
import pytest

import scvi_sams as sams

E = np.e
OBSERVED = {  # two cells each of log-normalised expression, of which the means plus 0.1 are
    "control": [[0.9, 0.7], [0.9, 1.1]],  # 1, 1
    "A": [[E - 0.1, 0.6], [E - 0.1, 1.2]],  # e, 1
    "B": [[0.9, E - 0.5], [0.9, E + 0.3]],  # 1, e
}
NEAR = {  # log changes
    "A": [[E - 0.1, E - 0.1]] * 2,  # 1, 1
    "B": [[0.9, E**2 - 0.1]] * 2,  # 0, 2
}
FAR = {
    "A": [[0.9, E - 0.1]] * 2,  # 0, 1
    "B": [[E - 0.1, E - 0.1]] * 2,  # 1, 1
}


def cells(of):
    adata = ad.AnnData(np.concatenate([np.array(x) for x in of.values()]))
    adata.obs["perturbation"] = np.repeat(list(of), 2)
    return adata


def evaluated(models, **kwargs):
    return sams.evaluate(
        {name: cells(of) for name, of in models.items()},
        cells(OBSERVED),
        perturbation_key="perturbation",
        control="control",
        compat="perturbench",
        **{
            "observed_units": "log1p counts per 10,000",
            "predicted_units": "log1p counts per 10,000",
            "n_bootstrap": 5,
        }
        | kwargs,
    ).per_perturbation.droplevel("context")


def test_scores_by_hand():
    found = evaluated({"near": NEAR, "far": FAR})
    assert list(found) == ["rmse", "cosine_logfc", "rank", "mmd"]
    near, far = found.loc["near"], found.loc["far"]
    # between (1, 1) and (1, 0), and between (0, 2) and (0, 1)
    np.testing.assert_allclose(near["cosine_logfc"], [0.5**0.5, 1], rtol=1e-6)
    np.testing.assert_allclose(far["cosine_logfc"], [0, 0.5**0.5], atol=1e-6)
    # of A cosine distances 1 - 1/√2 and 1, of B 1 - 1/√2 and 0
    np.testing.assert_allclose(near["rank"], [0, 0])
    np.testing.assert_allclose(far["rank"], [1, 1])
    np.testing.assert_allclose(near["rmse"], [(E - 1) / 2**0.5, (E**2 - E) / 2**0.5], rtol=1e-6)


def test_mmd_is_the_energy_distance():
    # observed cells of A are 0.6 apart, and as far from both predicted ones, which are equal
    apart = np.mean([E - 0.1 - 0.6, E - 0.1 - 1.2])
    found = evaluated({"near": NEAR}, metrics="mmd").loc["near", "mmd"]
    assert found["A"] == pytest.approx(2 * apart - 0.6, rel=1e-5)


def test_ties_are_broken_at_random():
    collapsed = {"A": NEAR["A"], "B": NEAR["A"]}
    ranks = [
        tuple(evaluated({"m": collapsed}, metrics="rank", seed=seed).loc["m", "rank"])
        for seed in range(20)
    ]
    assert {rank for pair in ranks for rank in pair} == {0, 1}
    assert evaluated({"m": collapsed}, metrics="rank", seed=3).loc["m", "rank"].tolist() == list(
        ranks[3]
    )


def test_predictions_below_nothing_have_a_logarithm():
    below = {"A": [[-1.0, 0.9]] * 2, "B": NEAR["B"]}
    found = evaluated({"m": below}, metrics=["cosine_logfc", "rmse"]).loc["m"]
    # log changes log(0.1) and 0
    assert found.loc["A", "cosine_logfc"] == pytest.approx(-1)
    assert found.loc["A", "rmse"] == pytest.approx((E + 0.9) / 2**0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"metrics": "r2"}, "No metric of PerturBench is called 'r2'", id="metric"),
        pytest.param({"compat": "systema"}, "`compat` is 'systema'", id="compat"),
    ],
)
def test_what_there_is_not_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        sams.evaluate(
            {},
            cells(OBSERVED),
            perturbation_key="perturbation",
            control="control",
            **{"compat": "perturbench"} | arguments,
        )
