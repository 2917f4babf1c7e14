"""Files of machine code: which are trusted, where they are stored, and when they are deleted."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from mtcnn.engine import kernel_files
from mtcnn.engine.kernel_files import folders, read, write

NAME = "overlaps-0123456789abcdef-{}.o"
NOBODY = 65534

posix = pytest.mark.skipif(os.name != "posix", reason="about owners and modes")
root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="gives files to another user")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mtcnn" / NAME.format("0" * 16)


def planted(path: Path) -> Path:
    """A valid file, as another program could write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(hashlib.sha256(b"code").digest() + b"code")
    return path


def test_round_trip(path: Path) -> None:
    assert read(path) is None
    assert write(path, b"code")
    assert read(path) == b"code"
    assert read(planted(path)) == b"code"  # so that the tests below are about trust alone


@posix
@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077])
def test_under_any_umask(path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        assert write(path, b"code")
    finally:
        os.umask(before)
    assert read(path) == b"code"


@posix
@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write_to_is_not_run(path: Path, mode: int) -> None:
    planted(path).chmod(mode)
    assert read(path) is None
    assert write(path, b"new")
    assert read(path) == b"new"


@posix
@pytest.mark.parametrize("mode", [0o775, 0o777, 0o1777])
def test_a_folder_that_others_may_write_to(path: Path, mode: int) -> None:
    """It is not used. The user's own cache folder loses these permissions; the interpreter's folder is left alone."""
    planted(path)
    path.parent.chmod(mode)
    assert read(path) is None
    shared = planted(path.parent.parent / "__pycache__" / path.name)
    shared.parent.chmod(mode)
    assert read(shared) is None
    assert not write(shared, b"new")
    assert write(path, b"new")
    assert read(path) == b"new"


@root
@pytest.mark.parametrize("owned", ["file", "folder", "link"])
def test_a_file_of_another_user_is_not_run(path: Path, owned: str) -> None:
    planted(path)
    if owned == "link":
        real = path.parent.rename(path.parent.with_name("real"))
        path.parent.symlink_to(real)
    assert read(path) == b"code"
    os.chown(path if owned == "file" else path.parent, NOBODY, NOBODY, follow_symlinks=False)
    assert read(path) is None
    assert write(path, b"new") is (owned == "file")


@posix
def test_trusted_owners(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(path)
    assert {os.geteuid(), 0, Path(kernel_files.__file__).stat().st_uid} == kernel_files._owners(os.geteuid())
    monkeypatch.setattr(kernel_files, "_owners", lambda user: frozenset())
    assert read(path) is None


@posix
def test_a_link_or_a_pipe_in_place_of_a_file(path: Path) -> None:
    planted(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    assert read(path) is None
    path.unlink()
    os.mkfifo(path)
    assert read(path) is None


def test_no_folder_is_relative(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Otherwise the owner of the folder in which a program is started could choose what it runs."""
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "cache")
    assert folders() == [Path(os.path.expanduser("~/.cache/mtcnn"))]
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert folders() == []
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    assert folders() == [Path(kernel_files.__file__).parent / "__pycache__"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folders()[1:] == [tmp_path / "mtcnn"]


def test_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does without one
    assert folders() == [Path(kernel_files.__file__).parent / "__pycache__"]


def test_kernels_of_other_versions_stay_until_they_are_unused(path: Path) -> None:
    recent, old, draft, foreign = (
        path.with_name(name) for name in (NAME.format("1" * 16), NAME.format("2" * 16), f".{path.name}.7.7", "other.o")
    )
    assert write(recent, b"recent")
    assert write(old, b"old")
    for other in (draft, foreign):
        other.touch()
    long_ago = time.time() - kernel_files.UNUSED - 1
    for other in (old, draft, foreign):
        os.utime(other, (long_ago, long_ago))
    assert write(path, b"code")
    assert sorted(path.parent.iterdir()) == sorted([path, recent, foreign])


def test_reading_marks_as_used(path: Path) -> None:
    other = path.with_name(NAME.format("1" * 16))
    assert write(other, b"code")
    long_ago = time.time() - kernel_files.UNUSED - 1
    os.utime(other, (long_ago, long_ago))
    assert read(other) == b"code"
    assert write(path, b"code")
    assert read(other) == b"code"
