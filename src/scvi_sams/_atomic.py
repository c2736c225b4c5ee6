"""Files that are there whole or not at all (the full version comes with the branch of saving)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A file to write beside ``path``, which takes its place in one step at the end."""
    aside = path.with_name(f".writing-{path.name}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
