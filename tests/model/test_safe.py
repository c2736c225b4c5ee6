"""Models from elsewhere, which must not run code."""

import operator
import os
import pickle
import struct
import zipfile
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyro
import pytest
import torch

import scvi_sams as sams
from scvi_sams.model._safe import read_safely
from tests.conftest import MODELS, trained

EVERYTHING = {
    "size_factor_key": "depth",
    "dosage_key": "dosage",
    "categorical_covariate_keys": ["donor"],
    "continuous_covariate_keys": ["age"],
    "control": ["control"],
}


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


class Forged:
    """Pickled as an object of another type, in any state."""

    def __init__(self, function, arguments, state):
        self.made_of = function, arguments, state

    def __reduce__(self):
        return self.made_of


@pytest.fixture
def owned(tmp_path):
    """A file that is there once code was run."""
    return tmp_path / "owned"


def changed(model, folder, change):
    """Save a model with a change to what the file holds."""
    model.save(str(folder))
    saved = torch.load(folder / "model.pt", weights_only=False)
    change(saved)
    torch.save(saved, folder / "model.pt")
    return folder


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "setup", [pytest.param({}, id="labels"), pytest.param(EVERYTHING, id="everything")]
)
def test_whatever_the_package_saves_can_be_loaded_safely(screen, tmp_path, name, setup):
    if name == "SVAEPlus":
        setup = {key: value for key, value in setup.items() if key != "dosage_key"}
    model = trained(screen, cls=MODELS[name], setup=setup)
    model.save(str(tmp_path / "model"), save_anndata=True)
    safe = MODELS[name].load(tmp_path / "model", safe=True, accelerator="cpu")
    plain = MODELS[name].load(tmp_path / "model", accelerator="cpu")
    assert safe.adata.shape == screen.shape
    for loaded in (safe, plain):
        np.testing.assert_array_equal(
            loaded.get_latent_representation(), model.get_latent_representation()
        )
        for key, table in model.history.items():
            pd.testing.assert_frame_equal(loaded.history[key], table, check_dtype=False)
    bare = MODELS[name].load(tmp_path / "model", adata=False, safe=True)
    assert bare.adata is None


def hidden(evil, where):
    """Put an object into what a model file holds."""

    def change(saved):
        if where == "attribute":
            saved["attr_dict"]["run_name_"] = evil
        elif where == "weights":
            saved["model_state_dict"]["z"] = evil
        elif where == "names":
            saved["var_names"] = np.array([evil], dtype=object)
        else:
            saved["attr_dict"]["registry_"]["setup_args"]["control"] = evil

    return change


@pytest.mark.parametrize("where", ["attribute", "weights", "names", "registry"])
def test_code_in_a_model_is_refused_by_name(model, tmp_path, owned, where):
    folder = changed(model, tmp_path / "model", hidden(Call(os.mkdir, str(owned)), where))
    for load in (partial(sams.SAMSVAE.load, safe=True), sams.hub.load_safely):
        with pytest.raises(ValueError, match=r"`\w+\.mkdir`.*could run code"):
            load(folder)
    assert not owned.exists()


def test_plain_loading_runs_code(model, tmp_path, owned):
    """Why there is another."""
    folder = changed(model, tmp_path / "model", hidden(Call(os.mkdir, str(owned)), "attribute"))
    sams.SAMSVAE.load(folder, adata=False)
    assert owned.is_dir()


def test_what_others_allow_is_not_allowed_and_stays_allowed(model, tmp_path, owned):
    folder = changed(model, tmp_path / "model", hidden(Call(os.mkdir, str(owned)), "attribute"))
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([os.mkdir, np.ndarray])
    try:
        with pytest.raises(ValueError, match="could run code"):
            read_safely(folder / "model.pt")
        assert {os.mkdir, np.ndarray} <= set(torch.serialization.get_safe_globals())
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
    assert not owned.exists()


OBJECTS, NUMBERS, BYTES = np.dtype("O"), np.dtype("f8"), b"12345678"
FLAGS = (3, "|", None, None, None, -1, -1, 0)
FIELDS = (3, "|", None, ("a",), {"a": (NUMBERS, 1 << 20)}, 8, 1, 0)


@pytest.mark.parametrize(
    ("dtype", "dtype_state", "shape", "content"),
    [
        pytest.param(OBJECTS, FLAGS, (1,), BYTES, id="pointers"),
        pytest.param(OBJECTS, None, (5,), [1], id="too-few-objects"),
        pytest.param(NUMBERS, None, (5,), BYTES, id="too-few-numbers"),
        pytest.param(NUMBERS, None, (-1,), BYTES, id="negative-shape"),
        pytest.param(np.dtype([("a", "O")]), None, (1,), [(1,)], id="records"),
        pytest.param(np.dtype("V8"), FIELDS, (1,), BYTES, id="fields-outside"),
    ],
)
def test_arrays_that_would_break_memory_are_refused(
    model, tmp_path, dtype, dtype_state, shape, content
):
    if dtype_state is not None:
        dtype = Forged(np.dtype, dtype.__reduce__()[1], dtype_state)
    rebuild, arguments = np.empty(0).__reduce__()[:2]
    array = Forged(rebuild, arguments, (1, shape, dtype, False, content))
    model.save(str(tmp_path / "model"))
    path = tmp_path / "model" / "model.pt"
    saved = torch.load(path, weights_only=False)
    saved["attr_dict"]["run_name_"] = array
    torch.save(saved, path)
    with pytest.raises(ValueError, match="was not loaded"):
        read_safely(path)


@pytest.mark.parametrize(
    "evil",
    [
        pytest.param(Call(eval, "1"), id="eval"),
        pytest.param(Call(operator.attrgetter, "system"), id="attrgetter"),
        pytest.param(Path("here"), id="path"),
        pytest.param(pd.DataFrame({"a": [1]}), id="pandas"),
    ],
)
def test_other_objects_are_refused(model, tmp_path, evil):
    folder = changed(model, tmp_path / "model", lambda saved: saved["attr_dict"].update(run_=evil))
    with pytest.raises(ValueError, match=r"it holds `.*` *, which is no number"):
        read_safely(folder / "model.pt")


NAME = b"cnumpy\nndarray\n)\x81"  # what stands in for a class, made anew
ARRAY = b"cscvi_sams.model._safe_arrays\nPickledArray\n"


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def state(*pairs):
    return b"}(" + b"".join(text(name) + value for name, value in pairs) + b"u"


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(NAME + state(("evil", text("x"))) + b"b", id="attributes-of-a-name"),
        pytest.param(
            NAME + b"N" + state(("__class__", ARRAY), ("value", text("x"))) + b"\x86b",
            id="another-class-of-a-name",
        ),
        pytest.param(
            ARRAY + b")\x81" + b"N" + state(("value", text("x"))) + b"\x86b",
            id="array-of-nothing",
        ),
    ],
)
def test_what_stands_in_for_arrays_cannot_be_forged(tmp_path, forged):
    attributes = state(("registry_", b"}"), ("run_", forged))
    content = state(("model_state_dict", b"}"), ("var_names", b"]"), ("attr_dict", attributes))
    path = tmp_path / "model.pt"
    torch.save({}, tmp_path / "empty.pt")
    with zipfile.ZipFile(tmp_path / "empty.pt") as empty, zipfile.ZipFile(path, "w") as made:
        for name in empty.namelist():
            is_pickle = name.endswith("data.pkl")
            made.writestr(name, b"\x80\x02" + content + b"." if is_pickle else empty.read(name))
    with pytest.raises(ValueError, match="was not loaded: it is damaged, or no model"):
        read_safely(path)


def test_what_is_there_often_is_read_once(model, tmp_path):
    def nest(saved):
        for _ in range(60):  # 10^60 items, in a few kilobytes
            saved["attr_dict"]["run_"] = [saved["attr_dict"].get("run_", 1)] * 10

    folder = changed(model, tmp_path / "model", nest)
    found = read_safely(folder / "model.pt")["attr_dict"]["run_"]
    assert len(found) == 10
    assert found[0] is found[9]


def test_a_bare_pickle_is_refused(tmp_path, owned):
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Call(os.mkdir, str(owned))))
    with pytest.raises(ValueError, match=r"model\.pt was not loaded"):
        read_safely(path)
    assert not owned.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda saved: saved["attr_dict"]["registry_"].update(setup_method_name="load"),
            "'load'",
            id="setup",
        ),
        pytest.param(
            lambda saved: saved["attr_dict"].update(module=1), "attribute 'module'", id="attribute"
        ),
        pytest.param(lambda saved: saved.pop("var_names"), "no model", id="keys"),
    ],
)
def test_what_loading_would_call_or_set_is_checked(model, tmp_path, change, message):
    folder = changed(model, tmp_path / "model", change)
    with pytest.raises(ValueError, match=message):
        sams.SAMSVAE.load(folder, safe=True)


@pytest.mark.parametrize("content", [None, b"", b"no model", b"PK\x03\x04damaged"])
def test_missing_and_damaged_files_are_told(tmp_path, content):
    if content is not None:
        (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.pt"):
        sams.SAMSVAE.load(tmp_path, safe=True)


def test_every_damaged_file_is_told(model, tmp_path):
    model.save(str(tmp_path / "model"))
    path = tmp_path / "model" / "model.pt"
    whole = path.read_bytes()
    start = whole.index(b"attr_dict")
    rng = np.random.default_rng(0)
    n_refused = 0
    for position in rng.integers(start - 2_000, start + 5_000, 60):
        damaged = bytearray(whole)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:  # of some bytes it is still a model
            read_safely(path)
        except ValueError:
            n_refused += 1
    assert n_refused


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda saved: saved["attr_dict"].pop("registry_"), id="no-registry"),
        pytest.param(lambda saved: saved["attr_dict"].update(registry_=[1]), id="registry"),
        pytest.param(lambda saved: saved.update(attr_dict=3), id="attributes"),
        pytest.param(lambda saved: saved.update(model_state_dict=3), id="weights"),
        pytest.param(
            lambda saved: saved["attr_dict"]["registry_"].update(model_name=["SAMSVAE"]), id="name"
        ),
        pytest.param(lambda saved: saved["attr_dict"].update(history_=3), id="history"),
    ],
)
def test_files_that_are_no_models_are_told(model, tmp_path, change):
    folder = changed(model, tmp_path / "model", change)
    with pytest.raises(ValueError, match="model"):
        sams.hub.load_safely(folder)


@pytest.mark.parametrize("how", ["link", "data"])
def test_data_that_reads_other_files_is_refused(model, tmp_path, how):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["numbers"] = np.arange(4.0)
    model.save(str(tmp_path / "model"), save_anndata=True)
    with h5py.File(tmp_path / "model" / "adata.h5ad", "a") as file:
        if how == "link":
            file["uns/stolen"] = h5py.ExternalLink(str(secret), "/numbers")
        else:
            file["uns"].create_dataset("stolen", (4,), "f8", external=[(str(secret), 0, 32)])
    with pytest.raises(ValueError, match="/uns/stolen is read from elsewhere"):
        sams.SAMSVAE.load(tmp_path / "model", safe=True)


def test_what_pyro_holds_of_other_models_is_not_saved(model, tmp_path):
    pyro.param("theirs", torch.ones(2))
    try:
        model.save(str(tmp_path / "model"))
        assert "theirs" in pyro.get_param_store()
    finally:
        pyro.clear_param_store()
    saved = read_safely(tmp_path / "model" / "model.pt")
    assert not saved["model_state_dict"]["pyro_param_store"]["params"]
