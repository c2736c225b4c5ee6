"""Execute notebooks from clean and store them with their outputs.

Usage: SCVI_SAMS_DATA_DIR=... python tutorials/execute.py tutorials/*.ipynb
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

CHATTER = re.compile(r"it/s|s/it|\x1b\[")  # progress bars, coloured logs


def execute(notebook: nbformat.NotebookNode, folder: Path | str) -> None:
    """Run all cells in a kernel of their own, in ``folder``."""
    NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    ).execute()


def without_chatter(notebook: nbformat.NotebookNode) -> None:
    """Drop progress bars and what libraries say of themselves, which differ between runs."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if output.output_type == "stream":
                kept = [] if output.name == "stderr" else output.text.splitlines(keepends=True)
                output.text = "".join(x for x in kept if not CHATTER.search(x))
        cell.outputs = [x for x in cell.outputs if x.output_type != "stream" or x.text.strip()]


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            execute(notebook, folder)
        without_chatter(notebook)
        nbformat.write(notebook, path)
        print(path)


if __name__ == "__main__":
    main()
