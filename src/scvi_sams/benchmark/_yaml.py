"""YAML, and in which line everything stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]

# what unquoted words mean in YAML 1.2: of the older rules that PyYAML follows, 1e-4 is text and
# the label "no" is false
_WORDS: list[tuple[re.Pattern[str], Callable[[str], Any]]] = [
    (re.compile(r"null|Null|NULL|~|"), lambda word: None),
    (re.compile(r"true|True|TRUE|false|False|FALSE"), lambda word: word.lower() == "true"),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
]


@dataclass(frozen=True)
class Mistake:
    """Something that is wrong in a file.

    Attributes
    ----------
    line
        Where, from 1.
    path
        Keys and positions that lead to it.
    message
        What is wrong.
    """

    line: int
    path: Path
    message: str

    def __str__(self) -> str:
        """Write it in a line."""
        steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path]
        where = "".join(steps).removeprefix(".")
        return f"line {self.line}: {where}{': ' if where else ''}{self.message}"


@dataclass
class Document:
    """What a YAML file says.

    Attributes
    ----------
    content
        Mappings, lists and scalars; keys are text.
    lines
        Line of each path; of an alias in a list, that of its anchor.
    mistakes
        Keys that are given twice, and what else has no meaning.
    """

    content: Any = None
    lines: dict[Path, int] = field(default_factory=lambda: {(): 1})
    mistakes: list[Mistake] = field(default_factory=list)

    def mistake(self, path: Path, message: str) -> Mistake:
        """Something that is wrong at ``path``, or where it is missing."""
        known = next(path[:n] for n in range(len(path), -1, -1) if path[:n] in self.lines)
        return Mistake(self.lines[known], path, message)


def read_yaml(text: str) -> Document:
    """Read a YAML document; of one that is malformed, only the mistake.

    Unquoted words are null, true, false, whole numbers and floats as in YAML 1.2, and else text;
    tags and merge keys mean nothing.
    """
    document = Document()
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.mistakes.append(Mistake(mark.line + 1 if mark else 1, (), f"{error.problem}"))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        document.mistakes.append(Mistake(line, (), f"no text: {error.reason}"))
    else:
        document.content = None if root is None else _content(root, (), (), document)
    return document


def _content(
    node: yaml.Node, path: Path, around: tuple[yaml.Node, ...], document: Document
) -> Any:
    """Content of a node; lines and mistakes go to the document."""
    if node in around:
        document.mistakes.append(document.mistake(path, "contains itself"))
        return None
    around = (*around, node)
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                document.mistakes.append(Mistake(line, path, "a key must be text"))
                continue
            here = (*path, key.value)
            if key.value in found:
                again = f"is given twice, first in line {document.lines[here]}"
                document.mistakes.append(Mistake(line, here, again))
                continue
            document.lines[here] = line
            found[key.value] = _content(value, here, around, document)
        return found
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            document.lines[(*path, position)] = item.start_mark.line + 1
        return [
            _content(item, (*path, position), around, document)
            for position, item in enumerate(node.value)
        ]
    if node.style is None:
        for pattern, made in _WORDS:
            if pattern.fullmatch(node.value):
                return made(node.value)
    return node.value
