"""Configs: what they mean, and what is said of wrong ones."""

import inspect
import re

import pytest
from pydantic import ValidationError

import scvi_sams as sams
from scvi_sams.benchmark._config import BASELINES, METHODS, Benchmark, Split, read_config
from scvi_sams.benchmark._dataset import Dataset
from scvi_sams.benchmark._model import MODELS, Model
from scvi_sams.data._screens import SCREENS

MINIMAL = """
name: small
datasets:
  mine: {path: mine.h5ad, perturbation_key: perturbation, control: control}
splits:
  random: {method: random}
"""
FULL = """
name: all that there is
datasets:
  mine:
    path: mine.h5ad
    keep: {dataset: norman19, batch: [1, 2]}
    perturbation_key: perturbation
    control: [control, 0]
    delimiter: "+"
    batch_key: replicate
    layer: counts
    covariate_keys: cell_type
    min_counts: 10
    n_top_genes: 2000
    splits: [doubles, other lines]
  norman: {loader: norman_2019, splits: random}
splits:
  random: {method: random, stratify_keys: [perturbation], test_share: 1e-1}
  doubles: {method: combinations, held_out: [A+B], seen_share: 0.2}
  other lines: {method: transfer}
models:
  SAMS-VAE: {model: SAMSVAE}
  correlated:
    model: SAMSVAE
    settings: {effect_guide: correlated, mask_prior: [beta, 1, 9], dropout_rate: null}
    train: {max_epochs: 100, limit_train_batches: 0.5, plan_kwargs: {lr: 1e-4}}
    setup: {size_factor_key: total}
  tuned:
    model: SVAEPlus
    tune:
      n_samples: 3
      search:
        n_latent: {choice: [20, 50]}
        n_hidden: {randint: [16, 128]}
        batch_size: {choice: [128, 512]}
        lr: {loguniform: [1e-4, 1e-2]}
        dropout_rate: {uniform: [0, 0.5]}
  mine: {predictor: "scvi_sams.baselines:Additive"}
  elsewhere: {predictions: "cpa/{dataset}_{split}_{seed}.h5ad", units: counts}
baselines: [ControlMean, PerturbedMean]
seeds: [3, 1]
metrics: [rmse, iwelbo]
n_cells: 200
engine: ray
n_workers: 2
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Read a config that stands beside its data."""
    monkeypatch.delenv("SCVI_SAMS_DATA_DIR", raising=False)
    (tmp_path / "mine.h5ad").touch()

    def read(text):
        (tmp_path / "config.yaml").write_text(text.removeprefix("\n"), encoding="utf-8")
        return read_config(tmp_path / "config.yaml")

    return read


def mistakes_of(read, text):
    """Lines of the message, without its first."""
    with pytest.raises(ValueError, match=r"config\.yaml has") as error:
        read(text)
    first, *lines = str(error.value).splitlines()
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    assert first == f"config.yaml has {count}:"
    return [line.removeprefix("  ") for line in lines]


def test_a_minimal_config_has_defaults(read, tmp_path):
    benchmark = read(MINIMAL)
    assert benchmark.data_folder == tmp_path
    assert benchmark.models == {}
    assert benchmark.baselines == BASELINES
    assert set(BASELINES) == set(sams.baselines.__all__) - {"Baseline"}
    assert benchmark.seeds == (0, 1, 2)
    assert benchmark.metrics is None
    assert (benchmark.n_cells, benchmark.engine, benchmark.n_workers) == (1000, "local", 1)
    dataset = benchmark.datasets["mine"]
    assert dataset.columns == {
        "perturbation_key": "perturbation",
        "control": ["control"],
        "delimiter": "+",
        "covariate_keys": None,
    }
    assert (dataset.batch_key, dataset.layer, dataset.min_counts) == (None, None, 0)
    assert (dataset.n_top_genes, dataset.keep, dataset.splits) == (None, {}, None)
    assert benchmark.tasks() == [("mine", "random", seed) for seed in (0, 1, 2)]


def test_a_full_config_is_read(read):
    benchmark = read(FULL)
    mine = benchmark.datasets["mine"]
    assert mine.keep == {"dataset": ("norman19",), "batch": ("1", "2")}
    assert mine.control == ("control", "0")
    assert mine.covariate_keys == ("cell_type",)
    models = benchmark.models
    assert models["correlated"].train["plan_kwargs"] == {"lr": 1e-4}
    search = models["tuned"].tune.search
    assert (search["lr"].kind, search["lr"].values) == ("loguniform", (1e-4, 1e-2))
    assert (search["n_latent"].kind, search["n_latent"].values) == ("choice", (20, 50))


def test_tasks_are_those_of_each_dataset_seed_by_seed(read):
    once = [("mine", "doubles"), ("mine", "other lines"), ("norman", "random")]
    assert read(FULL).tasks() == [(*task, seed) for seed in (3, 1) for task in once]


def test_a_config_survives_json(read):
    written = read(FULL).model_dump(mode="json")
    assert Benchmark.model_validate(written).model_dump(mode="json") == written


def test_a_config_is_frozen(read):
    with pytest.raises(ValidationError, match="frozen"):
        read(MINIMAL).name = "other"


@pytest.mark.parametrize("name", SCREENS)
def test_a_recipe_gives_the_columns_of_a_loader(name):
    dataset, recipe = Dataset(loader=name), sams.datasets.recipe(name)
    assert dataset.perturbation_key == recipe["perturbation_key"]
    assert dataset.control == (recipe["control"],)
    assert dataset.delimiter == recipe["delimiter"]
    assert dataset.batch_key == recipe.get("batch_key")
    assert dataset.layer == recipe.get("layer")
    assert list(dataset.covariate_keys) == recipe.get("categorical_covariate_keys", [])
    assert Dataset(loader=name, covariate_keys=["mine"]).covariate_keys == ("mine",)


def test_a_split_gets_the_columns_that_it_takes():
    dataset = Dataset(
        path="x", perturbation_key="p", control="c", batch_key="b", covariate_keys="line"
    )
    columns = {"perturbation_key": "p", "control": ["c"], "delimiter": "+"}
    of_split = {name: Split(method=name).arguments(dataset) for name in METHODS}
    assert of_split == {
        "random": {},
        "combinations": columns,
        "inverse_combinations": columns,
        "transfer": columns | {"covariate_keys": ["line"]},
        "replicate": {"batch_key": "b"},
    }
    given = Split(method="replicate", batch_key="other", test=["x"]).arguments(dataset)
    assert given == {"batch_key": "other", "test": ["x"]}


@pytest.mark.parametrize(
    ("line", "folder"),
    [
        pytest.param("", ".", id="beside the config"),
        pytest.param("data_folder: inside", "inside", id="relative to it"),
        pytest.param("data_folder: {tmp_path}/inside", "inside", id="absolute"),
    ],
)
def test_the_data_folder_is_relative_to_the_config(read, tmp_path, line, folder):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "mine.h5ad").touch()
    found = read(MINIMAL + line.format(tmp_path=tmp_path))
    assert found.data_folder == (tmp_path / folder).resolve()


def test_the_data_folder_is_that_of_the_environment(read, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.h5ad").touch()
    monkeypatch.setenv("SCVI_SAMS_DATA_DIR", str(tmp_path / "elsewhere"))
    assert read(MINIMAL).data_folder == tmp_path / "elsewhere"
    assert read(MINIMAL + "data_folder: .").data_folder == tmp_path


def test_all_mistakes_are_listed_at_once_by_line(read):
    text = """
name: wrong
datasets:
  papalexi:
    pth: mine.h5ad
    perturbation_key: perturbation
    splits: [random, randm]
    min_counts: ten
  norman:
    loader: norman2019
splits:
  random: {method: randm}
  doubles:
    method: combinations
    sen_share: 0.2
models:
  SAMS: {model: SAMSVA}
  fine:
    model: SAMSVAE
    settings:
      n_latnt: 3
    tune: {n_samples: 0}
  fine: {}
seeds: [0, -1]
enigne: ray
"""
    assert mistakes_of(read, text) == [
        "line 3: datasets.papalexi: needs a `path` to a file, or a `loader` of sams.datasets",
        "line 4: datasets.papalexi.pth: unknown key; did you mean 'path'?",
        "line 6: datasets.papalexi.splits[1]: no split is called 'randm'; did you mean 'random'?",
        "line 7: datasets.papalexi.min_counts: must be a whole number, not 'ten'",
        "line 9: datasets.norman.loader: no public screen is called 'norman2019'; did you mean "
        "'norman_2019'?",
        "line 11: splits.random.method: no split is called 'randm'; did you mean 'random'?",
        "line 14: splits.doubles.sen_share: unknown key; did you mean 'seen_share'?",
        "line 16: models.SAMS.model: no model is called 'SAMSVA'; did you mean 'SAMSVAE'?",
        "line 20: models.fine.settings.n_latnt: unknown key; did you mean 'n_latent'?",
        "line 21: models.fine.tune.n_samples: must be at least 1; it is 0",
        "line 21: models.fine.tune.search: is missing",
        "line 22: models.fine: is given twice, first in line 17",
        "line 23: seeds[1]: must be at least 0; it is -1",
        "line 24: enigne: unknown key; did you mean 'engine'?",
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        pytest.param("sedes: [1]", "sedes: unknown key; did you mean 'seeds'?", id="key"),
        pytest.param("xyz: 1", "xyz: unknown key; there are 'name', 'data_folder'", id="strange"),
        pytest.param("name: x", "name: is given twice, first in line 1", id="key twice"),
        pytest.param("seeds: []", "seeds: must not be empty", id="no seeds"),
        pytest.param("seeds: 3", "seeds: must be a list, not 3", id="one seed"),
        pytest.param("seeds: [1, 2, 1]", "seeds[2]: 1 is there twice", id="seed twice"),
        pytest.param("seeds: [1.5]", "seeds[0]: must be a whole number, not 1.5", id="half"),
        pytest.param("seeds: [true]", "seeds[0]: must be a whole number, not true", id="truth"),
        pytest.param("seeds: [4294967296]", "seeds[0]: must be at most 4294967295", id="large"),
        pytest.param(
            "baselines: [Mean]",
            "baselines[0]: no baseline is called 'Mean'; did you mean 'ControlMean'?",
            id="baseline",
        ),
        pytest.param(
            "baselines: [Baseline]",
            "baselines[0]: no baseline is called 'Baseline'",
            id="abstract",
        ),
        pytest.param(
            "baselines: [Additive, Additive]",
            "baselines[1]: 'Additive' is there twice",
            id="baseline twice",
        ),
        pytest.param("baselines:", "baselines: must be a list, not nothing", id="empty"),
        pytest.param(
            "metrics: [RMSE]",
            "metrics[0]: no metric is called 'RMSE'; did you mean 'rmse'?",
            id="metric",
        ),
        pytest.param("n_cells: 0", "n_cells: must be at least 1; it is 0", id="cells"),
        pytest.param("n_workers: '2'", "n_workers: must be a whole number, not '2'", id="quoted"),
        pytest.param(
            "engine: slurm", "engine: must be 'local' or 'ray', not 'slurm'", id="engine"
        ),
        pytest.param("data_folder: 3", "data_folder: must be text, not 3", id="folder"),
        pytest.param(
            "models: [SAMSVAE]", "models: must be keys with values, not ['SAMSVAE']", id="list"
        ),
    ],
)
def test_mistakes_at_the_top_are_named(read, lines, said):
    (mistake,) = mistakes_of(read, MINIMAL + lines)
    assert mistake.startswith(f"line 6: {said}")


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        pytest.param(
            "{path: mine.h5ad, perturbation_key: p, control: c, loader: op3}",
            "d.loader: goes with no `path`; leave one of them out",
            id="path and loader",
        ),
        pytest.param(
            "{path: mine.h5ad, control: c}", "d.perturbation_key: is missing", id="no labels"
        ),
        pytest.param(
            "{path: mine.h5ad, perturbation_key: p}", "d.control: is missing", id="no control"
        ),
        pytest.param(
            "{path: mine.h5ad, perturbation_key: 1, control: c}",
            "d.perturbation_key: must be text, not 1",
            id="number as a column",
        ),
        pytest.param(
            "{path: mine.h5ad, perturbation_key: p, control: [[c]]}",
            "d.control[0]: must be text, not ['c']",
            id="list as a label",
        ),
        pytest.param(
            "{path: mine.h5ad, perturbation_key: p, control: []}",
            "d.control: must not be empty",
            id="empty control",
        ),
        pytest.param(
            "{path: other.h5ad, perturbation_key: p, control: c}",
            "d.path: there is no file ",
            id="no file",
        ),
        pytest.param(
            "{loader: op3, control: DMSO}",
            "d.control: comes from the recipe of 'op3'; leave it out",
            id="other than the recipe",
        ),
        pytest.param("", "d: must be keys with values, not nothing", id="nothing"),
    ],
)
def test_mistakes_of_a_dataset_are_named(read, dataset, said):
    text = f"name: x\nsplits: {{random: {{method: random}}}}\ndatasets:\n  d: {dataset}"
    (mistake,) = mistakes_of(read, text)
    assert mistake.startswith(f"line 4: datasets.{said}")


@pytest.mark.parametrize(
    ("split", "said"),
    [
        pytest.param("{}", "splits.s.method: is missing", id="no method"),
        pytest.param(
            "{method: check_no_leak}",
            "splits.s.method: no split is called 'check_no_leak'",
            id="another function",
        ),
        pytest.param(
            "{method: random, seed: 1}",
            "splits.s.seed: comes from the benchmark; leave it out",
            id="seed",
        ),
        pytest.param(
            "{method: combinations, control: x}",
            "splits.s.control: comes from the dataset; leave it out",
            id="column",
        ),
        pytest.param(
            "{method: combinations, held_out: A+B}",
            "splits.s.held_out: must be a list, not 'A+B'",
            id="one label",
        ),
        pytest.param(
            "{method: random, stratify_keys: [1]}",
            "splits.s.stratify_keys: must be text or a list of text, not [1]",
            id="number in a list",
        ),
        pytest.param(
            "{method: random, test_share: half}",
            "splits.s.test_share: must be a number, not 'half'",
            id="text as a number",
        ),
        pytest.param(
            "{method: transfer}",
            "datasets.mine: split 's' needs `covariate_keys`, which is not given",
            id="no covariates",
        ),
        pytest.param(
            "{method: replicate}",
            "datasets.mine: split 's' needs `batch_key`, which is not given",
            id="no batches",
        ),
    ],
)
def test_mistakes_of_a_split_are_named(read, split, said):
    text = MINIMAL.replace("random: {method: random}", f"s: {split}")
    (mistake,) = mistakes_of(read, text)
    assert mistake.split(": ", 1)[1].startswith(said)


def test_a_split_of_combinations_needs_a_delimiter(read):
    text = MINIMAL.replace("method: random", "method: combinations")
    assert read(text).datasets["mine"].delimiter == "+"
    (mistake,) = mistakes_of(read, text.replace("control: control", "control: c, delimiter: null"))
    assert "split 'random' needs `delimiter`" in mistake


@pytest.mark.parametrize(
    ("model", "said"),
    [
        pytest.param("{}", ": needs exactly one of `model`, `predictor` and", id="none"),
        pytest.param(
            "{model: SAMSVAE, predictor: a:B}",
            ": needs exactly one of `model`, `predictor` and `predictions`; there are model and "
            "predictor",
            id="two",
        ),
        pytest.param("{model: 1}", ".model: must be text, not 1", id="number"),
        pytest.param(
            "{model: SAMSVAE, settings: {registry: {}}}",
            ".settings.registry: comes from the dataset",
            id="of the dataset",
        ),
        pytest.param(
            "{model: ConditionalVAE, settings: {effect_guide: correlated}}",
            ".settings.effect_guide: unknown key",
            id="setting of another model",
        ),
        pytest.param(
            "{model: SAMSVAE, settings: {effect_guide: correlatd}}",
            ".settings.effect_guide: must be 'spike_slab', 'mean_field' or 'correlated', not "
            "'correlatd'",
            id="unknown choice",
        ),
        pytest.param(
            "{model: SAMSVAE, settings: {n_latent: 1e2}}",
            ".settings.n_latent: must be a whole number, not 100.0",
            id="float as a count",
        ),
        pytest.param(
            "{model: SAMSVAE, settings: [n_latent]}",
            ".settings: must be keys with values, not ['n_latent']",
            id="list of settings",
        ),
        pytest.param(
            "{model: SAMSVAE, train: {max_epoch: 3}}",
            ".train.max_epoch: unknown key; did you mean 'max_epochs'?",
            id="argument of train",
        ),
        pytest.param(
            "{model: SAMSVAE, train: {split_key: split}}",
            ".train.split_key: comes from the split",
            id="of the split",
        ),
        pytest.param(
            "{model: SAMSVAE, train: {lr: 1e-3}}",
            ".train.lr: belongs under `plan_kwargs`",
            id="of the plan",
        ),
        pytest.param(
            "{model: SAMSVAE, train: {plan_kwargs: {lr: fast}}}",
            ".train.plan_kwargs.lr: must be a number, not 'fast'",
            id="argument of the plan",
        ),
        pytest.param(
            "{model: SAMSVAE, setup: {batch_key: b}}",
            ".setup.batch_key: comes from the dataset",
            id="column of the dataset",
        ),
        pytest.param(
            "{model: SAMSVAE, setup: {size_factor: s}}",
            ".setup.size_factor: unknown key; did you mean 'size_factor_key'?",
            id="argument of setup",
        ),
        pytest.param(
            "{model: SAMSVAE, units: counts}",
            ".units: goes with `predictions`, not with `model`",
            id="units of a model",
        ),
        pytest.param(
            "{model: SAMSVAE, tune: {search: {}}}", ".tune.search: must not be empty", id="space"
        ),
        pytest.param(
            "{model: SAMSVAE, tune: {search: {n_latnt: {choice: [1]}}}}",
            ".tune.search.n_latnt: unknown key; did you mean 'n_latent'?",
            id="parameter",
        ),
        pytest.param(
            "{model: SAMSVAE, settings: {n_latent: 3}, tune: {search: {n_latent: {choice: [1]}}}}",
            ".tune.search.n_latent: has a value in `settings` or `train` already",
            id="parameter with a value",
        ),
        pytest.param(
            "{model: SAMSVAE, tune: {search: {lr: {normal: [0, 1], choice: [1]}}}}",
            ".tune.search.lr.normal: unknown key",
            id="distribution",
        ),
        pytest.param(
            "{model: SAMSVAE, tune: {search: {lr: {choice: [1], uniform: [0, 1]}}}}",
            ".tune.search.lr: needs exactly one of `choice`, `uniform`",
            id="two distributions",
        ),
        pytest.param(
            "{model: SAMSVAE, tune: {search: {lr: {choice: []}}}}",
            ".tune.search.lr.choice: must not be empty",
            id="no choice",
        ),
        pytest.param(
            "{model: SAMSVAE, tune: {search: {lr: {uniform: [1, 0]}}}}",
            ".tune.search.lr.uniform: must be two numbers, the second above the first",
            id="falling bounds",
        ),
        pytest.param(
            "{model: SAMSVAE, tune: {search: {lr: {uniform: [a, b]}}}}",
            ".tune.search.lr.uniform: must be two numbers, [lowest, highest]",
            id="bounds of text",
        ),
        pytest.param(
            "{model: SAMSVAE, tune: {search: {lr: {loguniform: [0, 1]}}}}",
            ".tune.search.lr.loguniform: must be of positive numbers; the lowest is 0",
            id="logarithm of nothing",
        ),
        pytest.param(
            "{model: SAMSVAE, tune: {search: {n_latent: {randint: [1, 2.5]}}}}",
            ".tune.search.n_latent.randint[1]: must be a whole number, not 2.5",
            id="broken bounds",
        ),
        pytest.param(
            "{predictor: scvi_sams.baselines}",
            ".predictor: cannot be imported: 'scvi_sams.baselines' is not of the form",
            id="module alone",
        ),
        pytest.param(
            "{predictor: 'scvi_sams.nothing:A'}",
            ".predictor: cannot be imported: No module named 'scvi_sams.nothing'",
            id="no module",
        ),
        pytest.param(
            "{predictor: 'scvi_sams.baselines:A'}",
            ".predictor: cannot be imported: module 'scvi_sams.baselines' has no 'A'",
            id="no class",
        ),
        pytest.param(
            "{predictor: 'scvi_sams:SAMSVAE'}",
            ".predictor: 'scvi_sams:SAMSVAE' has no method `fit`",
            id="no fit",
        ),
        pytest.param(
            "{predictor: 'scvi_sams.baselines:Additive', settings: {alpha: 1}}",
            ".settings: 'scvi_sams.baselines:Additive' does not take them: got an unexpected "
            "keyword argument 'alpha'",
            id="setting of a predictor",
        ),
        pytest.param(
            "{predictor: 'scvi_sams.baselines:Additive', tune: {search: {a: {choice: [1]}}}}",
            ".tune: goes with `model`, not with `predictor`",
            id="tuned predictor",
        ),
        pytest.param("{predictions: p.h5ad}", ".units: is missing", id="no units"),
        pytest.param(
            "{predictions: p.h5ad, units: tpm}",
            ".units: must be 'counts' or 'log1p counts per 10,000', not 'tpm'",
            id="units",
        ),
        pytest.param(
            "{predictions: '{model}.h5ad', units: counts}",
            ".predictions: may hold {dataset}, {split} and {seed}, not {model}",
            id="template",
        ),
        pytest.param(
            "{predictions: '{seed.h5ad', units: counts}",
            ".predictions: has braces that do not fit together",
            id="braces",
        ),
    ],
)
def test_mistakes_of_a_model_are_named(read, model, said):
    mistakes = mistakes_of(read, f"{MINIMAL}models:\n  m: {model}")
    assert mistakes[-1].startswith(f"line 7: models.m{said}")


@pytest.mark.parametrize(
    ("template", "lacking"),
    [
        pytest.param("p.h5ad", ["split", "seed"], id="all"),
        pytest.param("{split}.h5ad", ["seed"], id="seed"),
        pytest.param("{dataset}_{split}_{seed:02}.h5ad", [], id="none"),
    ],
)
def test_each_split_and_seed_has_predictions_of_its_own(read, template, lacking):
    text = MINIMAL + "  other: {method: random}\nmodels:\n  m: {predictions: '%s', units: counts}"
    if not lacking:
        assert read(text % template).models["m"].predictions == template
        return
    mistakes = mistakes_of(read, text % template)
    found = [re.search(r"predictions: needs {(\w+)}", mistake)[1] for mistake in mistakes]
    assert found == lacking


@pytest.mark.parametrize("section", ["datasets", "splits", "models"])
def test_names_are_not_empty(read, section):
    name = {"datasets": "mine", "splits": "random", "models": "m"}[section]
    text = f"{MINIMAL}models:\n  m: {{model: SAMSVAE}}".replace(f"  {name}:", '  "":')
    assert any("must have a name" in mistake for mistake in mistakes_of(read, text))


def test_a_predictor_whose_module_fails_is_a_mistake(read, tmp_path):
    (tmp_path / "fails_at_once.py").write_text("1 / 0")
    (mistake,) = mistakes_of(read, MINIMAL + "models:\n  m: {predictor: 'fails_at_once:M'}")
    assert mistake.endswith("cannot be imported: division by zero")


@pytest.mark.parametrize("name", ["ceiling", "references", "Additive"])
def test_the_names_of_baselines_are_taken(read, name):
    (mistake,) = mistakes_of(read, f"{MINIMAL}models:\n  {name}: {{model: SAMSVAE}}")
    assert mistake == (
        f"line 7: models.{name}: is what results call a baseline or the ceiling; rename it"
    )


def test_a_section_that_is_missing_or_empty_is_named(read):
    assert mistakes_of(read, "datasets: {}") == [
        "line 1: name: is missing",
        "line 1: datasets: must not be empty",
        "line 1: splits: is missing",
    ]
    assert mistakes_of(read, "") == ["line 1: must be keys with values, not nothing"]


def test_a_file_that_is_no_yaml_is_named_by_line(read):
    assert mistakes_of(read, "name: x\nseeds: [1]]")[0].startswith("line 2: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "config.yaml cannot be read: No such file", id="no file"),
        pytest.param("é".encode("latin-1"), "config.yaml is no UTF-8 text", id="encoding"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, said):
    if content is not None:
        (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(said)):
        read_config(tmp_path / "config.yaml")


def test_models_are_checked_without_a_file_too():
    with pytest.raises(ValidationError, match="no model is called 'SAMSVA'"):
        Model(model="SAMSVA")


@pytest.mark.parametrize("name", MODELS)
def test_every_default_of_a_model_may_be_given(name):
    parameters = inspect.signature(MODELS[name]).parameters.values()
    settings = {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.name not in ("adata", "registry")
    }
    assert Model(model=name, settings=settings).settings == settings
