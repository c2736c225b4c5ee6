"""Models that are let go of leave nothing behind."""

import gc
import subprocess
import sys
import weakref

import pytest

import scvi_sams as sams
from scvi_sams.benchmark import ModelPredictor
from tests.conftest import FEW_STEPS, MODELS, SMALL, set_up, trained

FITS = """
import gc, logging
import psutil, scvi, torch
import scvi_sams as sams
from scvi_sams.benchmark import ModelPredictor

torch.set_num_threads(1)
scvi.settings.verbosity = logging.ERROR
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
train = {"max_epochs": 1, "enable_progress_bar": False, "accelerator": "cpu"}
columns = {"perturbation_key": "perturbation", "control": "control"}
adata = sams.datasets.simulate(6, n_cells_per_perturbation=200, n_genes=500, seed=1)
adata.layers["counts"] = adata.X.copy()  # of which 75 copies would show
for number in range(200):
    if number % 2:
        sams.SAMSVAE.setup_anndata(adata, **columns)
        model = sams.SAMSVAE(adata, n_latent=4, n_hidden=16)
        model.train(**train)
    else:  # which has a copy of the cells of its own
        fitted = ModelPredictor(sams.SAMSVAE, train=train, n_latent=4, n_hidden=16)
        model = fitted.fit(adata, **columns).model
        del fitted
    model.predict("pert_1", n_cells=10)
    del model
    if number in (49, 199):
        gc.collect()
        print(psutil.Process().memory_info().rss)
"""


@pytest.mark.long
def test_200_fits_take_no_more_memory_than_50():
    command = [sys.executable, "-W", "ignore", "-c", FITS]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    early, late = map(int, done.stdout.split()[-2:])
    assert late < 1.05 * early


@pytest.mark.parametrize("cls", MODELS.values(), ids=MODELS)
def test_a_model_goes_when_nothing_refers_to_it(screen, cls):
    model = trained(screen, cls=cls)
    model.get_latent_representation(screen[:20].copy())
    model.predict("pert_1", n_cells=5)
    own, gone = model.id, weakref.ref(model)
    assert own in cls._per_instance_manager_store
    del model
    gc.collect()
    assert gone() is None
    assert own not in cls._per_instance_manager_store


def test_a_predictor_takes_its_copy_of_the_cells_along(screen):
    before = set(sams.SAMSVAE._setup_adata_manager_store)
    predictor = ModelPredictor(sams.SAMSVAE, train=FEW_STEPS, **SMALL)
    predictor.fit(screen, perturbation_key="perturbation", control="control")
    cells = weakref.ref(predictor.model.adata)
    assert set(sams.SAMSVAE._setup_adata_manager_store) != before
    del predictor
    gc.collect()
    assert cells() is None
    assert set(sams.SAMSVAE._setup_adata_manager_store) == before


def test_a_predictor_leaves_data_that_was_set_up_before_as_it_was(screen):
    set_up(screen)
    predictor = ModelPredictor(sams.SAMSVAE, train=FEW_STEPS, **SMALL)
    predictor.fit(screen, perturbation_key="perturbation", control="control")
    sams.SAMSVAE(screen, **SMALL)
    first = predictor.model
    predictor.fit(screen, perturbation_key="perturbation", control="control")
    del first
    gc.collect()
    sams.SAMSVAE(screen, **SMALL)
    assert predictor.model.adata.uns["_scvi_uuid"] in sams.SAMSVAE._setup_adata_manager_store


def test_what_is_set_up_while_a_model_reads_other_cells_stays(screen):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    other, query = screen.copy(), screen.copy()
    before = set(model._own_managers())
    with model._reading(query):
        set_up(other)
    sams.SAMSVAE(other, **SMALL)
    assert set(model._own_managers()) == before
