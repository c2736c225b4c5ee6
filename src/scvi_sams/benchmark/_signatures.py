"""Arguments from a config, held against the signature of the function that will get them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from scvi_sams.benchmark._section import noun, shown, unknown_key

_NOT_NAMED = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def parameters(*functions: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Parameters of some functions or classes by name; the first that has one gives it."""
    found: dict[str, inspect.Parameter] = {}
    for function in functions:
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind not in _NOT_NAMED and name != "self":
                found.setdefault(name, parameter)
    return found


def argument_problems(
    given: Mapping[str, Any],
    function: Callable[..., Any],
    taken: Mapping[str, str],
    further: Sequence[Callable[..., Any]] = (),
) -> Iterator[tuple[str, str]]:
    """Arguments that a function does not take.

    Parameters
    ----------
    given
        Arguments by name.
    function
        What shall get them. Where its annotations can be read, values are held against them.
    taken
        Parameters that a config does not give, and where they come from instead.
    further
        Functions that ``function`` passes on what it has no parameter for.

    Yields
    ------
    Name of an argument, and what is wrong with it.
    """
    own, known = parameters(function), parameters(function, *further)
    for name, value in given.items():
        if name in taken:
            yield name, f"comes from {taken[name]}; leave it out"
        elif name not in known:
            yield name, unknown_key(name, [one for one in known if one not in taken])
        elif name in own:
            expected = expected_instead(value, function, own[name])
            if expected:
                yield name, f"must be {expected}, not {shown(value)}"


def expected_instead(
    value: object, function: Callable[..., Any], parameter: inspect.Parameter
) -> str:
    """What a parameter should be instead of ``value``; nothing if that is right."""
    try:
        config = ConfigDict(strict=True, arbitrary_types_allowed=True)
        TypeAdapter(_annotation(function, parameter), config=config).validate_python(value)
    except ValidationError as error:
        nouns = [
            f"a list of {noun(one)}" if any(isinstance(k, int) for k in one["loc"]) else noun(one)
            for one in error.errors()
        ]
        return " or ".join(dict.fromkeys(word or "something else" for word in nouns))
    return ""


def _annotation(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Type of a parameter; anything if its name is imported for type checkers alone."""
    code = function.__init__ if inspect.isclass(function) else function  # type: ignore[misc]
    try:
        return eval(parameter.annotation, inspect.unwrap(code).__globals__)
    except NameError:
        return Any
