import numpy as np
import pytest
import scvi
import torch

import scvi_sams as sams
from scvi_sams.benchmark import GivenPredictions, ModelPredictor, Predictor
from tests.conftest import FEW_STEPS, MODELS, SMALL

BASELINES = [name for name in sams.baselines.__all__ if name != "Baseline"]
COLUMNS = {"perturbation_key": "perturbation", "control": "control"}


def predictor_of(cls, **kwargs):
    return ModelPredictor(cls, setup={"batch_key": "batch"}, train=FEW_STEPS, **SMALL, **kwargs)


@pytest.fixture
def split(screen):
    sams.splits.random(screen, stratify_keys="perturbation")
    return screen


@pytest.mark.parametrize("cls", [pytest.param(cls, id=name) for name, cls in MODELS.items()])
def test_every_model_fits_and_predicts_like_a_baseline(split, cls):
    predictor = predictor_of(cls)
    assert isinstance(predictor, Predictor)
    predictor.fit(split, **COLUMNS, split_key="split", covariate_keys="donor")
    cells = predictor.predict(["control", "pert_1"], n_cells=7, covariates={"donor": ["d1", "d2"]})
    assert cells.obs.groupby(["perturbation", "donor"], observed=True).size().eq(7).all()
    assert len(cells) == 28
    assert cells.uns["prediction"]["units"] == "counts"


@pytest.mark.parametrize(
    "baseline",
    [pytest.param(getattr(sams.baselines, name), id=name) for name in BASELINES],
)
def test_every_baseline_is_a_predictor(baseline):
    assert isinstance(baseline(), Predictor)


def test_test_cells_are_not_learned_from(split):
    predictor = predictor_of(sams.SAMSVAE).fit(split, **COLUMNS, split_key="split")
    learned = set(predictor.model.adata.obs_names)
    assert learned == set(split.obs_names[split.obs["split"] != "test"])


def test_labels_stand_in_the_column_of_the_data(split):
    split.obs["what"] = split.obs["perturbation"]
    predictor = predictor_of(sams.SAMSVAE)
    predictor.fit(split, perturbation_key="what", control="control")
    assert set(predictor.predict("pert_1").obs["what"]) == {"pert_1"}


def test_the_same_seed_gives_the_same_model_and_leaves_no_trace(split):
    before = scvi.settings.seed, torch.random.get_rng_state(), set(split.obs)
    fits = [predictor_of(sams.SAMSVAE).fit(split, **COLUMNS, seed=3) for _ in range(2)]
    one, other = (fit.predict("pert_1", n_cells=20).X.toarray() for fit in fits)
    np.testing.assert_array_equal(one, other)
    assert scvi.settings.seed == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])
    assert set(split.obs) == before[2]


def test_an_interruption_is_one_whatever_lightning_makes_of_it(split, monkeypatch):
    def stop(self, **_):
        raise SystemExit(1)

    monkeypatch.setattr(sams.SAMSVAE, "train", stop)
    with pytest.raises(KeyboardInterrupt):
        predictor_of(sams.SAMSVAE).fit(split, **COLUMNS)


def test_a_kept_model_predicts_the_same(split, tmp_path):
    columns = COLUMNS | {"split_key": "split"}
    fit = predictor_of(sams.SAMSVAE).fit(split, **columns)
    fit.save(tmp_path / "model")
    other = predictor_of(sams.SAMSVAE)
    other.load(tmp_path / "model", split, **columns)
    np.testing.assert_array_equal(
        fit.predict("pert_1", n_cells=20).X.toarray(),
        other.predict("pert_1", n_cells=20).X.toarray(),
    )


def test_predictions_from_elsewhere_are_found_whatever_the_order_of_their_parts(screen):
    adata = screen.copy()
    pair = next(x for x in adata.obs["perturbation"].unique() if "+" in x)
    a, b = pair.split("+")
    swapped = adata.copy()
    swapped.obs["perturbation"] = adata.obs["perturbation"].astype(str).replace({pair: f"{b}+{a}"})
    given = GivenPredictions(swapped, units="counts").fit(adata, **COLUMNS)
    found = given.predict([pair])
    assert found.n_obs == (adata.obs["perturbation"] == pair).sum()
    assert found.uns["prediction"]["units"] == "counts"
    assert "prediction" not in swapped.uns


def test_predictions_from_elsewhere_are_of_the_asked_covariates(screen):
    given = GivenPredictions(screen, units="counts").fit(screen, **COLUMNS, covariate_keys="donor")
    found = given.predict(["pert_1", "control"], covariates={"donor": "d1"})
    assert set(found.obs["donor"]) == {"d1"}
    assert set(found.obs["perturbation"]) == {"pert_1", "control"}


@pytest.mark.parametrize(
    ("units", "n_genes"), [("counts", 10), ("log1p counts per 10,000", 30)], ids=["counts", "logs"]
)
def test_counts_from_elsewhere_may_be_of_more_genes(screen, units, n_genes):
    given = GivenPredictions(screen, units=units).fit(screen[:, 5:15].copy(), **COLUMNS)
    assert given.predict("pert_1").n_vars == n_genes
    assert screen.n_vars == 30


def test_covariates_may_be_numbers(screen):
    screen.obs["day"] = np.arange(screen.n_obs) % 2
    given = GivenPredictions(screen, units="counts").fit(screen, **COLUMNS, covariate_keys="day")
    assert set(given.predict("pert_1", covariates={"day": ["1"]}).obs["day"]) == {1}
    with pytest.raises(ValueError, match=r"no predicted cells in {'day': '3'}"):
        given.predict("pert_1", covariates={"day": "3"})


def test_a_condition_that_was_not_predicted_elsewhere_is_named(screen):
    lacking = screen[screen.obs["perturbation"] != "pert_1"].copy()
    given = GivenPredictions(lacking, units="counts").fit(screen, **COLUMNS)
    with pytest.raises(ValueError, match="no predicted cells of 'pert_1'"):
        given.predict(["pert_1", "pert_2"])
