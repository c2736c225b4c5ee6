"""Types of the fields of a config."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from scvi_sams.benchmark._section import items, problem_error


def several(value: Any) -> Any:
    """A list, or one text, as a tuple; what is neither stays, to be refused."""
    return tuple(items(value)) if isinstance(value, str | list) else value


def labels(value: Any) -> Any:
    """The same of labels, which may be numbers in the file but are text in obs."""
    values = value if isinstance(value, list | tuple) else (value,)
    return tuple(
        str(label) if isinstance(label, bool | int | float) else label for label in values
    )


def rising(value: Any) -> Any:
    """Two bounds, the second above the first."""
    pair = isinstance(value, list | tuple) and len(value) == 2
    if not pair or not all(isinstance(bound, int | float) for bound in value):
        raise problem_error("must be two numbers, [lowest, highest]")
    if value[0] >= value[1]:
        raise problem_error(f"must be two numbers, the second above the first, not {value!r}")
    return tuple(value)


Names = Annotated[tuple[str, ...], BeforeValidator(several)]
SomeNames = Annotated[Names, Field(min_length=1)]
Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, le=2**32 - 1)], ...],
    BeforeValidator(several),
    Field(min_length=1),
]
Labels = Annotated[tuple[str, ...], BeforeValidator(labels), Field(min_length=1)]
Values = Annotated[tuple[Any, ...], BeforeValidator(several), Field(min_length=1)]
Bounds = Annotated[tuple[float, float], BeforeValidator(rising)]
WholeBounds = Annotated[tuple[int, int], BeforeValidator(rising)]
