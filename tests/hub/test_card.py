"""Cards that say what a model was trained on."""

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import ModelCard

import scvi_sams as sams
from tests.conftest import MODELS, trained


def card_of(model, folder, **kwargs):
    sams.hub.to_hub(model, folder / "shared", **{"license": "mit", "data": None} | kwargs)
    return ModelCard.load(folder / "shared" / "README.md")


def rows_of(card):
    cells = [line.strip("| ").split(" | ") for line in card.text.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in cells}


@pytest.mark.parametrize("name", MODELS)
def test_card_says_what_was_perturbed_and_measured(screen, tmp_path, name):
    model = trained(screen, cls=MODELS[name])
    card = card_of(model, tmp_path)
    rows = rows_of(card)
    n_training = len(model.train_indices)
    labels = screen.obs["perturbation"].to_numpy()[model.train_indices]
    n_controls = (labels == "control").sum()
    assert rows["Cells"] == [
        f"{len(screen)}, of which {n_training} in training, {n_controls} of them controls"
    ]
    assert rows["Genes"][0].startswith("30: gene_0, gene_1")
    assert rows["Genes"][0].endswith("and 10 more")
    assert rows["Perturbations"][0] == f"{len(model.perturbation_names)}: " + ", ".join(
        model.perturbation_names
    )
    pairs = {label for label in labels if "+" in label}
    n_together = 0 if name == "SVAEPlus" else len(pairs)
    assert rows["Conditions in training"][0].endswith(f"{n_together} combinations")
    assert rows["Batches"] == ["2"]
    assert rows["Epochs"] == [str(len(model.history["elbo_train"]))]
    assert rows["`gene_likelihood`"] == ["`'nb'`"]


def test_card_has_the_header_that_the_hub_reads(model, tmp_path):
    card = card_of(model, tmp_path, description="Of blood.", references="Us (2026).")
    assert card.data.license == "mit"
    assert card.data.library_name == "scvi-tools"
    assert "model_cls_name:SAMSVAE" in card.data.tags
    assert "Of blood." in card.text
    assert "- Us (2026)." in card.text
    assert 'pip install "scvi-sams[hub]"' in card.text


def test_card_says_how_intervals_were_calibrated(model, tmp_path):
    model.uncertainty_["misfit"]["log2_cp10k"] = np.array([1.25, 0.375])
    text = card_of(model, tmp_path).text
    assert "1.25 times the variance of the decoder and 0.375 times" in text


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        pytest.param({"ate_pearson": 0.61234}, {"ate_pearson": ["0.6123"]}, id="names"),
        pytest.param(
            pd.DataFrame({"model": ["a|b"], "rmse": [0.5]}), {"model": ["rmse"]}, id="table"
        ),
        pytest.param(
            pd.DataFrame({"rmse": [0.25]}, index=pd.Index(["SAMS-VAE"], name="model")),
            {"model": ["rmse"], "SAMS-VAE": ["0.25"]},
            id="indexed",
        ),
    ],
)
def test_card_shows_the_scores_given(model, tmp_path, metrics, expected):
    card = card_of(model, tmp_path, metrics=metrics)
    assert "## Metrics" in card.text
    assert rows_of(card).items() >= expected.items()


def test_the_code_of_the_card_runs(model, tmp_path):
    card = card_of(model, tmp_path)
    code = card.text.split("```python\n")[1].split("```")[0]
    code = code.replace('sams.hub.pull("user/name")', "sams.hub.load_safely(folder, False)")
    found = {"folder": tmp_path / "shared"}
    exec(code, found)
    assert type(found["model"]) is sams.SAMSVAE
