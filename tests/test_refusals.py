"""Errors of disks, folders and streams: one line that names the fix, and no data lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest
import torch
from factories import write_recipes
from PIL import Image
from run_command import run

from mtcnn.checkpoint import save_atomic
from mtcnn.devices import check_device, devices
from mtcnn.errors import CheckpointError, DataError, ImageError, MtcnnError
from mtcnn.pictures.draw import check_target
from mtcnn.progress import progress
from prepare.records import CropBatch
from prepare.sources import remembered_sources
from prepare.store import CropWriter

ROOT = Path(__file__).resolve().parents[1]


def refused(words: list[object], *parts: str) -> None:
    """The command exits with 1 and one line on stderr that contains `parts`."""
    done = run(*words)
    assert done.exit_code == 1, done.output
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("mtcnn: "), done.stderr
    assert all(part in done.stderr for part in parts), done.stderr
    assert done.stdout == ""


def test_uncreatable_work_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(["train", "--net", 12, "--data", "synthetic:2", "--work", tmp_path / "file"], str(tmp_path), "permissions")


def test_debug_may_follow_the_command(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from cli import main

    words = ["detect", str(tmp_path / "none.jpg"), "--models", str(tmp_path)]
    assert isinstance(CliRunner().invoke(main, words).exception, SystemExit)
    assert isinstance(CliRunner().invoke(main, [*words, "--debug"]).exception, MtcnnError)


@pytest.mark.parametrize("text", ["{", "{}", "[]", "[1]", '"synthetic:2"'])
def test_damaged_list_of_sources(tmp_path: Path, text: str) -> None:
    (tmp_path / "sources.json").write_text(text)
    with pytest.raises(DataError, match=r"sources.json is no list of sources.*`sources` again"):
        remembered_sources(tmp_path)


def test_status_does_not_remember_other_images(tmp_path: Path) -> None:
    work = tmp_path / "work"
    write_recipes(work)
    assert run("prepare", "--net", 12, "--data", "synthetic:2", "--work", work, "--workers", 1).exit_code == 0
    other = run("status", "--work", work, "--data", "synthetic:3")
    assert other.stdout.startswith("crops-12       stale    changed: data")
    assert run("status", "--work", work).stdout.startswith("crops-12       fresh")


def test_an_unwritable_preview_is_reported_before_the_work(tmp_path: Path) -> None:
    words = ["prepare", "--net", 12, "--data", "synthetic:2", "--work", tmp_path / "work", "--preview"]
    refused([*words, "sheet.xyz"], "sheet.xyz", ".png")
    refused([*words, tmp_path / "none" / "sheet.png"], "is no folder")
    assert not (tmp_path / "work").exists()
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ImageError, match="is a folder"):
        check_target(tmp_path / "a.png")


def test_a_preview_that_is_one_of_the_photos(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (60, 60)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "photos" / "a.png")
    words = ["prepare", "--net", 12, "--data", f"negatives:{tmp_path / 'photos'}", "--work", tmp_path / "work"]
    for preview in (tmp_path / "photos" / "a.png", tmp_path / "link.png"):
        done = run(*words, "--preview", preview)
        assert done.exit_code == 2 and "--preview" in done.stderr and not done.stdout
        assert "is one of the photos; expected another file" in " ".join(done.stderr.split())
    assert not (tmp_path / "work" / "crops-12.lmdb").exists()


def test_a_missing_device_is_reported_before_the_work(tmp_path: Path) -> None:
    words = ["train", "--net", 12, "--data", "synthetic:2", "--work", tmp_path / "work", "--device", "gpu"]
    refused(words, "device 'gpu'", "expected one of those here: cpu")
    assert not (tmp_path / "work").exists()
    check_device(devices()[-1])
    with pytest.raises(MtcnnError, match=r"torch finds .* here; expected one of those here: cpu"):
        check_device("cuda:99")


def test_labels_without_their_images(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a/b.jpg\n1\n1 1 20 20 0 0 0 0 0 0\n")
    (tmp_path / "images").mkdir()  # of another data set
    source = f"wider:{tmp_path / 'labels.txt'}"
    refused(["prepare", "--net", 12, "--data", source, "--work", tmp_path / "w"], f"name their folder: {source}:IMAGES")


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train.pt"
    save_atomic({"epoch": 1}, path)

    def full(content: object, draft: Path) -> None:
        draft.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 704 vs 598")  # torch's words

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match=r"cannot be written \(the disk may be full\)"):
        save_atomic({"epoch": 2}, path)
    assert torch.load(path) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["train.pt"]


def test_a_full_disk_leaves_the_crops_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crops = CropBatch.empty(12)
    with CropWriter(tmp_path / "crops", 12, "k") as writer:
        writer.append(crops)
        with pytest.raises(DataError, match=r"crops cannot be written \(No space left on device\)"), writer._writing():
            raise lmdb.DiskError("mdb_txn_commit: No space left on device")
    with CropWriter(tmp_path / "crops", 12, "k") as writer:
        assert writer.done == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no device that is always full")
def test_a_full_disk_for_results(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "mtcnn", "status", "--data", "synthetic:2", "--work", str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("mtcnn: No space left on device")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no device that is always full")
@pytest.mark.parametrize("words", ["--help", "--version", "detect --help"])
def test_a_full_disk_for_help(words: str) -> None:
    """It is written while the words are parsed."""
    command = f"exec '{sys.executable}' -m mtcnn {words} > /dev/full"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("mtcnn: No space left on device; expected")


def test_a_closed_stdin() -> None:
    command = f"exec '{sys.executable}' -m mtcnn detect - <&-"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("mtcnn: no image in -; expected image files")
    assert "Traceback" not in done.stderr


def test_a_closed_stdout_is_no_failure(tmp_path: Path) -> None:
    command = f"exec '{sys.executable}' -m mtcnn weights --help >&-"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


def test_bars_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress([1], name="x").disable
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert not progress([1], name="x").disable
    assert progress([1], name="x", quiet=True).disable


def test_a_picture_in_a_format_that_is_only_read(tmp_path: Path) -> None:
    for option in ("--draw", "--blur"):
        done = run("detect", tmp_path / "photo.jpg", option, tmp_path / "faces.gif")
        assert done.exit_code == 2
        assert f"{option} {tmp_path / 'faces.gif'}: .gif cannot be written; expected one of .bmp" in done.stderr
    assert not (tmp_path / "faces.gif").exists()
