"""scvi-tools' private parts, of which one file knows.

Nothing here imports the package, so that these tests say what moved when it cannot be imported:
``python -m pytest --noconftest tests/test_scvi.py``.
"""

import ast
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "scvi_sams"
DOOR = SOURCE / "_scvi.py"
# where the package overrides or calls methods that scvi-tools does not promise
METHODS = {
    "scvi.model.base.BaseMinifiedModeModelClass": [
        "_check_if_trained",
        "_get_init_params",
        "_get_setup_method_args",
        "_get_user_attributes",
        "_make_data_loader",
        "_validate_anndata",
    ],
    "scvi.module.base.BaseMinifiedModeModuleClass": [
        "_cached_inference",
        "_get_generative_input",
        "_get_inference_input",
        "_regular_inference",
    ],
    "scvi.train.TrainingPlan": ["compute_and_log_metrics.__wrapped__"],
}


def imports_of(file: Path) -> set[tuple[str, str]]:
    """Modules and names that a file imports of scvi-tools, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level:
            found |= {(node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
    return {(module, name) for module, name in found if module.split(".")[0] == "scvi"}


def is_private(module: str, name: str) -> bool:
    return any(part.startswith("_") for part in [*module.split("."), name])


@pytest.mark.parametrize(
    ("module", "name"),
    [pytest.param(*each, id=".".join(each)) for each in sorted(imports_of(DOOR))],
)
def test_scvi_tools_has_the_private_name(module, name):
    where = f"scvi-tools {version('scvi-tools')}"
    try:
        found = import_module(module)
    except ImportError:
        pytest.fail(f"{where} has no module {module}, of which {DOOR.name} takes {name}")
    if not hasattr(found, name):
        pytest.fail(f"{where} has no {name} in {module}; {DOOR.name} takes it from there")


@pytest.mark.parametrize(
    ("owner", "name"),
    [pytest.param(owner, name, id=name) for owner, names in METHODS.items() for name in names],
)
def test_scvi_tools_has_the_private_method(owner, name):
    module, cls = owner.rsplit(".", 1)
    found = getattr(import_module(module), cls)
    for part in name.split("."):
        if not hasattr(found, part):
            pytest.fail(f"scvi-tools {version('scvi-tools')} has no {name} in {owner}")
        found = getattr(found, part)


def test_no_other_file_imports_private_names():
    found = {
        str(file.relative_to(SOURCE)): sorted(
            ".".join(each) for each in imports_of(file) if is_private(*each)
        )
        for file in SOURCE.rglob("*.py")
        if file != DOOR
    }
    assert len(found) > 100
    assert not {file: names for file, names in found.items() if names}


def test_the_one_file_knows_private_names_only():
    assert imports_of(DOOR)
    assert all(is_private(*each) for each in imports_of(DOOR))
