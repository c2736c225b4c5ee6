"""What combinations do beyond their parts."""

import numpy as np
import pandas as pd
import pytest

import scvi_sams as sams
from tests.conftest import trained
from tests.model.screens import (
    bare,
    dosed_screen,
    left_alone,
    planted,
    planted_model,
    shown_effect,
    totals,
)

PAIR = "pert_0+pert_5"
OF_CELLS = ["observed", "observed_sd", "interaction", "interaction_lower", "interaction_upper"]


@pytest.fixture(scope="module")
def model():
    """A model whose data has combinations, each at dose 1."""
    return planted_model()


@pytest.fixture(scope="module")
def dosed_model():
    return planted_model(setup={"dosage_key": "dosage"})


@pytest.fixture(scope="module")
def truth():
    """A model that knows its decoder, and cells of its own making."""
    model = planted_model()
    known = model.uncertainty_
    for key in ("size", "precision", "n_cells"):
        known[key] = known[key] * 1e9
    known["misfit"] = {name: np.zeros(2) for name in known["misfit"]}
    return model, cells_of(model)


def cells_of(model, seed=0):
    conditions = ["control", PAIR, "pert_1+pert_2", "pert_3+pert_4"]
    return model.predict(conditions, n_cells=500, seed=seed)


def pairs_of(adata):
    return {label for label in adata.obs["perturbation"] if "+" in label}


def scale(x, normalization):
    return x if normalization == "mean" else np.log2(1 + 1e4 * x / x.sum(1, keepdims=True))


@pytest.mark.parametrize("normalization", ["log2_cp10k", "mean"])
def test_observed_effects_are_those_of_the_counts(model, normalization):
    pair = sorted(pairs_of(model.adata))[0]
    found = model.get_interactions(pair, normalization=normalization, n_samples=50).loc[pair]
    y = scale(model.adata.X.toarray().astype(float), normalization)
    label = model.adata.obs["perturbation"].to_numpy().astype(str)
    there, control = y[label == pair], y[label == "control"]
    expected = shown_effect(y, label, model.adata.obs["batch"], pair)
    np.testing.assert_allclose(found["observed"], expected, rtol=1e-3, atol=1e-5)
    assert (found["n_cells"] == len(there)).all()
    sampling = np.sqrt(there.var(0, ddof=1) / len(there) + control.var(0, ddof=1) / len(control))
    # the variances of few cells lean on those of all
    np.testing.assert_allclose(found["observed_sd"], sampling, rtol=0.7)
    assert np.median(found["observed_sd"] / sampling) == pytest.approx(1, abs=0.25)


def test_columns_follow_from_the_two_effects(model):
    pair = sorted(pairs_of(model.adata))[0]
    kwargs = {"n_samples": 50, "credible_mass": 0.8, "seed": 4}
    found = model.get_interactions([pair], **kwargs)
    ate = model.get_average_treatment_effects([pair], **kwargs)
    assert list(found.index.names) == ["pair", "gene"]
    assert list(found.loc[pair].index) == list(model.adata.var_names)
    np.testing.assert_array_equal(found["predicted"], ate.X[0])
    for key in ("lower", "upper"):
        np.testing.assert_array_equal(found[key], ate.layers[key][0])
    np.testing.assert_allclose(found["interaction"], found["observed"] - found["predicted"])
    sd = np.hypot(found["observed_sd"], ate.layers["sd"][0])
    np.testing.assert_allclose(found["score"], found["interaction"] / sd, rtol=1e-6)
    half = (found["interaction_upper"] - found["interaction_lower"]) / 2
    np.testing.assert_allclose(half, 1.2815516 * sd, rtol=1e-5)  # the normal's 90th percentile
    assert ((found["lfsr"] >= 0) & (found["lfsr"] <= 0.5)).all()


def test_combinations_of_the_data_are_compared_by_default(model):
    found = model.get_interactions(n_samples=20)
    assert set(found.index.get_level_values("pair")) == pairs_of(model.adata)
    assert len(found) == 30 * len(pairs_of(model.adata))
    assert np.isfinite(found).all().all()


def test_combinations_are_compared_at_the_doses_that_cells_received(dosed_model):
    found = dosed_model.get_interactions(n_samples=20)
    assert found.index.is_unique
    obs = dosed_model.adata.obs
    kinds = obs[obs["perturbation"].str.contains("+", regex=False)].astype(str)
    kinds = kinds.groupby(["perturbation", "dosage"]).size()
    kinds = kinds[kinds > 1]
    n_cells = found["n_cells"].groupby(level="pair").first()
    assert sorted(n_cells) == sorted(kinds)
    (pair, dosage), n = kinds.index[0], kinds.iloc[0]
    one = dosed_model.get_interactions(pair, doses=dosage, n_samples=20)
    name = one.index[0][0]
    assert n_cells[name] == n
    np.testing.assert_allclose(one["observed"], found.loc[[name], "observed"])


@pytest.mark.parametrize("delimiter", ["|", " & "], ids=["bar", "ampersand"])
def test_combinations_of_other_delimiters_are_found(delimiter):
    adata = dosed_screen()
    adata.obs["perturbation"] = [
        label.replace("+", delimiter) for label in adata.obs["perturbation"]
    ]
    model = trained(adata, setup={"delimiter": delimiter})
    labels = {label for label in adata.obs["perturbation"] if delimiter in label}
    assert set(model.get_interactions(n_samples=10).index.get_level_values("pair")) == labels


def test_planted_interaction_is_found_and_no_other(truth):
    model, cells = truth
    cells = cells.copy()
    gene = 7
    x = cells.X.toarray()
    x[(cells.obs["perturbation"] == PAIR).to_numpy(), gene] *= 3
    cells.X = x
    found = model.get_interactions(adata=cells, n_samples=10_000)
    planted_one = found.loc[(PAIR, cells.var_names[gene])]
    assert planted_one["lfsr"] < 1e-4
    assert planted_one["interaction"] > 0.5
    assert planted_one["interaction_lower"] > 0
    others = found.drop(PAIR, level="pair")
    assert (others["lfsr"] < 0.005).mean() < 0.1
    assert others["score"].abs().max() < 4.5 < planted_one["score"]


def test_interactions_are_calibrated_where_there_are_none(truth):
    model, _ = truth
    found = pd.concat(  # pairs share their controls: several sets of them
        model.get_interactions(adata=cells_of(model, seed), n_samples=10_000) for seed in range(5)
    )
    score = found["score"].to_numpy()
    assert 0.7 < score.std() < 1.3
    assert (np.abs(score) > 1.96).mean() < 0.12
    covered = (found["interaction_lower"] < 0) & (found["interaction_upper"] > 0)
    assert covered.mean() > 0.88


@pytest.mark.parametrize("label", [PAIR, "pert_0+pert_1+pert_5"], ids=["pair", "three"])
def test_pairs_without_cells_are_predicted_alone(model, label):
    assert label not in pairs_of(model.adata)
    with_cells = sorted(pairs_of(model.adata))[0]
    found = model.get_interactions([label, with_cells], n_samples=20)
    assert np.isfinite(found.loc[label, ["predicted", "lower", "upper"]]).all().all()
    assert found.loc[label, [*OF_CELLS, "score", "lfsr"]].isna().all().all()
    assert np.isfinite(found.loc[with_cells]).all().all()


def test_pair_of_one_cell_has_an_effect_without_an_error(model):
    pair = sorted(pairs_of(model.adata))[0]
    is_pair = np.flatnonzero(model.adata.obs["perturbation"] == pair)
    is_control = np.flatnonzero(model.adata.obs["perturbation"] == "control")
    few = bare(model.adata[np.r_[is_control, is_pair[:1]]])
    found = model.get_interactions([pair], adata=few, n_samples=20)
    assert np.isfinite(found["observed"]).all()
    assert found[["observed_sd", "score", "lfsr"]].isna().all().all()


def test_without_control_cells_pairs_are_predicted_alone(model):
    pair = sorted(pairs_of(model.adata))[0]
    cells = bare(model.adata[model.adata.obs["perturbation"] == pair])
    with left_alone(cells):
        found = model.get_interactions(adata=cells, n_samples=20)
    assert np.isfinite(found[["predicted", "lower", "upper"]]).all().all()
    assert found[[*OF_CELLS, "score", "lfsr"]].isna().all().all()


def test_cells_of_other_data_are_compared(model):
    pair = sorted(pairs_of(model.adata))[0]
    other = bare(model.adata[::2])
    found = model.get_interactions(pair, adata=other, n_samples=20)
    label = other.obs["perturbation"].to_numpy().astype(str)
    y = scale(other.X.toarray().astype(float), "log2_cp10k")
    expected = shown_effect(y, label, other.obs["batch"], pair)
    np.testing.assert_allclose(found["observed"], expected, rtol=1e-3, atol=1e-5)


def test_order_of_the_parts_does_not_matter(model):
    one, other = sorted(pairs_of(model.adata))[0].split("+")
    found = model.get_interactions([f"{one}+{other}", f"{other} + {one}"], n_samples=20)
    halves = found.to_numpy()[:30], found.to_numpy()[30:]
    np.testing.assert_array_equal(*halves)


def test_data_without_combinations_says_so(model):
    singles = bare(model.adata[~model.adata.obs["perturbation"].isin(pairs_of(model.adata))])
    with left_alone(singles), pytest.raises(ValueError, match=r"no cells .* several.*`pairs=`"):
        model.get_interactions(adata=singles)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        pytest.param({"pairs": []}, "`pairs` is empty; None takes", id="empty"),
        pytest.param({"pairs": [PAIR, "pert_1"]}, "'pert_1' is no combination.*'A", id="single"),
        pytest.param({"pairs": "pert_1+control"}, "is no combination", id="with-control"),
        pytest.param({"pairs": "pert_1+pert_1"}, "more than once", id="twice"),
        pytest.param({"pairs": "pert_1+pert_7"}, "'pert_7'; nearest", id="unknown"),
        pytest.param({"pairs": PAIR, "n_samples": 1}, "`n_samples` must be", id="n_samples"),
        pytest.param(
            {"pairs": PAIR, "credible_mass": 0}, "`credible_mass` must lie", id="credible_mass"
        ),
        pytest.param(
            {"pairs": PAIR, "normalization": "tpm"}, "`normalization` must", id="normalization"
        ),
    ],
)
def test_bad_interactions_request_names_the_culprit(model, kwargs, message):
    cells = bare(model.adata)
    with left_alone(cells), pytest.raises(ValueError, match=message):
        model.get_interactions(adata=cells, **kwargs)


def test_models_of_one_perturbation_per_cell_have_no_interactions():
    model = planted(trained(dosed_screen(), cls=sams.SVAEPlus))
    with pytest.raises(ValueError, match="one perturbation per cell"):
        model.get_interactions()


def test_totals_of_simulated_cells_are_those_that_are_compared(truth):
    model, cells = truth
    train = totals(model.adata)[model.train_indices]
    assert np.isclose(np.median(totals(cells)), np.median(train), rtol=0.2)
