"""Hyper-parameters that are searched for."""

import json

import pytest

import scvi_sams as sams
from scvi_sams.benchmark import ModelPredictor
from scvi_sams.benchmark._model import Tune
from scvi_sams.benchmark._tune import tuned
from tests.conftest import FEW_STEPS

COLUMNS = {"perturbation_key": "perturbation", "control": "control", "split_key": "split"}
SEARCH = {
    "n_latent": {"randint": [2, 6]},
    "batch_size": {"choice": [32, 48]},
    "lr": {"loguniform": [1e-4, 1e-2]},
}


@pytest.mark.slow  # each trial is a process that imports everything
@pytest.mark.filterwarnings("ignore")  # of Ray and of what autotune imports
def test_a_model_is_trained_with_the_settings_that_were_found(screen, tmp_path):
    for module in ("ray", "hyperopt", "scib_metrics"):
        pytest.importorskip(module)
    sams.splits.random(screen, stratify_keys="perturbation")
    train = {key: value for key, value in FEW_STEPS.items() if key not in SEARCH}
    predictor = ModelPredictor(sams.SAMSVAE, train=train, n_hidden=16)
    tune = Tune(n_samples=2, search=SEARCH)
    found = tuned(predictor, screen, tune, COLUMNS, 0, tmp_path)
    assert json.loads(json.dumps(found)) == found
    assert 2 <= found["n_latent"] < 6
    assert found["batch_size"] in (32, 48)
    model = predictor.fit(screen, **COLUMNS).model
    assert model.module.n_latent == found["n_latent"]
    assert predictor.train["plan_kwargs"] == {"lr": found["lr"]}
    assert predictor.settings["n_hidden"] == 16
