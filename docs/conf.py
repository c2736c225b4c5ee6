"""Sphinx's settings. ``python docs/check.py`` builds the site and checks it."""

import inspect
import os
import shutil
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import get_args

from numpy.typing import ArrayLike
from sphinx.ext.napoleon.docstring import NumpyDocstring

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))
import facts  # noqa: E402

# Sphinx reads one folder, so what the repository keeps elsewhere is copied
shutil.copytree(facts.RESULTS, DOCS / "results", dirs_exist_ok=True)
for notebook in (DOCS.parent / "tutorials").glob("*.ipynb"):
    (DOCS / "tutorials").mkdir(exist_ok=True)
    shutil.copy2(notebook, DOCS / "tutorials")

project = "scvi-sams"
author = "The scvi-sams developers"
copyright = author
release = version_of("scvi-sams")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_templates"]
suppress_warnings = ["config.cache"]  # of typehints_formatter, which is a function
templates_path = ["_templates"]

html_theme = "sphinx_book_theme"
html_title = "scvi-sams"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "navbar_persistent": [],
    "show_toc_level": 2,
    "show_navbar_depth": 1,
    "use_download_button": False,
    "use_fullscreen_button": False,
}
html_show_sphinx = False
html_use_index = False
html_show_copyright = False

nb_execution_mode = "off"  # tutorials are stored with their outputs
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 3
myst_substitutions = facts.all_of_them()
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autosummary_generate = True
autosummary_ignore_module_all = False
toc_object_entries_show_parents = "hide"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_google_docstring = False
napoleon_use_rtype = False
typehints_defaults = "comma"
typehints_document_rtype = False  # "Returns" says more than the annotation
always_use_bars_union = True

# names of other packages are links where their inventories can be fetched, and plain elsewhere
if os.environ.get("READTHEDOCS"):
    intersphinx_mapping = {
        name: (f"https://{address}", None)
        for name, address in {
            "anndata": "anndata.readthedocs.io/en/stable/",
            "lightning": "lightning.ai/docs/pytorch/stable/",
            "matplotlib": "matplotlib.org/stable/",
            "mudata": "mudata.readthedocs.io/stable/",
            "numpy": "numpy.org/doc/stable/",
            "pandas": "pandas.pydata.org/docs/",
            "python": "docs.python.org/3/",
            "scanpy": "scanpy.readthedocs.io/en/stable/",
            "scipy": "docs.scipy.org/doc/scipy/",
            "scvi-tools": "docs.scvi-tools.org/en/stable/",
            "torch": "docs.pytorch.org/docs/stable/",
        }.items()
    }
else:
    _BUILT_IN = r"[a-z]+|[A-Z]\w*(Error|Warning|Interrupt|Exit)|Any|Ellipsis|None"
    _STANDARD = r"(collections|numbers|os|pathlib|types|typing)\..+"
    _OTHERS = (
        r"(anndata|annbatch|lightning|matplotlib|mudata|numpy|pandas|pydantic|scanpy|scipy|scvi"
        r"|sparse|torch|zarr)\..+"
    )
    nitpick_ignore_regex = [(r"py:.+", f"{_BUILT_IN}|{_STANDARD}|{_OTHERS}")]


# what annotations name that is private, by what to read instead
INSTEAD = {
    "PerturbationModel": "a :doc:`model </api/models>`",
    "PerturbationTrainingMixin": "a :doc:`model </api/models>`",
    "SAMSVAEModule": "the model's ``module``",
    "_HasEffects": "a :doc:`model </api/models>`",
    "_HasResponses": "a :doc:`model </api/models>`",
}
ARRAY_LIKE = set(get_args(ArrayLike))
PUBLIC = {
    (public.__module__, public.__qualname__): f"{module.__name__}.{name}"
    for module in facts.public_modules()
    for name, public in vars(module).items()
    if name in module.__all__ and not inspect.ismodule(public)
}


def typehints_formatter(annotation, config):
    """Public names, or words, for what annotations name by where it is defined."""
    members = set(get_args(annotation))
    if members >= ARRAY_LIKE:
        others = "".join(" | None" for _ in members - ARRAY_LIKE)
        return f":py:data:`~numpy.typing.ArrayLike`{others}"
    module, name = (getattr(annotation, key, "") for key in ("__module__", "__qualname__"))
    if not str(module).startswith("scvi_sams") or not isinstance(annotation, type):
        return None
    if (module, name) in PUBLIC:
        return f":py:class:`~{PUBLIC[module, name]}`"
    return INSTEAD[name]


def is_left_out(app, what, name, member, skip, options):
    """Leave out what classes inherit from other packages."""
    function = inspect.unwrap(getattr(member, "fget", member))
    module = getattr(function, "__module__", None)
    return skip or (callable(function) and not str(module).startswith("scvi_sams"))


def move_links(app, document, source):
    """Links of the repository as links of the site, which holds the same files elsewhere."""
    up = "../" if "/" in document else ""
    source[0] = (
        source[0]
        .replace("](../benchmarks/results/", f"]({up}results/")
        .replace("](../docs/", f"]({up}")
    )


def whole_returns(docstring, section):
    """Returns as they are written: napoleon takes a list for names and types."""
    lines = docstring._dedent(docstring._consume_to_next_section())
    return [*docstring._format_block(":returns: ", lines), ""]


NumpyDocstring._parse_returns_section = whole_returns


def setup(app):
    """Register what is above."""
    app.connect("autodoc-skip-member", is_left_out)
    app.connect("source-read", move_links)
