"""Fetching a published file once: resumed where it was cut, checked before it gets its name."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pooch
import requests
from tqdm import tqdm

from scvi_sams._atomic import replaced

FOLDER_VARIABLE = "SCVI_SAMS_DATA_DIR"

_SIGNATURES = {".h5ad": b"\x89HDF\r\n\x1a\n", ".gz": b"\x1f\x8b"}
_BYTES_AT_ONCE = 2**16  # the most that a cut loses
_SECONDS_OF_SILENCE = 60


def data_folder() -> Path:
    """Folder of downloaded screens: ``SCVI_SAMS_DATA_DIR`` if set, else the user's cache."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder).expanduser() if folder else Path(pooch.os_cache("scvi-sams"))


def fetch(
    url: str,
    *,
    file_name: str,
    known_hash: str | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Download a file unless it is there.

    The download grows in ``{file_name}.part``. If it is cut, the next call continues from there.
    The file gets its name only when it is complete and its checksum is right.

    Parameters
    ----------
    url
        Address of the file.
    file_name
        Name of the file in ``folder``. A file put there by hand is taken, and checked, like one
        that was downloaded.
    known_hash
        Published checksum such as ``"md5:…"`` or ``"sha256:…"``. ``None`` if there is none: then
        only the number of bytes and the kind of the file (by its first bytes) are checked.
    folder
        Where the file belongs; by default :func:`data_folder`.
    progress
        Whether to show a progress bar.

    Returns
    -------
    Path of the file.

    Raises
    ------
    ConnectionError
        If the server cannot be reached, or the connection is cut.
    OSError
        If the server refuses or sends something else, or the folder cannot be written.
    ValueError
        If the checksum is wrong. What was downloaded is then deleted; a file that was there
        before is not.
    """
    folder = data_folder() if folder is None else Path(folder).expanduser()
    path = folder / file_name
    if path.exists():
        _check(path, known_hash)
        return path
    download = _Resumed(folder / f"{file_name}.part", path, progress)
    try:
        with _silent(pooch.get_logger()):
            pooch.retrieve(
                url, known_hash=known_hash, fname=file_name, path=folder, downloader=download
            )
    except ValueError as error:  # the checksum, from pooch, which has deleted the download
        raise ValueError(
            f"{error} Call again to download it again; if that ends like this too, the file at "
            f"{url} is no longer the one that was published."
        ) from None
    except PermissionError as error:
        raise PermissionError(
            f"{folder} cannot be written to, and it does not hold {file_name}. Set "
            f"{FOLDER_VARIABLE} to a folder that can."
        ) from error
    return path


def gunzip(path: Path) -> Path:
    """Decompress ``name.gz`` to ``name`` beside it, unless that is there; ``path`` is kept.

    Raises
    ------
    OSError
        If the file is damaged.
    """
    target = path.with_suffix("")
    if not target.exists():
        try:
            with (
                gzip.open(path, "rb") as packed,
                replaced(target) as growing,
                growing.open("wb") as out,
            ):
                shutil.copyfileobj(packed, out, _BYTES_AT_ONCE)
        except (EOFError, gzip.BadGzipFile) as error:
            raise OSError(
                f"{path} is no complete gzip file ({error}). Delete it and call again."
            ) from error
    return target


class _Resumed(NamedTuple):
    """A downloader for pooch that continues ``part``, which is to become ``path``."""

    part: Path
    path: Path
    progress: bool

    def __call__(self, url: str, output_file: str | Path, _pooch: Any) -> None:
        """Complete ``part`` from ``url`` and move it to ``output_file``."""
        start = self.part.stat().st_size if self.part.exists() else 0
        with self._answer(url, start) as response:
            complete = response.headers.get("Content-Range") == f"bytes */{start}"
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                if not complete:  # longer than the file: not its beginning
                    self.part.unlink()
                    return self(url, output_file, _pooch)
            elif response.status_code in (requests.codes.ok, requests.codes.partial_content):
                self._append(response, start)
            else:
                status = f"{response.status_code} {response.reason}"
                raise OSError(f"{url} answered {status}. {self._by_hand(url)}")
        self._check_kind(url)
        self.part.replace(output_file)

    def _answer(self, url: str, start: int) -> requests.Response:
        headers = {"Accept-Encoding": "identity"}  # sizes and ranges of the file itself
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            return requests.get(url, headers=headers, stream=True, timeout=_SECONDS_OF_SILENCE)
        except requests.RequestException as error:
            raise ConnectionError(
                f"No connection to {urlsplit(url).netloc} ({type(error).__name__}). "
                f"{self._by_hand(url)}"
            ) from error

    def _append(self, response: requests.Response, start: int) -> None:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0  # a server that knows no ranges sends all of it
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        cut: Exception | None = None
        with (
            self.part.open("ab" if start else "wb") as out,
            tqdm(
                total=total,
                initial=start,
                unit="B",
                unit_scale=True,
                desc=self.path.name,
                disable=not self.progress,
            ) as bar,
        ):
            try:
                for chunk in response.iter_content(_BYTES_AT_ONCE):
                    out.write(chunk)
                    bar.update(len(chunk))
            except requests.RequestException as error:
                cut = error
        size = self.part.stat().st_size
        if cut is not None or total not in (None, size):
            raise ConnectionError(
                f"The download of {self.path.name} was cut after {size:,} of "
                f"{'an unknown number of' if total is None else f'{total:,}'} bytes. "
                "Call again to continue from there."
            ) from cut

    def _check_kind(self, url: str) -> None:
        signature = _SIGNATURES.get(self.path.suffix, b"")
        with self.part.open("rb") as file:
            if file.read(len(signature)) == signature:
                return
        self.part.unlink()
        raise OSError(f"{url} answered with no {self.path.suffix} file. {self._by_hand(url)}")

    def _by_hand(self, url: str) -> str:
        return (
            f"Download {url} by hand and put it, named {self.path.name}, into {self.path.parent} "
            f"(or into the folder that {FOLDER_VARIABLE} names)."
        )


def _check(path: Path, known_hash: str | None) -> None:
    if known_hash is None:
        return
    algorithm, _, expected = known_hash.partition(":")
    found = pooch.file_hash(str(path), alg=algorithm)
    if found != expected:
        raise ValueError(
            f"{path} is not the published file: its {algorithm} is {found}, expected {expected}. "
            "Move it away or delete it, and call again to download it."
        )


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch's advice to callers of pooch from our users."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
