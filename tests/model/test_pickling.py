"""Models in other processes, and copies of them."""

import copy
import pickle

import numpy as np
import pytest
from joblib import Parallel, delayed

import scvi_sams as sams
from tests.conftest import FEW_STEPS, MODELS, SMALL, trained

COPIES = {"pickle": lambda model: pickle.loads(pickle.dumps(model)), "deepcopy": copy.deepcopy}
quiet_mudata = pytest.mark.filterwarnings("ignore:The method mod_names")  # called by scvi-tools


def answers(model):
    known = list(model.perturbation_names[:2])
    found = {
        "latent": model.get_latent_representation(),
        "ate": model.get_average_treatment_effects(known, n_samples=20).X,
        "cells": model.predict(known, n_cells=5).X,
    }
    return {k: x.toarray() if hasattr(x, "toarray") else np.asarray(x) for k, x in found.items()}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def of_mudata(mdata):
    where = {"rna_layer": "rna", "guide_layer": "guides"}
    sams.SAMSVAE.setup_mudata(mdata, guide_layer="assigned", modalities=where)
    model = sams.SAMSVAE(mdata, **SMALL)
    model.train(**FEW_STEPS)
    return model


@pytest.fixture(params=[*MODELS, "MuData"])
def any_model(request):
    if request.param == "MuData":
        return of_mudata(request.getfixturevalue("mdata"))
    return trained(request.getfixturevalue("screen"), cls=MODELS[request.param])


@quiet_mudata
@pytest.mark.parametrize("how", COPIES)
def test_copies_answer_alike_and_are_their_own(any_model, how):
    expected = answers(any_model)
    other = COPIES[how](any_model)
    assert_equal(answers(other), expected)
    assert other.adata is not any_model.adata
    assert other.id != any_model.id
    for parameter in other.module.parameters():
        parameter.data.zero_()
    assert_equal(answers(any_model), expected)


@quiet_mudata
@pytest.mark.parametrize("how", COPIES)
def test_copies_train_on_and_take_other_data(any_model, how):
    other = COPIES[how](any_model)
    other.train(**FEW_STEPS)
    query = any_model.adata.copy()
    other.get_latent_representation(query)
    other.adata.uns["mine"] = 1
    assert "mine" not in any_model.adata.uns


@pytest.mark.parametrize("how", COPIES)
def test_what_training_left_behind_is_not_pickled(model, how):
    model.trainer.callbacks.append(lambda: None)  # cannot be pickled
    assert not hasattr(COPIES[how](model), "trainer")
    assert hasattr(model, "trainer")


@pytest.mark.parametrize("how", COPIES)
def test_models_without_data_are_copied(model, tmp_path, how):
    model.save(tmp_path / "model")
    bare = sams.SAMSVAE.load(tmp_path / "model", adata=False, accelerator="cpu")
    other = COPIES[how](bare)
    assert other.adata is None
    np.testing.assert_array_equal(
        other.get_perturbation_effects().X, model.get_perturbation_effects().X
    )


@pytest.mark.slow
def test_models_work_in_joblib_workers(screen):
    model = trained(screen)
    expected = answers(model)
    for found in Parallel(n_jobs=2, backend="loky")(delayed(answers)(model) for _ in range(3)):
        assert_equal(found, expected)


@quiet_mudata
@pytest.mark.slow
def test_mudata_models_work_in_joblib_workers(mdata):
    model = of_mudata(mdata)
    expected = answers(model)
    for found in Parallel(n_jobs=2, backend="loky")(delayed(answers)(model) for _ in range(3)):
        assert_equal(found, expected)
