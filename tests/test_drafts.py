"""Atomic writes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mtcnn.files.atomic_write import ABANDONED, atomic_write, write_whole


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
        assert draft == tmp_path / f".a.png.{os.getpid()}.draft.png"
        assert not old.exists()
        draft.touch()
