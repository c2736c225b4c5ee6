"""Files that are written whole or not at all, also if the process is killed or the disk is full.

What is written grows in a folder ``.writing-…`` beside its place. A single file is then renamed.
Several files become valid at once as their folder is renamed to ``.written``; then they are moved,
and where that was cut short the next who reads or writes the folder does the rest.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from scvi_sams._locks import locked, release, take

_GROWING, _WRITTEN, _LEAVING = ".writing-", ".written", ".leaving"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PROBE = bytes(2**16)


@contextmanager
def replaced(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to; what is there when the block ends becomes the file ``path``.

    If the block fails, or the process is killed, the file stays as it was.

    Parameters
    ----------
    path
        The file, in a folder that exists. The yielded path has its name and file system.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    OSError
        If the disk is full.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    with _aside(path.parent) as aside, _explained(path, aside):
        growing = aside / path.name
        yield growing
        _sync(growing)
        os.replace(growing, path)
    _sync(path.parent)


@contextmanager
def replaced_together(folder: str | Path, *, leaving: Collection[str] = ()) -> Iterator[Path]:
    """Yield a folder to write files to, which move to ``folder`` together when the block ends.

    If the block fails, the files of ``folder`` stay as they were. If the process is killed,
    :func:`whole` finds all of them as they were or all of them new.

    Parameters
    ----------
    folder
        Where the files belong; made if it is not there. Others in it stay.
    leaving
        Names of files that go if they are not written anew.

    Raises
    ------
    OSError
        If the disk is full.
    """
    folder = Path(folder)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _aside(folder) as aside:
            with _explained(folder, aside):
                yield aside
                left = sorted({*leaving} - {path.name for path in aside.iterdir()})
                (aside / _LEAVING).write_text(json.dumps(left), encoding="utf-8")
                for path in aside.iterdir():
                    _sync(path)
                _sync(aside)
            with locked(folder):
                _put_in_place(folder)  # of another, killed since
                os.rename(aside, folder / _WRITTEN)
                _sync(folder)
                _put_in_place(folder)
    except BaseException:
        if is_new:
            with suppress(OSError):  # not empty: another has written to it
                folder.rmdir()
        raise
    if is_new:
        _sync(folder.parent)


@contextmanager
def whole(folder: str | Path) -> Iterator[None]:
    """Let the block read files that were written together, as long as it likes.

    Parameters
    ----------
    folder
        Where they are. Without such a folder nothing happens.

    Raises
    ------
    OSError
        If files of a process that was killed remain to be moved, and cannot be.
    """
    folder = Path(folder)
    while folder.is_dir():
        with locked(folder, shared=True):
            if not (folder / _WRITTEN).is_dir():
                yield
                return
        with locked(folder):
            _put_in_place(folder)
    yield


def is_taken(folder: str | Path) -> bool:
    """Whether a path holds anything but what a process that was killed had not yet written."""
    folder = Path(folder)
    if not folder.is_dir():
        return os.path.lexists(folder)
    return not all(path.name.startswith(_GROWING) for path in folder.iterdir())


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """Yield a new folder on the file system of ``folder``, in which others see it is in use."""
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "There is no such folder", str(folder))
    aside = folder / f"{_GROWING}{uuid4().hex[:8]}"
    # the lock of the folder keeps others from removing this one before it has its own
    with locked(folder), _explained(folder, folder):
        _put_in_place(folder)
        for other in folder.glob(f"{_GROWING}*"):
            _remove_if_forsaken(other)
        aside.mkdir()
        lock = take(aside)
    try:
        new = aside / "new"  # free to be locked, by what saves to it
        new.mkdir()
        yield new
    finally:
        release(lock)
        shutil.rmtree(aside, ignore_errors=True)  # if it is still there


def _remove_if_forsaken(aside: Path) -> None:
    """Remove what a process that was killed had begun to write."""
    with suppress(BlockingIOError, FileNotFoundError):
        lock = take(aside)
        if lock is not None:  # without locks nobody can tell
            shutil.rmtree(aside, ignore_errors=True)
            release(lock)


def _put_in_place(folder: Path) -> None:
    """Move files whose folder says that they are written completely."""
    written = folder / _WRITTEN
    if not written.is_dir():
        return
    try:
        # without locks another may be doing the same
        with suppress(FileNotFoundError):
            for name in json.loads((written / _LEAVING).read_text(encoding="utf-8")):
                (folder / name).unlink(missing_ok=True)
            for path in written.iterdir():
                if path.name != _LEAVING:  # the last to go
                    os.replace(path, folder / path.name)
            _sync(folder)
            (written / _LEAVING).unlink()
        with suppress(FileNotFoundError):
            written.rmdir()
    except OSError as error:
        raise OSError(
            error.errno,
            f"Files in {written} are complete, but cannot be moved to {folder}: "
            f"{error.strerror or error}. The next to save or load there will try again",
        ) from error
    _sync(folder)


@contextmanager
def _explained(goal: Path, aside: Path) -> Iterator[None]:
    """Say of a full disk that it is full; ``aside`` is where the block writes to."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number not in _FULL:
            number = _fullness(aside)  # torch and HDF5 do not tell why they could not write
        if number is None:
            raise
        free = shutil.disk_usage(aside).free
        raise OSError(
            number,
            f"The disk is full: {goal} was not written, and what was there before is untouched. "
            f"{aside.parent} has {free / 1e6:,.1f} MB left for you; make room there, or name "
            "another place",
        ) from error


def _fullness(folder: Path) -> int | None:
    """Number of the error if not even a small file can be written to the folder."""
    probe = folder / f"probe-{uuid4().hex[:8]}"
    try:
        with probe.open("wb") as file:
            file.write(_PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno if error.errno in _FULL else None
    finally:
        probe.unlink(missing_ok=True)
    return None


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk."""
    if not path.is_dir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    elif os.name != "nt":  # Windows has no such thing for folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
