"""Fetching files, from a real server on this computer."""

import gzip
import hashlib
import os
import socket
from pathlib import Path

import pooch
import pytest

from scvi_sams.data._download import data_folder, fetch, gunzip

CONTENT = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 4_000
CUT = 6 * 2**16  # whole pieces of those in which a download is written
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SCVI_SAMS_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def get(server):
    server.files["/screen.h5ad"] = CONTENT

    def get(known_hash=MD5, **kwargs):
        return fetch(
            server.url("screen.h5ad"),
            file_name="screen.h5ad",
            known_hash=known_hash,
            progress=False,
            **kwargs,
        )

    return get


@pytest.mark.parametrize(
    "known_hash",
    [
        pytest.param(MD5, id="md5"),
        pytest.param(f"sha256:{hashlib.sha256(CONTENT).hexdigest()}", id="sha256"),
        pytest.param(None, id="no published checksum"),
    ],
)
def test_good_file_arrives_alone(get, folder, known_hash):
    path = get(known_hash)
    assert path.read_bytes() == CONTENT
    assert list(folder.iterdir()) == [folder / "screen.h5ad"]


def test_file_that_is_there_is_not_fetched_again(get, server):
    get()
    get()
    assert len(server.requests) == 1


def test_file_put_there_by_hand_is_taken(get, server, folder):
    folder.mkdir()
    (folder / "screen.h5ad").write_bytes(CONTENT)
    assert get() == folder / "screen.h5ad"
    assert not server.requests


def test_wrong_file_put_there_by_hand_is_named_and_kept(get, server, folder):
    folder.mkdir()
    (folder / "screen.h5ad").write_bytes(b"mine")
    found = hashlib.md5(b"mine").hexdigest()
    with pytest.raises(ValueError, match=f"its md5 is {found}, expected {MD5[4:]}.*delete it"):
        get()
    assert (folder / "screen.h5ad").read_bytes() == b"mine"
    assert not server.requests


def test_wrong_checksum_says_expected_and_found_and_leaves_nothing(get, folder):
    expected = "md5:" + "0" * 32
    with pytest.raises(ValueError, match=f"expected {expected} but got {MD5[4:]}.*Call again"):
        get(expected)
    assert not list(folder.iterdir())


def test_cut_download_is_continued_where_it_stopped(get, server, folder):
    server.cut_after = CUT
    with pytest.raises(
        ConnectionError, match=r"cut after 393,216 of 1,024,008 bytes\. Call again"
    ):
        get()
    assert [file.name for file in folder.iterdir()] == ["screen.h5ad.part"]
    server.cut_after = None
    assert get().read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={CUT}-"]
    assert [file.name for file in folder.iterdir()] == ["screen.h5ad"]


def test_download_cut_twice_is_continued_twice(get, server):
    server.cut_after = CUT
    for _ in range(2):
        with pytest.raises(ConnectionError, match="was cut after"):
            get()
    assert get().read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={CUT}-", f"bytes={2 * CUT}-"]


def test_server_without_ranges_starts_over(get, server):
    server.ranges, server.cut_after = False, CUT
    with pytest.raises(ConnectionError, match="was cut"):
        get()
    server.cut_after = None
    assert get().read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={CUT}-"]


def test_complete_part_is_taken_without_a_byte_more(get, server, folder):
    folder.mkdir()
    (folder / "screen.h5ad.part").write_bytes(CONTENT)
    assert get().read_bytes() == CONTENT
    assert server.requests == [f"bytes={len(CONTENT)}-"]


def test_part_longer_than_the_file_starts_over(get, server, folder):
    folder.mkdir()
    (folder / "screen.h5ad.part").write_bytes(CONTENT + b"more")
    assert get().read_bytes() == CONTENT
    assert server.requests == [f"bytes={len(CONTENT) + 4}-", None]


def test_part_of_another_file_fails_the_checksum_then_starts_over(get, server, folder):
    folder.mkdir()
    (folder / "screen.h5ad.part").write_bytes(CONTENT[:8] + b"something else")
    with pytest.raises(ValueError, match="expected"):
        get()
    assert get().read_bytes() == CONTENT


def test_no_network_names_the_way_by_hand(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/screen.h5ad"
    with pytest.raises(
        ConnectionError, match=f"No connection to .*Download {url} by hand"
    ) as said:
        fetch(url, file_name="screen.h5ad", known_hash=MD5, progress=False)
    assert "SCVI_SAMS_DATA_DIR" in str(said.value)
    assert str(folder) in str(said.value)
    assert "\n" not in str(said.value)
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("status", "said"),
    [
        pytest.param(None, "answered 404 Not Found", id="missing"),
        pytest.param(503, "answered 503 Service Unavailable", id="refused"),
        pytest.param(202, "answered 202 Accepted", id="a challenge to browsers"),
    ],
)
def test_http_errors_are_named(get, server, folder, status, said):
    server.status = status
    if status is None:
        server.files.clear()
    with pytest.raises(OSError, match=f"{said}. Download .* by hand"):
        get()
    assert not list(folder.iterdir())


def test_page_in_place_of_the_file_is_refused_without_a_checksum(get, server, folder):
    server.files["/screen.h5ad"] = b"<html>Are you human?</html>"
    with pytest.raises(OSError, match=r"answered with no \.h5ad file\. Download .* by hand"):
        get(None)
    assert not list(folder.iterdir())


def test_progress_names_the_file(server, capsys):
    server.files["/screen.h5ad"] = CONTENT
    fetch(server.url("screen.h5ad"), file_name="screen.h5ad", known_hash=MD5)
    shown = capsys.readouterr().err
    assert "screen.h5ad" in shown
    assert "100%" in shown
    assert "known_hash" not in shown


def test_folder_given_wins(get, tmp_path):
    assert get(folder=tmp_path / "mine") == tmp_path / "mine" / "screen.h5ad"


def test_folder_is_the_users_cache_by_default(monkeypatch):
    monkeypatch.delenv("SCVI_SAMS_DATA_DIR")
    assert data_folder() == Path(pooch.os_cache("scvi-sams"))


def test_folder_that_cannot_be_written_is_named(get, folder, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError

    monkeypatch.setattr(os, "makedirs", refuse)
    with pytest.raises(PermissionError, match=f"{folder} cannot be .* Set SCVI_SAMS_DATA_DIR"):
        get()


def test_gunzip_writes_beside_and_keeps(tmp_path):
    packed = tmp_path / "screen.h5ad.gz"
    packed.write_bytes(gzip.compress(CONTENT))
    assert gunzip(packed).read_bytes() == CONTENT
    assert {file.name for file in tmp_path.iterdir()} == {"screen.h5ad", "screen.h5ad.gz"}


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(gzip.compress(CONTENT)[:-20], id="cut"),
        pytest.param(CONTENT, id="no gzip"),
    ],
)
def test_gunzip_of_a_damaged_file_leaves_nothing_half_written(tmp_path, damaged):
    packed = tmp_path / "screen.h5ad.gz"
    packed.write_bytes(damaged)
    with pytest.raises(OSError, match=r"is no complete gzip file.*Delete it"):
        gunzip(packed)
    assert list(tmp_path.iterdir()) == [packed]
