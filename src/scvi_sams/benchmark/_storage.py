"""Files that are whole or not there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scvi_sams._atomic import replaced

if TYPE_CHECKING:
    import pandas as pd


def write_text(text: str, path: Path) -> None:
    """Write a file in one step."""
    with replaced(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(values: Mapping[str, Any], path: Path) -> None:
    """Write a JSON file in one step."""
    write_text(json.dumps(values, indent=1), path)


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing if it is not there, or was cut off as by a full disk."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def digest(path: Path) -> str | None:
    """Hash of what a file holds; None if it is not there."""
    if not path.is_file():
        return None
    about = path.stat()
    return _digest(path, about.st_size, about.st_mtime_ns)


@lru_cache
def _digest(path: Path, size: int, changed: int) -> str:
    """The same, read once for all runs as long as the file stays as it is."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a parquet file in one step."""
    with replaced(path) as part:
        table.to_parquet(part, index=False)
