"""Whether an answer is one that a user may get: a result, or a refusal made on purpose."""

from __future__ import annotations

import dis
import re
from collections.abc import Iterable
from pathlib import Path
from warnings import WarningMessage

import scvi_sams

PACKAGE = Path(scvi_sams.__file__).parent
ERRORS = (ValueError, KeyError, TypeError, NotImplementedError)
_PLACES = re.compile(r"`[\w.=\[\]'\"]+`|\b(adata|obs|obsm|uns|layers)\b|\bX\b|'[^']+'")

# what a result may come with
WARNINGS = [
    # ours
    r"holds values that are no integers",
    r"has no control cells, and .* reads? like (a )?control",
    r"perturbation\(s\) have no training cell",
    r"is left out, with fewer than \d+ cells",
    r"has no control cells.*average treatment effects",
    r"cell\(s\) of the prediction .* are cells of `observed`",
    r"of the \d+ genes of `observed` are compared",
    # of scvi-tools and AnnData, about data that are small or odd
    r"Last batch will have a small size",
    r"has fewer than 3 cells",
    r"cells moved from training set to validation set",
    r"names are not unique",
    r"faster when sparse matrix is formatted as CSR",
    r"^From 0\.4 .update",
    r"option is deprecated",
    r"isinstance.treespec, LeafSpec",
    r"does not have many workers",
    r"is smaller than the logging interval",
]


def is_refusal(error: BaseException) -> bool:
    """Whether a ``raise`` of the package made the error: its innermost frame is at one.

    An error of numpy, pandas or the interpreter that passes through the package ends at a call,
    a subscript or an operator, in another file or in ours, and is no refusal.
    """
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return (
        type(error) in ERRORS
        and Path(code.co_filename).is_relative_to(PACKAGE)
        and dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"
    )


def complaints(error: BaseException, given: Iterable[str]) -> list[str]:
    """What is wrong with an error; nothing if it is a refusal that names its culprit.

    Parameters
    ----------
    error
        What was raised.
    given
        Names of arguments and of places that the call was given, one of which is at fault.
    """
    found = []
    message = str(error.args[0]) if error.args else ""
    if not is_refusal(error):
        found.append(f"{type(error).__name__} is no refusal of ours: {message}")
    if not _PLACES.search(message) and not any(name in message for name in given if name):
        found.append(f"names no culprit: {message}")
    if not message.rstrip().endswith((".", "?", ")")):
        found.append(f"is no sentence: {message}")
    return found


def unlisted(warned: Iterable[WarningMessage]) -> list[str]:
    """Warnings that a user should not see."""
    texts = [f"{w.category.__name__}: {w.message}" for w in warned]
    messages = [str(w.message) for w in warned]
    return [
        text
        for text, message in zip(texts, messages, strict=True)
        if not any(re.search(pattern, message) for pattern in WARNINGS)
    ]
