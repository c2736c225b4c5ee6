"""Sections of a config: what is wrong in one is said all at once, and in plain words."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from scvi_sams.data._names import listed, resembling

Problem = tuple[tuple[str | int, ...], str]

_OURS = "mistake"  # the kind of pydantic's errors that are in our words already
_NOUNS = {
    "bool_type": "true or false",
    "dict_type": "keys with values",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "is_instance_of": "a list",
    "list_type": "a list",
    "model_type": "keys with values",
    "none_required": "null",
    "path_type": "text",
    "sequence_str": "a list",
    "string_type": "text",
    "tuple_type": "a list",
}


class Section(BaseModel):
    """A part of a config that lists all of its mistakes.

    Pydantic checks what lies between several fields only if each is right by itself; here that is
    read off what was given, whatever else is wrong. A section hands its mistakes on to the one
    around it, which keeps their words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def problems(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """What is wrong beyond the type of each field: where, and what."""
        yield from ()

    @classmethod
    def completed(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """What was given, and what follows from it.

        Parameters
        ----------
        given
            What the file holds.

        Returns
        -------
        The same, completed.
        """
        return given

    @model_validator(mode="wrap")
    @classmethod
    def _checked(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        problems: list[Problem] = []
        if isinstance(given, Mapping):
            problems += cls.problems(given)
            given = cls.completed(given)
        try:
            section = handler(given)
        except ValidationError as error:
            problems += [(found["loc"], cls._said(found)) for found in error.errors()]
        if problems:
            raise ValidationError.from_exception_data(
                cls.__name__,
                [
                    InitErrorDetails(type=problem_error(message), loc=where, input=None)
                    for where, message in problems
                ],
            )
        return section

    @classmethod
    def _said(cls, error: ErrorDetails) -> str:
        if error["type"] == "extra_forbidden":
            return unknown_key(str(error["loc"][-1]), cls.model_fields)
        return said(error)


def problem_error(message: str) -> PydanticCustomError:
    """An error that validators may raise, its message as it shall be read."""
    return PydanticCustomError(_OURS, message)  # type: ignore[arg-type]  # asks for a literal


def said(error: ErrorDetails) -> str:
    """What an error of pydantic says, in plain words."""
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind == _OURS:
        return error["msg"]
    if kind == "missing":
        return "is missing"
    if kind in ("too_short", "string_too_short"):
        return "must not be empty"
    if kind == "greater_than_equal":
        return f"must be at least {context['ge']}; it is {given!r}"
    if kind == "less_than_equal":
        return f"must be at most {context['le']}; it is {given!r}"
    expected = noun(error)
    return error["msg"] if expected is None else f"must be {expected}, not {shown(given)}"


def noun(error: ErrorDetails) -> str | None:
    """What was expected where a value is of the wrong kind."""
    if error["type"] == "literal_error":
        return error["ctx"]["expected"]
    return _NOUNS.get(error["type"])


def shown(value: object) -> str:
    """A value as it stands in YAML, shortened."""
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else reprlib.repr(value)


def unknown_key(name: str, known: Iterable[str]) -> str:
    """Say that a key is unknown, and what may have been meant."""
    return f"unknown key{meant(name, known)}"


def meant(name: str, known: Iterable[str]) -> str:
    """Ask for the nearest known name, or list all: ``; did you mean 'path'?``."""
    known = list(known)
    matches = resembling(name, known)
    return f"; did you mean {matches[0]!r}?" if matches else f"; there are {listed(known, 30)}"


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping, or an empty one in place of what is none."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> Sequence[Any]:
    """Items of a list, one text as an item, or none of what is neither."""
    if isinstance(value, str):
        return (value,)
    return value if isinstance(value, list | tuple) else ()
