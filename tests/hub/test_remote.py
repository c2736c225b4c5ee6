"""Uploads and downloads, against a stand-in of the hub on loopback."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import scvi_sams as sams
from tests.hub.server import TOKEN, serving

START = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import scvi_sams as sams
"""


@pytest.fixture
def hub():
    with serving() as found:
        yield found


@pytest.fixture
def python(hub, tmp_path):
    """Run code in a process of its own: the endpoint is read when the package is imported."""

    def run(code, **environment):
        settings = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",  # a transfer that the stand-in does not speak
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", START + code],
            env=os.environ | settings,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.strip().split("\n")[-1])

    return run


@pytest.fixture
def folder(model, tmp_path):
    folder = sams.hub.to_hub(model, tmp_path / "shared", license="mit")
    (folder / "secret.txt").write_text("not to be shared")
    return folder


def test_pulled_model_is_the_one_that_was_pushed(model, folder, hub, python):
    found = python(f"""
from scvi.hub import HubModel

commit = sams.hub.push({str(folder)!r}, "lab/screen", private=True, message="First")
pulled = sams.hub.pull("lab/screen", revision=commit, accelerator="cpu")
plain = HubModel.pull_from_huggingface_hub("lab/screen").model
effects = [
    one.get_average_treatment_effects("pert_1", n_samples=50).X.tolist()
    for one in (pulled, plain)
]
print(json.dumps([commit, pulled.minified_data_type, effects]))
""")
    commit, minified, effects = found
    repo = hub.repos["lab/screen"]
    assert repo.private
    assert (repo.order[-1], repo.messages[-1]) == (commit, "First")
    shared = {path.name: path.read_bytes() for path in folder.iterdir()}
    del shared["secret.txt"]
    assert repo.commits[commit] == shared
    assert minified == "latent_posterior_parameters"
    expected = model.get_average_treatment_effects("pert_1", n_samples=50).X
    for one in effects:
        np.testing.assert_allclose(one, expected, atol=1e-5)


def test_a_push_without_data_removes_those_of_an_earlier_one(model, folder, hub, python):
    bare = sams.hub.to_hub(model, folder.parent / "bare", license="mit", data=None)
    found = python(f"""
for folder in ({str(folder)!r}, {str(bare)!r}):
    sams.hub.push(folder, "lab/screen")
print(json.dumps(sams.hub.pull("lab/screen", adata=False).adata))
""")
    assert found is None
    first, second = (
        hub.repos["lab/screen"].commits[sha] for sha in hub.repos["lab/screen"].order[1:]
    )
    assert set(first) - set(second) == {"adata.h5ad"}
    assert not any(line.endswith("adata.h5ad") for line in hub.asked if "/resolve/" in line)


def test_pulled_code_is_not_run_and_what_went_wrong_is_said(folder, python, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'owned'}",)

    saved = torch.load(folder / "model.pt", weights_only=False)
    saved["attr_dict"]["run_name_"] = Evil()
    torch.save(saved, folder / "model.pt")
    evil, missing, refused, public, empty = python(f"""
def said(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception as error:
        return f"{{type(error).__name__}}: {{error}}"

sams.hub.push({str(folder)!r}, "lab/screen")
print(json.dumps([
    said(sams.hub.pull, "lab/screen", adata=False),
    said(sams.hub.pull, "lab/none"),
    said(sams.hub.push, {str(folder)!r}, "lab/other", token="wrong"),
    said(sams.hub.push, {str(folder)!r}, "lab/screen", private=True),
    said(sams.hub.push, {str(tmp_path)!r}, "lab/other"),
]))
""")
    assert "system" in evil
    assert "could run code" in evil
    assert not (tmp_path / "owned").exists()
    assert "lab/none" in missing
    assert "401" in refused
    assert "and public; nothing was uploaded" in public
    assert "write it with `sams.hub.to_hub`" in empty
