"""Trying a door with many cases, and counting what came of it."""

from __future__ import annotations

import io
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from tests.fuzz.fingerprint import changes, fingerprint
from tests.fuzz.verdict import complaints, unlisted

SETUP = ("obs._scvi", "obsm._scvi", "obsm.perturbations", "uns._scvi", "uns.perturbations_names")
_COMMON: dict[str, Any] = {
    "database": None,
    "deadline": None,
    "phases": [Phase.generate, Phase.shrink],
    "print_blob": True,
    "report_multiple_bugs": False,
    "suppress_health_check": list(HealthCheck),
}
# CI tries the same cases each time; the nightly run tries others every night
PROFILES: dict[str, dict[str, Any]] = {
    "ci": {"derandomize": True},
    "nightly": {"derandomize": False},
}
tally: Counter[tuple[str, str]] = Counter()


@dataclass(frozen=True)
class Answer:
    """What a door gave: a value, or a refusal."""

    value: Any = None
    refusal: str | None = None
    warned: tuple[str, ...] = ()


def ask(
    call: Callable[[], Any],
    objects: Mapping[str, Any],
    *,
    given: Iterable[str] = (),
    additions: tuple[str, ...] = (),
) -> Answer:
    """Call a door and check all that holds whatever it was given.

    An error is a refusal which names its culprit and leaves ``objects`` as they were; a result
    comes without unlisted warnings and changes nothing but for the documented ``additions``.
    """
    before = {name: fingerprint(value) for name, value in objects.items()}
    error: Exception | None = None
    value = None
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            try:
                value = call()
            except Exception as raised:  # noqa: BLE001 - judged below
                error = raised
    if error is not None:
        additions = ()
        wrong = complaints(error, given)
        if wrong:
            raise AssertionError("; ".join(wrong)) from error
    for name, old in before.items():
        changed = changes(old, fingerprint(objects[name]), additions)
        assert not changed, f"{name} was changed in {changed} ({error=})"
    said = unlisted(warned)
    assert not said, f"warned of {said}"
    messages = tuple(str(w.message) for w in warned)
    if error is not None:
        return Answer(refusal=str(error.args[0]), warned=messages)
    return Answer(value, warned=messages)


def fuzzed(
    door: str, cases: SearchStrategy[Any], *, ci: int, nightly: int
) -> Callable[[Callable[[Any], Answer]], Callable[[str], None]]:
    """Make a check of one case a test of many, run with every profile.

    Parameters
    ----------
    door
        What is tried, for the table at the end.
    cases
        Strategy of the cases.
    ci, nightly
        Number of cases in either profile.
    """
    n_cases = {"ci": ci, "nightly": nightly}

    def decorate(check: Callable[[Any], Answer]) -> Callable[[str], None]:
        def counted(case: Any) -> None:
            try:
                answer = check(case)
            except BaseException:
                tally[door, "crashes"] += 1
                raise
            tally[door, "results" if answer.refusal is None else "refusals"] += 1

        counted.__qualname__ = check.__qualname__  # what is derandomised by it

        @pytest.mark.parametrize(
            "profile",
            [pytest.param("ci"), pytest.param("nightly", marks=pytest.mark.fuzz)],
        )
        def test(profile: str) -> None:
            tried = settings(**_COMMON, **PROFILES[profile], max_examples=n_cases[profile])
            level = logging.getLogger("scvi").level
            logging.getLogger("scvi").setLevel(logging.ERROR)
            try:
                tried(given(cases)(counted))()
            finally:
                logging.getLogger("scvi").setLevel(level)

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorate
