"""Every public name is documented in full, and stands in the API pages."""

import inspect
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

API = Path(__file__).parents[1] / "docs" / "api"
MODULES = ["baselines", "benchmark", "datasets", "hub", "metrics", "pl", "pp", "splits", "tl"]
MODULES = ["scvi_sams", *(f"scvi_sams.{name}" for name in [*MODULES, "train"])]


def public_objects():
    """Public name and object of all that modules name in ``__all__``, modules left out."""
    for module in MODULES:
        if find_spec(module) is None:
            continue
        for name in import_module(module).__all__:
            public = getattr(import_module(module), name)
            if not inspect.ismodule(public):
                yield f"{module}.{name}", public


def documented_functions():
    """Public functions, and public methods of this package that are no hooks of others."""
    for name, public in public_objects():
        if not inspect.isclass(public):
            yield name, public
            continue
        for method_name, method in inspect.getmembers(public, callable):
            function = inspect.unwrap(method)
            is_ours = str(getattr(function, "__module__", "")).startswith("scvi_sams")
            is_new = is_ours and not is_override(public, method_name)
            if is_new and inspect.isroutine(function) and not method_name.startswith("_"):
                yield f"{name}.{method_name}", function


def section(docstring, title):
    """Text of a section of a docstring."""
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", docstring, flags=re.M | re.S)
    return "" if found is None else found[1]


def documented_parameters(docstring):
    """Names of the parameters that a docstring describes, several of them on some lines."""
    lines = re.findall(r"^\S.*$", section(docstring, "Parameters"), flags=re.M)
    return {name.strip(" *") for line in lines for name in line.split(":")[0].split(",")}


def parameters(function):
    """Names of the parameters that a caller gives."""
    names = list(inspect.signature(function).parameters.values())
    return {each.name for each in names if each.name not in ("self", "cls")}


def is_override(owner, name):
    """Whether a method is a hook, whose contract is that of the package that calls it."""
    return any(
        name in vars(base)
        for base in inspect.getmro(owner)
        if base.__module__.startswith(("lightning", "pydantic", "scvi.train", "torch"))
    )


@pytest.mark.parametrize(
    ("name", "public"), [pytest.param(*both, id=both[0]) for both in public_objects()]
)
def test_a_public_name_has_a_docstring_and_a_place_in_the_api(name, public):
    assert inspect.getdoc(public)
    listed = [line.strip() for page in API.glob("*.md") for line in page.read_text().splitlines()]
    assert listed.count(name.removeprefix("scvi_sams.")) == 1


@pytest.mark.parametrize(
    ("name", "function"), [pytest.param(*both, id=both[0]) for both in documented_functions()]
)
def test_a_docstring_says_what_goes_in_and_what_comes_out(name, function):
    docstring = inspect.getdoc(function)
    assert docstring
    missing = parameters(function) - documented_parameters(docstring)
    assert not missing, f"{name} does not describe {sorted(missing)}"
    returns = str(inspect.signature(function).return_annotation)
    if returns not in ("None", "Never", str(inspect.Signature.empty)):
        is_said = section(docstring, "Returns") or section(docstring, "Yields")
        assert is_said, f"{name} does not say what it returns"


@pytest.mark.parametrize(
    ("name", "public"),
    [pytest.param(*both, id=both[0]) for both in public_objects() if inspect.isclass(both[1])],
)
def test_a_class_describes_its_arguments(name, public):
    if issubclass(public, Exception) or "Attributes\n---" in inspect.getdoc(public):
        return
    if public.__init__ is object.__init__ or getattr(public, "_is_protocol", False):
        return
    missing = parameters(public.__init__) - documented_parameters(inspect.getdoc(public))
    assert not missing, f"{name} does not describe {sorted(missing)}"
