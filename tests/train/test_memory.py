"""Training says beforehand if it will take more memory than there is."""

import json
import subprocess
import sys

import numpy as np
import psutil
import pytest
import torch
from lightning.pytorch.callbacks import Callback

import scvi_sams as sams
from scvi_sams.train import _memory
from scvi_sams.train._memory import TrainingMemory, WarnOfMemory, free_memory
from tests.conftest import FEW_STEPS, SMALL, set_up

CPU = torch.device("cpu")
# what training takes in a process of its own, after libraries have been loaded by other training
MEASURE = """
import json, sys
from pathlib import Path
import numpy as np, pandas as pd, anndata as ad, torch
from scipy import sparse
import scvi_sams as sams

def screen(n_cells, n_genes, n_perturbations):
    rng = np.random.default_rng(0)
    counts = sparse.random(n_cells, n_genes, 0.05, format="csr", random_state=rng)
    counts = sparse.lil_matrix((4 * counts).ceil(), dtype=np.float32)
    counts[:, 0] = 1
    label = [f"g{i % n_perturbations}" if i % 10 else "control" for i in range(n_cells)]
    obs = pd.DataFrame({"p": label}, index=[f"c{i}" for i in range(n_cells)])
    adata = ad.AnnData(sparse.csr_matrix(counts), obs=obs)
    sams.SAMSVAE.setup_anndata(adata, perturbation_key="p", control="control")
    return adata

def mb(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(name))

train = {"max_epochs": 2, "enable_progress_bar": False, "accelerator": "cpu"}
torch.set_num_threads(1)
sams.SAMSVAE(screen(300, 20, 5)).train(**train)
sizes, settings = json.loads(sys.argv[1])
adata = screen(*sizes)
model = sams.SAMSVAE(adata, **settings)
before = mb("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
model.train(**train)
((_, estimate, _),) = model._training_memory(512).by_device(torch.device("cpu"))
print(json.dumps([mb("VmHWM") - before, estimate / 1e6]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize(
    ("sizes", "settings"),
    [
        pytest.param((1000, 2500, 3), {"n_particles": 30}, id="step", marks=pytest.mark.slow),
        pytest.param(
            (1500, 1500, 60), {"n_particles": 1}, id="calibration", marks=pytest.mark.long
        ),
        pytest.param(
            (600, 1000, 3),
            {"n_hidden": 2500, "n_particles": 1},
            id="weights",
            marks=pytest.mark.long,
        ),
    ],
)
def test_the_estimate_is_near_what_training_takes(sizes, settings):
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, json.dumps([sizes, settings])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak, estimate = json.loads(done.stdout.splitlines()[-1])
    assert 0.9 * peak < estimate < 2 * peak


@pytest.mark.parametrize(
    ("settings", "n_rows"),
    [
        pytest.param({}, 320 + 320 + 5 * 64, id="nb"),
        pytest.param({"gene_likelihood": "zinb"}, 2 * 640 + 5 * 64, id="zinb"),
        pytest.param(
            {"n_particles": 2, "dispersion": "gene-cell"}, 3 * 256 + 5 * 64, id="gene-cell"
        ),
        pytest.param({"n_particles": 50}, 3200 + 1280 + 5 * 64, id="many-particles"),
    ],
)
def test_a_step_is_counted_in_rows_of_genes(screen, settings, n_rows):
    set_up(screen)
    module = sams.SAMSVAE(screen, **SMALL, **settings).module
    memory = TrainingMemory.of(module, n_genes=30, batch_size=64, n_conditions=4)
    assert memory.step == 4 * 30 * n_rows
    assert memory.weights == 6 * 4 * sum(np.prod(p.shape) for p in module.parameters())


def test_conditions_are_on_the_cpu_wherever_steps_are():
    memory, gpu = TrainingMemory(weights=1, step=10, cells=90, conditions=20), torch.device("cuda")
    assert memory.by_device(CPU) == [(CPU, 111, False)]
    assert memory.by_device(gpu) == [(gpu, 11 + 2**30, True), (CPU, 20, False)]
    many = memory._replace(cells=2**31)
    assert many.by_device(gpu)[0] == (gpu, 1 + 2**31, False)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 1,000 bytes free, whose control groups a test writes."""
    available = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(_memory.psutil, "virtual_memory", lambda: available)
    monkeypatch.setattr(_memory, "_CONTROL_GROUP", tmp_path / "cgroup")
    monkeypatch.setattr(_memory, "_CONTROL_GROUPS", tmp_path / "groups")
    return tmp_path


def group(machine, lines, files, folder):
    (machine / "cgroup").write_text(lines)
    (machine / "groups" / folder).mkdir(parents=True)
    for name, text in files.items():
        (machine / "groups" / folder / name).write_text(f"{text}\n")


VERSION_2 = {
    "memory.max": 500,
    "memory.current": 300,
    "memory.stat": "anon 200\ninactive_file 30\nactive_file 20",
}
VERSION_1 = {
    "memory.limit_in_bytes": 500,
    "memory.usage_in_bytes": 300,
    "memory.stat": "cache 80\ntotal_inactive_file 50",
}


@pytest.mark.parametrize(
    ("lines", "files", "folder", "free"),
    [
        pytest.param("0::/job/step\n", VERSION_2, "job/step", 250, id="version-2"),
        pytest.param("0::/job/step\n", VERSION_2, "job", 250, id="group-around-it"),
        pytest.param("0::/\n", VERSION_2, "", 250, id="container"),
        pytest.param("4:memory:/job\n0::/\n", VERSION_1, "memory/job", 250, id="version-1"),
        pytest.param("4:memory:/of_host\n", VERSION_1, "memory", 250, id="version-1-container"),
        pytest.param("0::/job\n", VERSION_2 | {"memory.max": "max"}, "job", 1000, id="no-limit"),
        pytest.param("0::/job\n", VERSION_2 | {"memory.max": 9999}, "job", 1000, id="machine"),
        pytest.param("0::/other\n", {}, "job", 1000, id="not-visible"),
    ],
)
def test_free_is_what_machine_and_control_groups_leave(machine, lines, files, folder, free):
    group(machine, lines, files, folder)
    assert free_memory(CPU) == free


def test_without_control_groups_it_is_that_of_the_machine(machine):
    assert free_memory(CPU) == 1000


def test_of_other_devices_it_is_not_known():
    assert free_memory(torch.device("meta")) is None


class FirstStepError(Exception):
    """Training was about to begin."""


class EndAtFirstStep(Callback):
    """End training where it begins."""

    def on_train_start(self, trainer, pl_module):
        raise FirstStepError


def test_too_little_memory_is_told_before_the_first_step(screen, machine):
    set_up(screen)
    model = sams.SAMSVAE(screen, **SMALL)
    message = r"takes about 0\.0 GB of the machine's memory .* 0\.0 GB are free.*fewer genes"
    with pytest.raises(FirstStepError), pytest.warns(UserWarning, match=message):
        model.train(**FEW_STEPS, callbacks=[EndAtFirstStep()])


@pytest.mark.parametrize(
    ("memory", "device", "advice"),
    [
        pytest.param(TrainingMemory(1, 2000, 50, 50), "cpu", "machine.*`batch_size`", id="step"),
        pytest.param(
            TrainingMemory(1, 100, 1000, 1000),
            "cpu",
            r"machine.*variable ones\.$",
            id="calibration",
        ),
        pytest.param(TrainingMemory(1, 2000, 0, 0), "cuda", "GPU.*`batch_size`", id="step-on-gpu"),
        pytest.param(
            TrainingMemory(1, 0, 2**31, 0), "cuda", r"GPU.*variable ones\.$", id="cells-on-gpu"
        ),
        pytest.param(
            TrainingMemory(1, 0, 0, 600), "cuda", r"machine.*variable ones\.$", id="after-a-gpu"
        ),
    ],
)
def test_the_remedy_is_of_what_takes_most(machine, monkeypatch, memory, device, advice):
    class Trainer:
        num_devices, is_global_zero = 2, True

    class Plan:
        pass

    Plan.device = torch.device(device)
    of_cpu, of_gpu = free_memory(CPU), 2**30 + 1000
    monkeypatch.setattr(
        _memory, "free_memory", lambda device: of_cpu if device.type == "cpu" else of_gpu
    )
    with pytest.warns(UserWarning, match=advice) as said:
        WarnOfMemory(memory).on_fit_start(Trainer(), Plan())
    assert len(said) == 1


def test_what_torch_holds_in_reserve_on_a_gpu_is_free(monkeypatch):
    for name, found in [
        ("mem_get_info", (100, 900)),
        ("memory_reserved", 70),
        ("memory_allocated", 30),
    ]:
        monkeypatch.setattr(torch.cuda, name, lambda _, found=found: found)
    assert free_memory(torch.device("cuda")) == 140
