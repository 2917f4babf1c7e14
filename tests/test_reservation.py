"""Two commands in one folder: the second one is told, and neither changes what the other works from."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from factories import environment, write_recipes
from run_command import run, visible

from mtcnn.errors import MtcnnError
from mtcnn.files.locks import FileLock, alone_in
from prepare.sources import read_sources, remember_sources
from stages.graph.dag import Dag, Node, Options
from stages.graph.project import open_project
from stages.graph.reservation import reserved

pytest.importorskip("fcntl")


@dataclass(frozen=True)
class Write:
    """An action that calls `during` before it writes its key."""

    during: Callable[[], object] = lambda: None

    def __call__(self, makes: Path, key: str, options: Options) -> None:
        self.during()
        makes.write_text(key)

    def read_key(self, makes: Path) -> str | None:
        return makes.read_text() if makes.is_file() else None

    def update(self, makes: Path) -> None: ...


def graph(work: Path, during: Callable[[], object] = lambda: None, recipe: str = "") -> Dag:
    """Photos, and two trainings on them; `during` is called by the first. recipe  of the photos."""
    photos = Node("photos", (), work / "photos", {"recipe": recipe}, Write())
    parts = {"photos": photos.key}
    first = Node("first", ("photos",), work / "first", parts, Write(during))
    return Dag(work, [photos, first, Node("second", ("photos",), work / "second", parts, Write())])


def test_a_node_is_made_by_one_process(tmp_path: Path) -> None:
    refused = []

    def other() -> None:
        with pytest.raises(
            MtcnnError, match=r"^first: another process makes or reads it in .*; expected one at a time"
        ):
            graph(tmp_path).ensure("first")
        refused.append("first")

    assert graph(tmp_path, other).ensure("first") == ["photos", "first"]
    assert refused
    assert graph(tmp_path).ensure("first") == []


def test_what_is_read_is_not_made_again(tmp_path: Path) -> None:
    """Crops of another recipe would be those that the training reads, under the key of the first."""

    def other() -> None:
        with pytest.raises(MtcnnError, match="photos: another process makes or reads it"):
            graph(tmp_path, recipe="changed").ensure("photos")

    before = graph(tmp_path, other)
    before.ensure("first")
    assert (tmp_path / "photos").read_text() == before.nodes["photos"].key
    assert graph(tmp_path, recipe="changed").ensure("photos") == ["photos"]


def test_two_trainings_share_their_photos(tmp_path: Path) -> None:
    made = []
    graph(tmp_path, lambda: made.extend(graph(tmp_path).ensure("second"))).ensure("first")
    assert made == ["second"]


def test_what_is_fresh_is_not_locked(tmp_path: Path) -> None:
    """So that it can be used from a folder that cannot be written to."""
    graph(tmp_path).ensure("first")
    for path in (tmp_path / "nodes").glob("*.lock"):
        path.unlink()
    assert graph(tmp_path).ensure("first") == []
    assert not list((tmp_path / "nodes").glob("*.lock"))


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from mtcnn.files.locks import FileLock\n"
        "print(FileLock(Path(sys.argv[1])).acquire(), flush=True); os.kill(os.getpid(), 9)"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "x.lock")]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "True\n")
    lock = FileLock(tmp_path / "x.lock")
    assert lock.acquire()
    lock.close()


@pytest.mark.parametrize("change", ["sources", "hashes", "start"])
def test_what_a_training_works_from_does_not_change(tmp_path: Path, change: str) -> None:
    work, hashes = write_recipes(tmp_path / "work"), tmp_path / "hashes.txt"
    hashes.write_text("0123456789abcdef\n")
    open_project(work, ["pnet"], ["synthetic:3"], eval_hashes=[hashes], quiet=True)
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    other = tmp_path / "other.txt"
    other.write_text("fedcba9876543210\n")
    words = {"sources": ("--data", "synthetic:4"), "hashes": ("--eval-hashes", other), "start": ("--start", "packaged")}
    with reserved(work, ["pnet"]):
        for _ in range(2):  # the same sources and hashes change nothing
            open_project(work, ["pnet"], ["synthetic:3"], eval_hashes=[hashes], quiet=True)
        done = run("train", "--net", "pnet", "--work", work, "--quiet", *words[change])
    assert done.exit_code == 1
    assert done.stderr.startswith(f"mtcnn: pnet: another process makes or reads it in {work}, whose ")
    assert done.stderr.endswith("or name another folder as --work\n")
    assert done.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in before} == before
    assert json.loads((work / "sources.json").read_text()) == ["synthetic:3"]
    assert not (work / "models-12" / "start-pnet.safetensors").exists()


@pytest.mark.parametrize("change", ["sources", "start"])
def test_a_training_that_begins_while_another_reads_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The second training looks again before it replaces anything."""
    work, start = write_recipes(tmp_path / "work"), tmp_path / "work" / "models-12" / "start-pnet.safetensors"
    with ExitStack() as first:

        def read(*given: Any) -> Any:
            monkeypatch.undo()
            open_project(work, ["pnet"], ["synthetic:3"], quiet=True)
            first.enter_context(reserved(work, ["pnet"]))
            return read_sources(*given)

        monkeypatch.setattr("stages.graph.project.read_sources", read)
        sources, given = (["synthetic:4"], None) if change == "sources" else ([], Path("packaged"))
        if change == "start":
            remember_sources(work, ["synthetic:3"])
        with pytest.raises(MtcnnError, match=r"^pnet: another process makes or reads it in .*would change under it"):
            open_project(work, ["pnet"], sources, start=given, quiet=True)
    assert json.loads((work / "sources.json").read_text()) == ["synthetic:3"]
    assert not start.exists()


def test_a_folder_that_its_process_has_just_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock of a file without a name would keep nobody out."""
    folder, acquire = tmp_path / "x", FileLock.acquire

    def late(lock: FileLock, shared: bool = False) -> bool:
        monkeypatch.undo()
        shutil.rmtree(folder)
        return acquire(lock, shared)

    monkeypatch.setattr(FileLock, "acquire", late)
    with alone_in(folder, "folder"):
        with pytest.raises(MtcnnError, match="another process of mtcnn writes to it"), alone_in(folder, "folder"):
            pass
        assert folder.exists()
    assert not folder.exists()


def test_who_is_refused_leaves_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both found no folder. Without the file of the lock a third process would not be refused."""
    with alone_in(tmp_path / "x", "folder"):
        monkeypatch.setattr(Path, "exists", lambda path: False)
        for _ in range(2):
            with pytest.raises(MtcnnError, match="another process"), alone_in(tmp_path / "x", "folder"):
                pass


def test_a_folder_that_is_deleted_meanwhile(tmp_path: Path) -> None:
    with alone_in(tmp_path / "x", "folder"):
        shutil.rmtree(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_labels_are_written_by_one_process(tmp_path: Path, photo_folder: Path) -> None:
    words = ("label", photo_folder / "rocket.jpg", "--teachers", "mtcnn", "--workers", 1, "--quiet", "--to")
    with alone_in(tmp_path / "x", "folder"):
        done = run(*words, tmp_path / "x")
        assert done.exit_code == 1
        assert done.stderr == (
            f"mtcnn: {tmp_path / 'x'}: another process of mtcnn writes to it; expected a folder for each; wait for its "
            "end, or name another folder as --to\n"
        )
        assert visible(tmp_path / "x") == []
    assert not (tmp_path / "x").exists(), "nothing was written"
    assert run(*words, tmp_path / "x").exit_code == 0
    (tmp_path / "empty").mkdir()
    with alone_in(tmp_path / "empty", "folder"):
        pass
    assert os.listdir(tmp_path / "empty"), "a folder that was there stays"
