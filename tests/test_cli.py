"""The command line."""

import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scvi_sams as sams
from scvi_sams._demo import _naive_effects
from scvi_sams.cli import main
from tests.conftest import trained


@pytest.fixture
def file(screen, tmp_path):
    path = tmp_path / "screen.h5ad"
    screen.write_h5ad(path)
    return path


@pytest.fixture
def quick(monkeypatch):
    """Few, small steps."""
    train = sams.SAMSVAE.train
    monkeypatch.setattr(
        sams.SAMSVAE,
        "train",
        lambda self, **kwargs: train(
            self, **kwargs | {"max_epochs": 2, "enable_progress_bar": False, "accelerator": "cpu"}
        ),
    )


def test_train_writes_model_and_annotated_data(file, tmp_path, quick, capsys):
    out = tmp_path / "out"
    status = main(
        [
            "train",
            str(file),
            "--perturbation-key",
            "perturbation",
            "--control",
            "control",
            "--batch-key",
            "batch",
            "--dosage-key",
            "dosage",
            "--n-latent",
            "3",
            "--out",
            str(out),
        ]
    )
    assert status == 0
    assert "Trained for 2 epochs" in capsys.readouterr().out
    annotated = ad.read_h5ad(out / "annotated.h5ad")
    assert annotated.obsm["X_sams"].shape == (annotated.n_obs, 3)
    loaded = sams.SAMSVAE.load(str(out), annotated)
    np.testing.assert_allclose(
        loaded.get_latent_representation(), annotated.obsm["X_sams"], atol=1e-5
    )


def test_predictions_of_a_saved_model_are_evaluated(file, screen, tmp_path, quick, capsys):
    model, cells, scores = (tmp_path / name for name in ("model", "cells.h5ad", "scores"))
    labels = ["--perturbation-key", "perturbation", "--control", "control"]
    assert main(["train", str(file), *labels, "--n-latent", "3", "--out", str(model)]) == 0
    given = ["--perturbation", "pert_0", "--perturbation", "pert_1+pert_2", "--n-cells", "7"]
    assert main(["predict", str(model), *given, "--out", str(cells)]) == 0
    predicted = ad.read_h5ad(cells)
    assert predicted.obs["perturbation"].value_counts().to_dict() == {
        "pert_0": 7,
        "pert_1+pert_2": 7,
    }
    expected = sams.hub.load_safely(model, adata=False).predict(
        ["pert_0", "pert_1+pert_2"], n_cells=7
    )
    np.testing.assert_array_equal(predicted.X.toarray(), expected.X.toarray())
    conditions = sorted(set(screen.obs["perturbation"]) - {"control"})
    every = [word for name in conditions for word in ("--perturbation", name)]
    assert main(["predict", str(model), *every, "--out", str(tmp_path / "all.h5ad")]) == 0
    files = [str(tmp_path / "all.h5ad"), str(file)]
    assert main(["evaluate", *files, *labels, "--metric", "rmse", "--out", str(scores)]) == 0
    scored = pd.read_csv(scores / "per_perturbation.csv")
    assert "rmse" in scored.to_string()
    assert all(name in scored.to_string() for name in conditions)
    assert "Tables:" in capsys.readouterr().out


def test_training_by_command_goes_on_from_its_checkpoint(file, tmp_path, quick, capsys):
    words = [str(file), "--perturbation-key", "perturbation", "--control", "control"]
    checkpoint = ["--checkpoint-dir", str(tmp_path / "checkpoint")]
    for out in ("one", "two"):
        (tmp_path / out).mkdir()  # as of a run that was killed
        assert main(["train", *words, *checkpoint, "--out", str(tmp_path / out)]) == 0
    one, two = (
        sams.hub.load_safely(tmp_path / out, adata=False).get_average_treatment_effects().X
        for out in ("one", "two")
    )
    np.testing.assert_array_equal(one, two)


def test_demo_prints_recovery_and_writes_everything(tmp_path, quick, monkeypatch, capsys):
    simulate = sams.datasets.simulate
    monkeypatch.setattr(
        sams.datasets,
        "simulate",
        lambda seed: simulate(6, n_cells_per_perturbation=20, n_genes=30, n_latent=3, seed=seed),
    )
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for line in [
        "mask precision",
        "mask recall",
        "mask F1",
        "SAMS-VAE",
        "mean of each perturbation's cells",
        "mean of all perturbed cells",
    ]:
        assert line in printed
    assert sorted(path.name for path in out.iterdir()) == [
        "ate.png",
        "inclusion.png",
        "model",
        "result.csv",
        "screen.h5ad",
    ]
    adata = ad.read_h5ad(out / "screen.h5ad")
    assert "X_sams" in adata.obsm
    assert sams.SAMSVAE.load(str(out / "model"), adata).is_trained


def test_naive_effects_are_differences_of_means():
    adata = ad.AnnData(sparse.csr_matrix(np.array([[5.0, 5], [10, 0], [0, 10], [5, 5]])))
    adata.obs["perturbation"] = ["control", "A", "B", "B"]
    raw, pooled = _naive_effects(adata, ["A", "B"])
    high, half = np.log2(1 + 1e4), np.log2(1 + 5e3)
    np.testing.assert_allclose(raw[0], [high - half, -half])
    np.testing.assert_allclose(raw[1], [-half / 2, (high + half) / 2 - half])
    np.testing.assert_allclose(pooled[0], pooled[1])
    np.testing.assert_allclose(pooled[0], [(high + half) / 3 - half, (high + half) / 3 - half])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["nowhere.h5ad", "--perturbation-key", "p"], "there is no file", id="file"),
        pytest.param(
            ["FILE", "--perturbation-key", "pertubation"], "nearest: 'perturbation'", id="column"
        ),
        pytest.param(
            ["FILE", "--perturbation-key", "perturbation", "--control", "ctrl"],
            "'ctrl' does not occur",
            id="control",
        ),
        pytest.param(["README", "--perturbation-key", "p"], "not a readable .h5ad", id="no-h5ad"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(file, tmp_path, capsys, arguments, message):
    other = tmp_path / "README"
    other.write_text("words")
    arguments = [{"FILE": str(file), "README": str(other)}.get(a, a) for a in arguments]
    assert main(["train", *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("scvi-sams: ")
    assert message in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["predict", "nowhere"], "nowhere", id="model"),
        pytest.param(
            ["predict", "MODEL", "--perturbation", "pert_9"], "pert_9", id="perturbation"
        ),
        pytest.param(["evaluate", "nowhere.h5ad", "FILE"], "there is no file", id="predicted"),
        pytest.param(["evaluate", "FILE", "FILE", "--metric", "rmsd"], "rmsd", id="metric"),
    ],
)
def test_bad_questions_are_one_line_and_exit_2(file, screen, tmp_path, capsys, arguments, message):
    if "MODEL" in arguments:
        trained(screen).save(tmp_path / "model")
    paths = {"FILE": str(file), "MODEL": str(tmp_path / "model")}
    arguments = [paths.get(word, word) for word in arguments]
    if arguments[0] == "evaluate":
        arguments += ["--control", "control", "--predicted-units", "counts"]
    assert main([*arguments, "--out", str(tmp_path / "out.h5ad")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("scvi-sams: ")
    assert message in lines[-1]
    assert not (tmp_path / "out.h5ad").exists()


def test_existing_folder_is_not_overwritten(file, tmp_path, capsys):
    assert (
        main(["train", str(file), "--perturbation-key", "perturbation", "--out", str(tmp_path)])
        == 2
    )
    assert "exists already" in capsys.readouterr().err


def test_interruption_is_one_line(monkeypatch, capsys):
    def interrupt(out, seed):
        raise KeyboardInterrupt

    monkeypatch.setattr("scvi_sams._demo.run_demo", interrupt)
    assert main(["demo"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--help"], ["demo", "--help"], ["train", "--help"], ["predict", "--help"]]
)
def test_help_explains(arguments, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["scvi-sams"])
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    assert "usage: scvi-sams" in capsys.readouterr().out


@pytest.mark.parametrize("number", ["0", "-3", "many"])
def test_impossible_number_exits_2(number, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "x", "--perturbation-key", "p", "--out", "o", "--max-epochs", number])
    assert stop.value.code == 2
    assert "--max-epochs" in capsys.readouterr().err


CONFIG = """
name: small
datasets:
  small: {path: screen.h5ad, perturbation_key: perturbation, control: control}
splits:
  cells: {method: random}
baselines: [ControlMean]
metrics: [rmse]
seeds: [0]
data_folder: .
"""


def benchmarked(folder, text):
    (folder / "config.yaml").write_text(text)
    return main(["benchmark", str(folder / "config.yaml"), "--out", str(folder / "out")])


def test_benchmark_writes_a_leaderboard_and_says_where(file, tmp_path, capsys):
    assert benchmarked(tmp_path, CONFIG) == 0
    assert "leaderboard.md" in capsys.readouterr().out.replace("\n", "")
    assert (tmp_path / "out" / "report.html").exists()


def test_mistakes_of_a_benchmark_are_a_line_each_and_exit_2(file, tmp_path, capsys):
    text = CONFIG.replace("method: random", "method: randm").replace("rmse", "rsme")
    assert benchmarked(tmp_path, text) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            CONFIG + 'models: {m: {predictions: "none.h5ad", units: counts}}',
            "1 run(s) failed",
            id="one",
        ),
        pytest.param(CONFIG.replace("control}", "none}"), "No run succeeded", id="all"),
    ],
)
def test_failed_runs_of_a_benchmark_exit_1(file, tmp_path, capsys, text, said):
    assert benchmarked(tmp_path, text) == 1
    assert f"scvi-sams: {said}" in capsys.readouterr().err


def test_missing_command_exits_2(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
