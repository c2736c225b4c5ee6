"""Files that are whole or not there, whatever happens while they are written."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scvi_sams import _atomic, _locks
from scvi_sams._atomic import is_taken, replaced, replaced_together, whole

OLD, NEW = {"a": "old a", "b": "old b"}, {"a": "new a", "c": "new c"}
STEPS = [(os, name) for name in ("rename", "replace", "fsync", "rmdir", "unlink", "mkdir")]


class Killed(BaseException):
    pass


def write(folder, files, **kwargs):
    with replaced_together(folder, **kwargs) as aside:
        for name, text in files.items():
            (aside / name).write_text(text)


def read(folder):
    with whole(folder):
        return {path.name: path.read_text() for path in folder.iterdir() if path.name[0] != "."}


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name[0] == "."]


def killing(monkeypatch, at):
    """Every step on the file system counts; the process is as dead from number ``at`` on."""
    n = 0

    def counted(call):
        def step(*args, **kwargs):
            nonlocal n
            n += 1
            if n >= at:
                raise Killed
            return call(*args, **kwargs)

        return step

    for module, name in STEPS:
        monkeypatch.setattr(module, name, counted(getattr(module, name)))


def killed_before_step(monkeypatch, at, write):
    """Whether a write was cut short by a kill before step ``at``."""
    with monkeypatch.context() as patch:
        killing(patch, at)
        patch.setattr(_atomic.shutil, "rmtree", lambda *args, **kwargs: None)  # dead, too
        try:
            write()
        except Killed:
            return True
    return False


def test_a_kill_before_any_step_leaves_old_or_new(tmp_path, monkeypatch):
    seen, at = [], 1
    while True:
        folder = tmp_path / str(at)
        write(folder, OLD)
        cut = killed_before_step(monkeypatch, at, lambda to=folder: write(to, NEW, leaving=["b"]))
        found = read(folder)
        assert found in (OLD, NEW)
        seen.append(found == NEW)
        write(folder, OLD | NEW)
        assert read(folder) == OLD | NEW
        assert not leftovers(folder)
        if not cut:
            break
        at += 1
    assert at > 12
    assert seen == sorted(seen)  # old up to one step, new from it on
    assert True in seen[:-1]


def test_a_kill_before_any_step_leaves_the_old_file_or_the_new(tmp_path, monkeypatch):
    def new():
        with replaced(path) as growing:
            growing.write_text("new")

    at, cut = 0, True
    while cut:
        at += 1
        path = tmp_path / str(at) / "file.txt"
        path.parent.mkdir()
        path.write_text("old")
        cut = killed_before_step(monkeypatch, at, new)
        assert path.read_text() in ("old", "new")
        new()
        assert os.listdir(path.parent) == ["file.txt"]
    assert at > 5


@pytest.mark.parametrize("is_new", [True, False], ids=["new-folder", "old-folder"])
def test_an_error_leaves_nothing_behind(tmp_path, is_new):
    folder = tmp_path / "folder"
    if not is_new:
        write(folder, OLD)
    with pytest.raises(TypeError):
        write(folder, {"a": "new", "b": 1})
    assert folder.exists() == (not is_new)
    assert is_new or (read(folder) == OLD and not leftovers(folder))


def test_files_that_are_not_written_stay_or_leave(tmp_path):
    write(tmp_path, OLD | {"notes": "mine"})
    write(tmp_path, NEW)
    assert read(tmp_path) == OLD | NEW | {"notes": "mine"}
    write(tmp_path, {"a": "newer"}, leaving=["a", "b"])
    assert read(tmp_path) == {"a": "newer", "c": "new c", "notes": "mine"}


def test_writes_within_writes(tmp_path):
    with replaced_together(tmp_path / "folder") as aside:
        write(aside, NEW)
        with replaced(aside / "d") as path:
            path.write_text("d")
    assert read(tmp_path / "folder") == NEW | {"d": "d"}
    assert not leftovers(tmp_path / "folder")


def test_links_are_followed_and_names_kept(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.h5ad").symlink_to(tmp_path / "real" / "file.h5ad")
    with replaced(tmp_path / "link.h5ad") as path:
        assert path.suffix == ".h5ad"
        path.write_text("new")
    assert (tmp_path / "link.h5ad").is_symlink()
    assert (tmp_path / "real" / "file.h5ad").read_text() == "new"


def test_a_missing_folder_is_named(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"no such folder.*missing"),
        replaced(tmp_path / "missing" / "file"),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=["disk", "quota"])
def test_a_full_disk_is_explained(tmp_path, number):
    write(tmp_path, OLD)
    with (
        pytest.raises(OSError, match=r"disk is full.*untouched.*MB") as caught,
        replaced_together(tmp_path),
    ):
        raise OSError(number, "no")
    assert caught.value.errno == number
    assert str(tmp_path) in str(caught.value)
    assert read(tmp_path) == OLD


def test_another_error_than_a_full_disk_stays_itself(tmp_path):
    with pytest.raises(RuntimeError, match="mine"), replaced_together(tmp_path):
        raise RuntimeError("mine")


def test_what_is_being_written_is_not_swept(tmp_path):
    with replaced_together(tmp_path) as aside:
        (aside / "a").write_text("slow")
        write(tmp_path, {"a": "quick"})
        assert read(tmp_path) == {"a": "quick"}
    assert read(tmp_path) == {"a": "slow"}


def test_what_a_killed_process_began_to_write_makes_no_folder_taken(tmp_path):
    assert not is_taken(tmp_path / "missing")
    (tmp_path / ".writing-1").mkdir()
    assert not is_taken(tmp_path)
    write(tmp_path, OLD)
    assert not leftovers(tmp_path)
    assert is_taken(tmp_path)


def test_a_folder_that_others_read_is_waited_for_and_then_named(tmp_path, monkeypatch):
    write(tmp_path, OLD)
    monkeypatch.setattr(_locks, "_PATIENCE", 0.1)
    with whole(tmp_path):
        read(tmp_path)  # readers do not wait for each other
        with pytest.raises(TimeoutError, match=str(tmp_path)):
            write(tmp_path, NEW)
    assert read(tmp_path) == OLD
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("missing", ["module", "of-file-system"])
def test_without_locks_files_are_written_all_the_same(tmp_path, monkeypatch, missing):
    if missing == "module":  # Windows
        monkeypatch.setattr(_locks, "fcntl", None)
    else:

        def refuse(*args):
            raise OSError(errno.EBADF, "Bad file descriptor")

        monkeypatch.setattr(_locks.fcntl, "flock", refuse)
    write(tmp_path, OLD)
    write(tmp_path, NEW, leaving=["b"])
    assert read(tmp_path) == NEW
    assert not leftovers(tmp_path)


WRITER = """
import sys
from pathlib import Path
from scvi_sams._atomic import replaced_together
for i in range(20):
    with replaced_together(sys.argv[1]) as aside:
        for name in "abc":
            (aside / name).write_text(sys.argv[2] + str(i))
"""


@pytest.mark.slow
def test_readers_never_see_a_mix(tmp_path):
    write(tmp_path, dict.fromkeys("abc", "start"))
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), who]) for who in "xy"
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        found = read(tmp_path)
        assert set(found) == set("abc")
        assert len(set(found.values())) == 1
        seen.update(found.values())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(seen) > 1
    assert sorted(Path(tmp_path).iterdir()) == [tmp_path / name for name in "abc"]
