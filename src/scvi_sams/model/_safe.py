"""Reading a saved model without running code that it may hold."""

from __future__ import annotations

import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from threading import Lock
from typing import Any

import numpy as np
import torch

from scvi_sams._scvi import _SETUP_METHOD_NAME, SAVE_KEYS
from scvi_sams.model._safe_arrays import ALLOWED, PickledArray

_SETUPS = ("setup_anndata", "setup_mudata")
_PLAIN = (str, bytes, bool, int, float, complex, type(None), slice, np.generic, torch.Tensor)
_KEYS = (SAVE_KEYS.MODEL_STATE_DICT_KEY, SAVE_KEYS.VAR_NAMES_KEY, SAVE_KEYS.ATTR_DICT_KEY)
_lock = Lock()


def read_safely(path: str | Path) -> dict[str, Any]:
    """Read ``model.pt`` if it holds nothing but numbers, text, arrays and their containers.

    A pickle calls what its author chose. Here a name that is not on the allow-list is refused
    before it is called (:func:`torch.load` with ``weights_only=True``), numpy's own constructors
    are not on it, and so are refused a setup that is none of this package's and attributes that
    no model saves, since loading would call and set them.

    Parameters
    ----------
    path
        File that :meth:`~scvi_sams.SAMSVAE.save` wrote.

    Raises
    ------
    ValueError
        If the file is missing or cannot be read, or holds something else; the message names it.
    """
    try:
        with _nothing_but(ALLOWED), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # refused next
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        saved = _plain(loaded)
        _check(saved)
    except FileNotFoundError:
        raise ValueError(
            f"There is no saved model at {path}. One of Hugging Face is loaded by `sams.hub.pull`."
        ) from None
    except UnpicklingError as error:
        raise ValueError(_refusal(path, str(error))) from None
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{path} was not loaded: it is damaged, or no model: {error}") from error
    return saved


@contextmanager
def _nothing_but(allowed: list[Any]) -> Iterator[None]:
    """Torch's allow-list, which a process shares, without what others put there."""
    with _lock:
        before = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)


def _plain(value: Any, found: dict[int, Any] | None = None) -> Any:
    """The value with arrays in place of what stands in for them.

    ``found`` are values by their ids: a few bytes can hold one value as often as they like.
    """
    found = {} if found is None else found
    if id(value) not in found:
        found[id(value)] = _plain_itself(value, found)
    return found[id(value)]


def _plain_itself(value: Any, found: dict[int, Any]) -> Any:
    if type(value) is PickledArray:
        array = value.value
        if type(array) is not np.ndarray:
            raise ValueError(f"it holds a {type(array).__name__} for an array")
        if array.dtype.hasobject:
            flat = array.ravel(order="K")
            flat[:] = [_plain(item, found) for item in flat]
        return array
    if type(value) in (dict, OrderedDict):
        return type(value)(
            (_plain(key, found), _plain(item, found)) for key, item in value.items()
        )
    if type(value) in (list, tuple, set):
        return type(value)(_plain(item, found) for item in value)
    if not isinstance(value, _PLAIN):
        raise ValueError(f"it holds a {type(value).__name__}")
    return value


def _check(saved: Any) -> None:
    """Raise unless it is what scvi-tools saves of a model."""
    if type(saved) is not dict or set(saved) != set(_KEYS):
        raise ValueError("it is none that scvi-tools saved")
    attributes = saved[SAVE_KEYS.ATTR_DICT_KEY]
    if type(attributes) is not dict or type(attributes.get("registry_")) is not dict:
        raise ValueError("it does not say how its data was set up")
    for name in attributes:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*_", name):
            raise ValueError(f"no model has an attribute {name!r}")
    setup = setup_method(attributes["registry_"])
    if setup not in _SETUPS:
        raise ValueError(f"it asks for {setup!r} to set up its data")
    if not isinstance(saved[SAVE_KEYS.MODEL_STATE_DICT_KEY], dict):
        raise ValueError("it holds no weights")


def setup_method(registry: dict[str, Any]) -> str:
    """Name of the method that set the data up; minified models do not say it."""
    return str(registry.get(_SETUP_METHOD_NAME, _SETUPS[0]))


def _refusal(path: str | Path, message: str) -> str:
    named = re.search(r"GLOBAL (\S+)", message) or re.search(r"class '([^']+)'", message)
    what = f"`{named[1]}`" if named else message.splitlines()[0]
    return (
        f"{path} was not loaded: it holds {what}, which is no number, text or array, and could "
        "run code. Models that were saved with this package hold nothing of the kind: it was "
        "changed, or is of another package. If you trust whoever made it, load it by plain `load`."
    )
