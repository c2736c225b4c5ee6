import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml

import scvi_sams as sams
from scvi_sams import benchmark
from scvi_sams.benchmark import _benchmark, _engine, _fit, _run
from tests.conftest import FEW_STEPS, SMALL

TUNED = {"model": "SAMSVAE", "tune": {"search": {"n_latent": {"choice": [2, 3]}}}}


class Copy:
    """Predicts what it saw, and refuses what it did not."""

    n_fits = 0

    def fit(self, adata, *, perturbation_key, control, **_):
        type(self).n_fits += 1
        self._adata, self._key = adata, perturbation_key
        return self

    def predict(self, perturbations, *, n_cells=500, covariates=None, seed=0):
        labels = self._adata.obs[self._key].astype(str)
        unknown = set(perturbations) - set(labels)
        if unknown:
            raise ValueError(f"never saw {sorted(unknown)}")
        cells = self._adata[labels.isin(list(perturbations)).to_numpy()].copy()
        cells.uns["prediction"] = {"units": "counts"}
        return cells


class Nothing(Copy):
    def predict(self, perturbations, **_):
        return [0.0]


class Broken(Copy):
    def fit(self, adata, **_):
        raise TypeError("out of luck: [/dev/null]")


class Careless(Copy):
    def fit(self, adata, **columns):
        counts = adata.X.copy()
        adata.X = adata.X * 0.5
        super().fit(adata.copy(), **columns)
        self._adata.X = counts
        return self


@pytest.fixture
def config(tmp_path):
    """A config of a small screen, as a dict, and its folder."""
    adata = sams.datasets.simulate(
        4, n_cells_per_perturbation=30, n_control=60, n_genes=25, n_combinations=2, seed=1
    )
    pair = next(x for x in adata.obs["perturbation"].unique() if "+" in x)
    adata.write_h5ad(tmp_path / "screen.h5ad")
    return {
        "name": "A small screen",
        "datasets": {
            "small": {
                "path": "screen.h5ad",
                "perturbation_key": "perturbation",
                "control": "control",
            }
        },
        "splits": {
            "pairs": {"method": "combinations", "held_out": [pair], "seen_share": 0.3},
        },
        "models": {"copy": {"predictor": f"{__name__}:Copy"}},
        "baselines": ["ControlMean", "Additive"],
        "metrics": ["rmse", "pearson_delta", "ate_pearson", "coverage", "iwelbo"],
        "seeds": [0, 1],
        "n_cells": 50,
        "data_folder": ".",
    }


def written(config, folder):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def run(config, folder, **kwargs):
    return benchmark.run(written(config, folder), folder / "out", progress=False, **kwargs)


def test_tables_leaderboard_and_report_are_written(config, tmp_path):
    results = run(config, tmp_path)
    out = tmp_path / "out"
    assert len(pd.read_parquet(out / "runs.parquet")) == len(results.runs) == 4
    for name in ("scores", "summary"):
        pd.testing.assert_frame_equal(
            pd.read_parquet(out / f"{name}.parquet"), getattr(results, name)
        )
    assert {"leaderboard.csv", "leaderboard.md", "report.html", "config.yaml"} <= {
        path.name for path in out.iterdir()
    }
    summary = results.summary
    assert set(summary["seed"]) == {0, 1}
    assert set(summary["subset"]) == {"seen", "unseen"}
    assert set(summary["model"]) == {"copy", "ControlMean", "Additive", "ceiling"}
    assert set(summary.loc[summary["model"] == "ceiling", "kind"]) == {"ceiling"}


@pytest.mark.parametrize(
    "models",
    [
        pytest.param({}, id="no model"),
        pytest.param({"broken": {"predictor": f"{__name__}:Broken"}}, id="a model that failed"),
    ],
)
def test_baselines_alone_are_reported(config, tmp_path, models):
    results = run(config | {"models": models, "seeds": [0]}, tmp_path)
    assert set(results.leaderboard["model"]) == {"ControlMean", "Additive", "ceiling"}
    assert (tmp_path / "out/report.html").exists()
    rows = (tmp_path / "out/leaderboard.md").read_text().splitlines()
    assert not [row for row in rows if row.startswith("| references")]


def test_cells_of_each_split_are_written_for_models_elsewhere(config, tmp_path):
    run(config, tmp_path)
    adata = ad.read_h5ad(tmp_path / "screen.h5ad")
    written = pd.read_parquet(tmp_path / "out/runs/small/pairs/1/references/split.parquet")
    split = config["splits"]["pairs"]
    sams.splits.combinations(
        adata,
        perturbation_key="perturbation",
        control="control",
        held_out=split["held_out"],
        seen_share=split["seen_share"],
        seed=1,
    )
    expected = adata.obs["split"].astype(str)
    assert written.set_index("cell")["split"].to_dict() == expected.to_dict()
    genes = (tmp_path / "out/runs/small/pairs/1/references/genes.txt").read_text().split()
    assert set(genes) <= set(adata.var_names)


def test_means_of_the_summary_are_those_of_the_scores(config, tmp_path):
    results = run(config, tmp_path)
    keys = ["dataset", "split", "seed", "subset", "model", "metric"]
    means = results.scores.groupby(keys)["value"].mean()
    of_conditions = results.summary.set_index(keys)["mean"]
    common = means.index.intersection(of_conditions.index)
    assert len(common) > 10
    np.testing.assert_allclose(means[common], of_conditions[common])


def test_what_a_model_cannot_predict_is_said_and_the_rest_is_scored(config, tmp_path):
    results = run(config, tmp_path)
    record = results.runs[results.runs["model"] == "copy"].iloc[0]
    assert record["status"] == "cannot predict"
    assert "unseen: never saw" in record["message"]
    of_copy = results.summary[results.summary["model"] == "copy"]
    assert set(of_copy["subset"]) == {"seen"}


def test_a_batch_that_was_not_trained_on_lacks_a_bound_alone(config, tmp_path):
    config["datasets"]["small"]["batch_key"] = "batch"
    config["splits"] = {"batches": {"method": "replicate"}}
    config["models"] = {"tiny": {"model": "SAMSVAE", "settings": SMALL, "train": FEW_STEPS}}
    results = run(config | {"seeds": [0]}, tmp_path)
    record = results.runs.set_index("model").loc["tiny"]
    assert record["status"] == "cannot predict"
    assert record["message"].startswith("all: no iwelbo: ")
    of_it = results.summary[results.summary["model"] == "tiny"]
    assert set(of_it["metric"]) == {"rmse", "pearson_delta", "ate_pearson", "coverage"}


def test_finished_runs_are_not_repeated(config, tmp_path):
    Copy.n_fits = 0
    first = run(config, tmp_path)
    assert Copy.n_fits == 2
    second = run(config, tmp_path)
    assert Copy.n_fits == 2
    pd.testing.assert_frame_equal(first.scores, second.scores)
    run(config | {"seeds": [0, 1, 2]}, tmp_path)
    assert Copy.n_fits == 3
    run(config | {"n_cells": 9}, tmp_path)
    assert Copy.n_fits == 5


@pytest.mark.parametrize("changed", ["data", "predictions"])
def test_runs_are_repeated_if_a_file_of_theirs_changed(config, tmp_path, changed):
    adata = ad.read_h5ad(tmp_path / "screen.h5ad")
    predicted = adata.copy()
    predicted.obs_names = "predicted " + predicted.obs_names
    predicted.write_h5ad(tmp_path / "p.h5ad")
    config["models"] = {"elsewhere": {"predictions": "p.h5ad", "units": "counts"}}
    config["seeds"] = [0]
    before = run(config, tmp_path).scores.set_index("model")["value"]
    file, name = {"data": (adata, "screen.h5ad"), "predictions": (predicted, "p.h5ad")}[changed]
    file.X = file.X[::-1]
    file.write_h5ad(tmp_path / name)
    after = run(config, tmp_path).scores.set_index("model")["value"]
    assert not after["elsewhere"].equals(before["elsewhere"])
    assert after["Additive"].equals(before["Additive"]) == (changed == "predictions")


def test_a_predictor_is_run_again_if_its_module_changed(config, tmp_path):
    module = tmp_path / "a_module_of_theirs.py"
    module.write_text("from scvi_sams.baselines import ControlMean as Mine")
    config["models"] = {"mine": {"predictor": "a_module_of_theirs:Mine"}}
    benchmark_ = benchmark.read_config(written(config | {"seeds": [0]}, tmp_path))
    entry = _run.runs_of(benchmark_)[1]
    _run.execute(benchmark_, entry, tmp_path)
    assert _run.is_finished(benchmark_, entry, tmp_path)
    module.write_text("from scvi_sams.baselines import PerturbedMean as Mine")
    assert not _run.is_finished(benchmark_, entry, tmp_path)


def test_an_interrupted_benchmark_goes_on_where_it_was(config, tmp_path, monkeypatch):
    Copy.n_fits = 0
    written_so_far = []

    def stop_after_two(record):
        written_so_far.append(record)
        if len(written_so_far) == 2:
            raise KeyboardInterrupt
        return ""

    monkeypatch.setattr(_benchmark, "_line", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path)
    monkeypatch.undo()
    assert Copy.n_fits == 1
    results = run(config, tmp_path)
    assert Copy.n_fits == 2
    assert len(results.runs) == 4


def test_a_model_trained_before_it_stopped_is_not_trained_again(config, tmp_path, monkeypatch):
    config["models"] = {"tiny": {"model": "SAMSVAE", "settings": SMALL, "train": FEW_STEPS}}
    config["seeds"] = [0]
    monkeypatch.setattr("scvi_sams.benchmark._run.score_model", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(_fit.ModelPredictor, "fit", _interrupted)
    results = run(config, tmp_path)
    assert set(results.runs["status"]) == {"done"}
    assert "iwelbo" in set(results.summary["metric"])
    assert results.runs["n_epochs"].max() == FEW_STEPS["max_epochs"]


@pytest.mark.parametrize("lost", ["model/model.pt", "fit.json"])
def test_a_model_of_which_files_were_lost_is_trained_again(config, tmp_path, lost):
    config["models"] = {"tiny": {"model": "SAMSVAE", "settings": SMALL, "train": FEW_STEPS}}
    config["seeds"] = [0]
    first = run(config, tmp_path)
    (file,) = (tmp_path / "out").rglob(lost)
    file.unlink() if lost.startswith("model") else file.write_text("{")
    (record,) = (tmp_path / "out").rglob("model_*/run.json")
    record.write_text("")
    pd.testing.assert_frame_equal(run(config, tmp_path).scores, first.scores)


def test_a_predictor_may_change_the_cells_that_it_gets(config, tmp_path):
    config["models"] = {"careless": {"predictor": f"{__name__}:Careless"}}
    config["splits"] = {"cells": {"method": "random"}}
    results = run(config | {"seeds": [0]}, tmp_path)
    assert set(results.runs["status"]) == {"done"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("screen", "Screen", id="case"),
        pytest.param("a b", "a_b", id="spaces"),
        pytest.param("x" * 300, "x" * 301, id="length"),
        pytest.param("..", ".", id="dots"),
    ],
)
def test_every_run_has_a_folder_of_its_own(tmp_path, one, other):
    folders = [_run.Run(name, "s", 0, None).folder(tmp_path / "out") for name in (one, other)]
    for folder in folders:
        folder.mkdir(parents=True)
        assert folder.resolve().relative_to((tmp_path / "out/runs").resolve()).parts[1:] == (
            "s",
            "0",
            "references",
        )
    assert len({str(folder).lower() for folder in folders}) == 2


def _interrupted(*_, **__):
    raise KeyboardInterrupt


def test_one_failure_does_not_end_the_others_and_is_tried_again(config, tmp_path):
    config["models"]["broken"] = {"predictor": f"{__name__}:Broken"}
    results = run(config, tmp_path)
    failed = results.runs[results.runs["status"] == "failed"]
    assert set(failed["model"]) == {"broken"}
    assert failed["message"].iloc[0] == "TypeError: out of luck: [/dev/null]"
    record = json.loads(
        (tmp_path / "out/runs/small/pairs/0").glob("model_broken*/run.json").__next__().read_text()
    )
    assert "out of luck" in record["traceback"]
    assert "broken" not in set(results.summary["model"])
    assert "out of luck" in (tmp_path / "out/report.html").read_text()


def test_a_predictor_that_returns_something_else_is_named(config, tmp_path):
    config["models"]["nothing"] = {"predictor": f"{__name__}:Nothing"}
    runs = run(config, tmp_path).runs.set_index("model")
    assert runs.loc["nothing", "message"].iloc[0] == (
        "TypeError: `predict` of 'nothing' returned list; it must return an AnnData."
    )


def test_results_print_as_what_became_of_the_runs(config, tmp_path):
    config["models"]["broken"] = {"predictor": f"{__name__}:Broken"}
    results = run(config, tmp_path)
    said = repr(results)
    assert said.startswith(f"Results of {len(results.runs)} runs (")
    assert "2 failed" in said
    assert f"{len(results.scores)} scores" in said


def test_predictions_from_files_are_scored(config, tmp_path):
    adata = ad.read_h5ad(tmp_path / "screen.h5ad")
    adata.X = adata.X.toarray()
    adata.X[:, 3] = 0  # a gene that the benchmark leaves out
    adata.write_h5ad(tmp_path / "screen.h5ad")
    adata.obs_names = "predicted " + adata.obs_names
    for seed in (0, 1):
        adata.write_h5ad(tmp_path / f"small_{seed}.h5ad")
    config["models"] = {"elsewhere": {"predictions": "{dataset}_{seed}.h5ad", "units": "counts"}}
    results = run(config, tmp_path)
    assert set(results.runs["status"]) == {"done"}
    of_it = results.summary.query("model == 'elsewhere' and subset == 'unseen'")
    assert of_it.set_index("metric")["mean"].notna().any()


@pytest.mark.slow  # each process imports everything
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_several_processes_find_the_same(config, tmp_path, engine):
    if engine == "ray":
        pytest.importorskip("ray")
    config["models"] = {"tiny": {"model": "SAMSVAE", "settings": SMALL, "train": FEW_STEPS}}
    one = run(config, tmp_path)
    other = benchmark.run(
        written(config | {"engine": engine}, tmp_path), tmp_path / "b", n_workers=2, progress=False
    )
    pd.testing.assert_frame_equal(one.summary, other.summary)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"engine": "ray"}, id="engine"),
        pytest.param({"models": {"m": TUNED}}, id="tune"),
    ],
)
def test_what_is_not_installed_is_named_before_anything_starts(
    config, tmp_path, monkeypatch, changes
):
    monkeypatch.setattr(_engine, "find_spec", lambda module: None)
    with pytest.raises(ModuleNotFoundError, match=r"need 'ray'.*: pip install ray"):
        run(config | changes, tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_benchmark_of_failures_alone_says_why(config, tmp_path, monkeypatch):
    config["baselines"] = []
    config["models"] = {"broken": {"predictor": f"{__name__}:Broken"}}
    monkeypatch.setattr(_run, "score_references", _broken)
    with pytest.raises(RuntimeError, match=r"No run succeeded.*no references"):
        run(config, tmp_path)


def _broken(*_):
    raise OSError("no references")


def test_all_that_cannot_be_split_is_named_before_anything_starts(config, tmp_path, monkeypatch):
    monkeypatch.setattr(_benchmark, "outcomes", _interrupted)
    (tmp_path / "text.h5ad").write_text("no data")
    small = config["datasets"]["small"]
    config["datasets"] |= {
        "text": small | {"path": "text.h5ad"},
        "other": small | {"control": "unperturbed"},
    }
    config["splits"]["lines"] = {"method": "random", "stratify_keys": ["line"]}
    with pytest.raises(ValueError, match="These splits cannot be made") as error:
        run(config, tmp_path)
    assert not (tmp_path / "out").exists()
    _, *lines = str(error.value).splitlines()
    expected = [
        ("small, lines", "no column 'line'"),
        ("text", "text.h5ad is not a readable"),
        ("other, pairs", "No cell has the control 'unperturbed'"),
        ("other, lines", "no column 'line'"),
    ]
    for line, (where, what) in zip(sorted(lines), sorted(expected), strict=True):
        assert line.startswith(f"  {where}: ")
        assert what in line
