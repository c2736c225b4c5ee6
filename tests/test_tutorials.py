"""Tutorials run from clean, and what their text says is so."""

import runpy
from pathlib import Path

import nbformat
import pytest

TUTORIALS = Path(__file__).parents[1] / "tutorials"

SIMULATED = """
assert sams.metrics.mask_recovery(found, truth["masks"])["f1"] > 0.9
assert np.corrcoef(np.ravel(ate.X), np.ravel(true_ate))[0, 1] > 0.98
assert 0.88 < inside.mean() < 0.99
assert false.sum() < 0.1 * called.sum()
assert list(cells.obs.groupby("perturbation", observed=True)["trained"].first()) == [True, False]
assert len(sams.tl.misfits(check)) < 0.01 * check.n_obs * check.n_vars
"""

PAPALEXI = """
from itertools import combinations
import numpy as np

def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

assert len(model.history["elbo_validation"]) < model.trainer.max_epochs, "stopped by itself"
effect = dict(zip(effects.obs_names, effects.X, strict=True))
# on some seeds STAT1 has a second dimension to itself
assert np.mean([cosine(effect[a], effect[b]) for a, b in combinations(pathway, 2)]) > 0.7
assert abs(np.sign(effects.to_df().loc[pathway, shared]).sum()) == 4
assert np.mean([cosine(effect[a], effect["SMAD4"]) for a in pathway]) < 0.4
inclusion = effects.to_df("inclusion_probability")
assert ((inclusion < 0.2) | (inclusion > 0.8)).to_numpy().mean() > 0.9
assert inclusion.loc[pathway, shared].min() > 0.9
# no gene's z-score against control, within replicates, is above 4, and their mean square is 1
without_effect = ["ATF2", "CAV1", "CD86", "ETV7", "IRF7", "MARCH8", "PDCD1LG2", "STAT5A"]
assert inclusion.loc[without_effect].to_numpy().max() < 0.5
cluster = effects.obs["cluster"]
assert sorted(cluster.index[cluster == cluster["STAT1"]]) == pathway
first = sets[sets["dimension"] == shared]["gene_set"].iloc[0]
assert first == "HALLMARK_INTERFERON_GAMMA_RESPONSE"
assert {"FN1", "SKI"} <= set(ate.to_df().loc["SMAD4"].nsmallest(10).index)
"""

NORMAN = """
model_, sum_, mean_ = rows.values()
assert model_["all"] > sum_["all"] - 0.02
assert model_["mean squared error"] < 0.75 * sum_["mean squared error"]
assert abs(model_["all"] - mean_["all"]) < 0.05
assert 0.85 < held.mean() < 0.995
assert not untested.obs["trained"].any()
"""


@pytest.mark.parametrize(
    ("name", "claims", "needs_data"),
    [
        pytest.param(
            "simulated_screen", SIMULATED, False, id="simulated-screen", marks=pytest.mark.slow
        ),
        pytest.param("papalexi", PAPALEXI, True, id="papalexi", marks=pytest.mark.long),
        pytest.param("norman_doubles", NORMAN, True, id="norman-doubles", marks=pytest.mark.long),
    ],
)
def test_a_tutorial_runs_and_its_claims_hold(name, claims, needs_data, tmp_path, request):
    if needs_data:
        request.getfixturevalue("data_dir")
    notebook = nbformat.read(TUTORIALS / f"{name}.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(claims))
    runpy.run_path(str(TUTORIALS / "execute.py"))["execute"](notebook, tmp_path)
    assert notebook.cells[-1].execution_count  # a claim that does not hold raises


def test_tutorials_have_outputs_and_no_errors():
    paths = sorted(TUTORIALS.glob("*.ipynb"))
    assert len(paths) == 3
    for path in paths:
        cells = nbformat.read(path, as_version=4).cells
        outputs = [out for cell in cells if cell.cell_type == "code" for out in cell.outputs]
        assert any("image/png" in out.get("data", {}) for out in outputs)
        assert all(out.output_type != "error" for out in outputs)
