"""What sharing needs beyond the package."""

from __future__ import annotations

import importlib
from typing import Any


def huggingface_hub() -> Any:
    """The module, or an error that says how to install it."""
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise ImportError(
            'Sharing models needs huggingface_hub: `pip install "scvi-sams[hub]"`.'
        ) from error
