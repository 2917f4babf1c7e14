"""Atomic writes."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import signalled

from mtcnn.files.atomic_write import ABANDONED, atomic_write, draft_of, write_whole


def test_a_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    for text in ("first", "second"):
        with atomic_write(path) as draft:
            before = path.read_text() if path.exists() else None
            draft.write_text(text)
            assert (path.read_text() if path.exists() else None) == before
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with atomic_write(path) as draft:
            draft.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_drafts_of_killed_processes_are_removed(tmp_path: Path) -> None:
    path, then = tmp_path / "a[1].txt", time.time() - ABANDONED - 60
    names = {".a[1].txt.1.draft": then, ".a[1].txt.2.draft": None, ".a[1].txt.1": then, ".b.txt.1.draft": then}
    for name, age in names.items():
        (tmp_path / name).touch()
        if age is not None:
            os.utime(tmp_path / name, (age, age))
    with atomic_write(path) as draft:
        draft.touch()
    left = {".a[1].txt.2.draft", ".a[1].txt.1", ".b.txt.1.draft"}
    assert {each.name for each in tmp_path.iterdir()} == {*left, path.name}, "nothing that may be somebody's"


def test_a_draft_may_be_renamed_by_another_process_while_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: [folder / ".a.txt.1.draft"])
    with atomic_write(tmp_path / "a.txt") as draft:
        draft.write_text("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_a_small_file_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, b"first")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second" and list(tmp_path.iterdir()) == [path]

    def full(draft: Path, data: bytes) -> int:
        draft.touch()
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, b"third")
    assert path.read_bytes() == b"second" and list(tmp_path.iterdir()) == [path]


def test_the_name_of_a_draft_ends_as_asked(tmp_path: Path) -> None:
    old = tmp_path / ".a.png.1.draft.png"
    old.touch()
    os.utime(old, (0, 0))
    with atomic_write(tmp_path / "a.png", ".png") as draft:
        assert draft == draft_of(tmp_path / "a.png", ".png")
        assert draft.name.startswith(".a.png.") and draft.name.endswith(f"-{os.getpid()}.draft.png")
        assert not old.exists()
        draft.touch()


KILLED = """
import sys
from pathlib import Path
from mtcnn.files import atomic_write
with atomic_write.atomic_write(Path(sys.argv[1]), ".bin") as draft:
    draft.write_text("half")
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/ns/pid"), reason="no other system names itself")
@pytest.mark.parametrize("name", ["a.txt", "b.txt"])
@pytest.mark.parametrize("write", [lambda path: write_whole(path, b"x"), lambda path: atomic_write(path).__enter__()])
def test_a_draft_ends_with_its_process(tmp_path: Path, name: str, write: Callable[[Path], object]) -> None:
    """The next write in the folder deletes it, however young it is; not those of processes that may be at work."""
    done = signalled("os:replace", 1, signal.SIGKILL, KILLED, tmp_path / "a.txt")
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = tmp_path.iterdir()
    number = left.name.split("-")[1].split(".")[0]
    others = [left.name.replace(f"-{number}.", f"-{os.getppid()}."), f".a.txt.0a1b2c-{number}.draft",
              f".a.txt.000000-{number}.draft", f".a.txt.{number}.draft", ".a.txt.0a1b2c-1.draft.txt.bak"]  # fmt: skip
    for other in others:
        (tmp_path / other).touch()
    write(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} - {name} == {*others}


def test_a_file_system_that_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the file that the user knows, even if removing the draft fails too; it is not there."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fspath(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(Path, "write_bytes", refuse)
    path = tmp_path / "a.txt"
    with pytest.raises(OSError, match="Read-only") as found:
        write_whole(path, b"x")
    assert found.value.filename == str(path)
    with pytest.raises(OSError, match="Read-only") as found, atomic_write(path) as draft:
        draft.write_bytes(b"x")
    assert found.value.filename == str(path)


def test_an_old_draft_that_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another user: it holds nobody up."""
    left = tmp_path / ".a.txt.1.draft"
    left.touch()
    os.utime(left, (1, 1))

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), os.fspath(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with atomic_write(tmp_path / "a.txt") as draft:
        draft.write_text("x")
    assert (tmp_path / "a.txt").read_text() == "x"
