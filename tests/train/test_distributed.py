"""Training on several devices: two processes on a CPU."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch.strategies import DDPStrategy

import scvi_sams as sams
from scvi_sams.train._distributed import data_parallel, n_processes
from tests.conftest import FEW_STEPS, SMALL, set_up

SCRIPT = Path(__file__).with_name("ddp_script.py")


def free_port() -> str:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return str(listening.getsockname()[1])


def trained_by(data: Path, devices: int, folder: Path):
    """The parameters in each process, and the model."""
    folder.mkdir()
    command = [sys.executable, str(SCRIPT), str(data), str(devices), str(folder)]
    found = subprocess.run(
        command,
        env=os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    ranks = [torch.load(path) for path in sorted(folder.glob("rank_*.pt"))]
    return ranks, sams.SAMSVAE.load(folder / "model", adata=False)


@pytest.mark.parametrize("where", ["memory", pytest.param("disk", marks=pytest.mark.slow)])
def test_two_processes_learn_what_one_does(tmp_path, where):
    adata = sams.datasets.simulate(
        6, n_cells_per_perturbation=150, n_control=300, n_genes=50, n_latent=4, seed=1
    )
    rng = np.random.default_rng(0)
    adata.obs["split"] = rng.choice(["train", "val"], adata.n_obs, p=[0.8, 0.2])
    adata.uns["where"] = where
    adata.write_h5ad(tmp_path / "screen.h5ad")
    (alone,), one = trained_by(tmp_path / "screen.h5ad", 1, tmp_path / "one")
    (first, second), two = trained_by(tmp_path / "screen.h5ad", 2, tmp_path / "two")
    assert torch.equal(first, second)
    assert not torch.equal(alone, first)
    assert torch.equal(one.module.perturbations.n_cells, two.module.perturbations.n_cells)
    bounds, divergences = (
        [float(model.history[key].iloc[-1].iloc[0]) for model in (one, two)]
        for key in ("elbo_validation", "kl_effects_validation")
    )
    # one process with seeds 0, 1, 2: 257.32, 257.14, 257.06
    assert abs(bounds[0] - bounds[1]) < 0.5
    # a cell's share of the divergence, which wrong numbers of cells would double or halve
    assert divergences[1] == pytest.approx(divergences[0], rel=0.2)


@pytest.mark.parametrize(
    ("devices", "num_nodes", "expected"),
    [("auto", 1, 1), (1, 1, 1), ("2", 1, 2), ([0, 3], 1, 2), ("0,3", 2, 4), (4, 2, 8)],
    ids=str,
)
def test_number_of_processes(devices, num_nodes, expected):
    assert n_processes(devices, num_nodes) == expected


@pytest.mark.parametrize("devices", [0, -2, True, None, "0", "some", [], 1.5], ids=repr)
def test_no_devices_are_refused(screen, devices):
    set_up(screen)
    with pytest.raises(ValueError, match="`devices` must be"):
        sams.SAMSVAE(screen, **SMALL).train(**FEW_STEPS, devices=devices)


def test_all_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert n_processes(-1) == 3


def test_masks_without_a_gradient_are_announced():
    assert data_parallel(None) == "ddp_find_unused_parameters_true"
    assert data_parallel("ddp_spawn") == "ddp_spawn_find_unused_parameters_true"
    given = DDPStrategy()
    assert data_parallel(given) is given


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed"])
def test_other_strategies_are_refused(screen, strategy):
    set_up(screen)
    with pytest.raises(ValueError, match=f"'ddp'.*'{strategy}'"):
        sams.SAMSVAE(screen, **SMALL).train(**FEW_STEPS, devices=2, strategy=strategy)


def test_a_split_that_would_differ_is_refused(screen, monkeypatch):
    monkeypatch.setattr(type(scvi.settings), "seed", None)
    set_up(screen)
    with pytest.raises(ValueError, match=r"scvi\.settings\.seed = 0.*split_key"):
        sams.SAMSVAE(screen, **SMALL).train(**FEW_STEPS, devices=2)
