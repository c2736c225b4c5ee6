"""Coverage of intervals within an evaluation, against the metric of means and variances."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scvi_sams as sams
from scvi_sams.metrics import interval_coverage

pytestmark = pytest.mark.filterwarnings("ignore:The prediction .* has no control cells")

COLUMNS = {"perturbation_key": "perturbation", "control": "control"}
GENES = [f"g{i}" for i in range(12)]


@pytest.fixture(name="cells")
def screen_cells():
    rng = np.random.default_rng(0)
    adata = ad.AnnData(rng.poisson(5, (90, 12)).astype(float))
    adata.var_names = GENES
    adata.obs["perturbation"] = np.repeat(["control", "A", "B+C"], 30)
    adata.obs["line"] = np.tile(["x", "y"], 45)
    return adata


def effects_of(names, **obs):
    """Intervals as models give them, genes in another order."""
    rng = np.random.default_rng(1)
    middle = rng.normal(0, 0.2, (len(names), 12))
    half = rng.exponential(0.1, middle.shape)
    return ad.AnnData(
        middle,
        obs=pd.DataFrame(
            {"perturbation": names} | obs, index=[f"row{i}" for i, _ in enumerate(names)]
        ),
        var=pd.DataFrame(index=GENES[::-1]),
        layers={"lower": middle - half, "upper": middle + half},
        uns={"ate": {"credible_mass": 0.8, "normalization": "log2_cp10k", "control": "control"}},
    )


def evaluated(adata, effects, **kwargs):
    predicted = adata[adata.obs["perturbation"] != "control"].copy()
    predicted.obs_names = "predicted " + predicted.obs_names
    found = sams.evaluate(
        predicted,
        adata,
        **COLUMNS,
        effects=effects,
        predicted_units="counts",
        **{"metrics": "coverage", "n_bootstrap": 5} | kwargs,
    )
    return found.per_perturbation.loc["model", "coverage"]


def by_hand(adata, effects, row, name):
    """Coverage of a condition from its cells and control's."""
    y = np.log2(1 + 1e4 * adata.X / adata.X.sum(1, keepdims=True))
    sides = [y[adata.obs["perturbation"] == label] for label in (name, "control")]
    error = np.sqrt(sum(cells.var(0, ddof=1) / len(cells) for cells in sides))
    lower, upper = (effects.layers[layer][[row], ::-1] for layer in ("lower", "upper"))
    effect = sides[0].mean(0) - sides[1].mean(0)
    return interval_coverage(
        lower, upper, effect[None], sampling_sd=error[None], credible_mass=0.8
    )


def test_coverage_is_that_of_means_and_their_sampling_error(cells):
    effects = effects_of(["C+B", "A"])
    found = evaluated(cells, effects)
    assert found["A", ""] == pytest.approx(by_hand(cells, effects, 1, "A"))
    assert found["B+C", ""] == pytest.approx(by_hand(cells, effects, 0, "B+C"))


def test_effects_may_be_of_contexts_or_of_all(cells):
    everywhere = evaluated(cells, effects_of(["A"]), covariate_keys="line")
    in_x = cells[cells.obs["line"] == "x"]
    expected = by_hand(in_x, effects_of(["A"]), 0, "A")
    assert everywhere["A", "x"] == pytest.approx(expected)
    assert np.isfinite(everywhere["A", "y"])
    assert np.isnan(everywhere["B+C", "x"])
    of_x = evaluated(cells, effects_of(["A"], line=["x"]), covariate_keys="line")
    assert of_x["A", "x"] == pytest.approx(expected)
    assert np.isnan(of_x["A", "y"])


def test_labels_may_be_the_index(cells):
    effects = effects_of(["A"])
    plain = effects.copy()
    plain.obs = pd.DataFrame(index=["A"])
    pd.testing.assert_series_equal(evaluated(cells, plain), evaluated(cells, effects))


def test_others_have_no_coverage(cells):
    predicted = cells[cells.obs["perturbation"] != "control"].copy()
    predicted.obs_names = "predicted " + predicted.obs_names
    found = sams.evaluate(
        {"mine": predicted, "other": predicted},
        cells,
        **COLUMNS,
        effects={"mine": effects_of(["A", "B+C"])},
        predicted_units="counts",
        metrics=["coverage", "rmse"],
        n_bootstrap=5,
    )
    n = found.summary.loc["coverage", "n"]
    assert n.to_dict() == {"mine": 2, "other": 0, "ceiling": 0}
    assert "coverage" not in found.verdict


def without(layer):
    effects = effects_of(["A"])
    del effects.layers[layer]
    return effects


def about(**settings):
    effects = effects_of(["A"])
    effects.uns["ate"] |= settings
    return effects


@pytest.mark.parametrize(
    ("effects", "message"),
    [
        pytest.param(without("lower"), "of 'model' lack 'lower'", id="layer"),
        pytest.param(about(normalization="mean"), "on the scale 'mean'", id="scale"),
        pytest.param(about(control="B"), "are against 'B'", id="control"),
        pytest.param(effects_of(["A"])[:, :9].copy(), r"lack 3 gene\(s\)", id="genes"),
        pytest.param(effects_of(["B+C", "C+B"]), r"several rows of 'C\+B'", id="twice"),
        pytest.param({"modle": effects_of(["A"])}, "'modle', which.*nearest: 'model'", id="name"),
    ],
)
def test_effects_that_do_not_fit_are_named(cells, effects, message):
    with pytest.raises(ValueError, match=message):
        evaluated(cells, effects)


def test_coverage_needs_effects(cells):
    with pytest.raises(ValueError, match="give `effects=`"):
        evaluated(cells, None)


def test_effects_without_a_name_are_of_the_only_model(cells):
    with pytest.raises(ValueError, match="of one model, and there are 2"):
        sams.evaluate({"a": cells, "b": cells}, cells, **COLUMNS, effects=effects_of(["A"]))
