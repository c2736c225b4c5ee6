"""Python blocks of README and docs, run in order on stand-ins of what they read."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"^(?P<skip><!-- not run: [^\n]+ -->\n+)?```python\n(?P<code>.*?)^```$", re.M | re.S
)
DOCUMENTS = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "_build" not in path.parts and "```python" in path.read_text()
]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_blocks_run(path, example_names):
    text = path.read_text()
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python")
    for block in blocks:
        if not block["skip"]:
            above = text.count("\n", 0, block.start("code"))
            exec(compile("\n" * above + block["code"], path, "exec"), example_names)
