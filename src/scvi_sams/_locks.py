"""Locks of folders, between processes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None

logger = logging.getLogger(__name__)

_PATIENCE = 3600.0  # seconds; others hold a folder while they read or upload it
_UNTIL_TOLD = 10.0
_BETWEEN_TRIES = 0.02


@contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Keep other processes from locking the folder, or, if shared, from locking it alone.

    A lock ends with its process, however that ends. It leaves no file behind.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    TimeoutError
        If others hold it for longer than an hour.
    """
    try:
        lock = take(folder, shared=shared, patience=_PATIENCE)
    except BlockingIOError:
        raise TimeoutError(
            f"Other processes have been reading or writing {folder} for {_PATIENCE / 60:.0f} "
            "minutes. End them, or name another folder."
        ) from None
    try:
        yield
    finally:
        release(lock)


def take(folder: Path, *, shared: bool = False, patience: float = 0.0) -> int | None:
    """Lock a folder; returns what :func:`release` takes, None where it cannot be locked.

    Raises
    ------
    BlockingIOError
        If another holds it for longer than ``patience`` seconds.
    """
    if fcntl is None:
        return None
    start, is_told = time.monotonic(), False
    while True:
        try:
            lock = os.open(folder, os.O_RDONLY)
        except PermissionError:
            return None
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(folder)):
                return lock
        except BlockingIOError:
            waited = time.monotonic() - start
            if waited > patience:
                os.close(lock)
                raise
            if waited > _UNTIL_TOLD and not is_told:
                logger.warning(f"Waiting for other processes that read or write {folder}.")
                is_told = True
        except FileNotFoundError:  # removed since it was opened
            os.close(lock)
            raise
        except OSError:  # of a file system that has no locks
            os.close(lock)
            return None
        os.close(lock)
        time.sleep(_BETWEEN_TRIES)


def release(lock: int | None) -> None:
    """Give back what :func:`take` returned."""
    if lock is not None:
        fcntl.flock(lock, fcntl.LOCK_UN)  # processes forked meanwhile have it open, too
        os.close(lock)
