"""A work folder whose files were damaged, as by a full disk, a power cut or a copy that broke off."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mtcnn.errors import DataError
from mtcnn.files.atomic_write import atomic_write, write_whole
from mtcnn.files.stamps import stamp_of
from mtcnn.metrics.problems import Problems
from mtcnn.types import Faces, ImageSize
from mtcnn.workers import Here
from prepare import synthetic
from prepare.records import Problem
from prepare.teachers.found import FoundFile, PhotoFaces
from prepare.written_files import WrittenFiles
from stages.fit import Training
from stages.photos.store import PhotoStore, build_photos, photos_key
from stages.run_log import RunLog

RECORDS = synthetic.records(3, 0)


# ---- decoded photos


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def placed(*row: object) -> Callable[[Path], None]:
    """Puts this in the place of where the first photo lies."""

    def change(path: Path) -> None:
        index = path.with_suffix(".json")
        body = json.loads(index.read_text())
        body["places"][0] = list(row)
        index.write_text(json.dumps(body))

    return change


def moved(path: Path) -> None:
    """The second photo would be read from the middle of a pixel."""
    index = path.with_suffix(".json")
    body = json.loads(index.read_text())
    body["places"][1][0] += 1
    index.write_text(json.dumps(body))


@pytest.mark.parametrize(
    "damage",
    [cut, moved, lambda path: path.write_bytes(b""), placed(0, 9999, 9999, 1.0), placed("x", 1), placed(0, 0, 0, 1.0),
     placed(0, -8, 8, 1.0), placed(0, 10**30, 1, 1.0), placed(0, 8, 8, math.nan)],
)  # fmt: skip
def test_damaged_photos_are_decoded_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "photos.raw"
    build_photos(RECORDS, path, "k", quiet=True)
    assert photos_key(path) == "k"
    damage(path)
    assert photos_key(path) is None
    with pytest.raises(DataError, match=r"holds no photos of these 3 records; delete it and train again"):
        PhotoStore(path, RECORDS)
    build_photos(RECORDS, path, "k", quiet=True)
    assert (PhotoStore(path, RECORDS)[2] == synthetic.image_of(RECORDS[2].path)).all()


# ---- the checkpoint of a training


class Small:
    """What `Training` needs of a task."""

    name = "small"

    def __init__(self, width: int = 3) -> None:
        self.module = nn.Linear(width, 2)
        self.groups = [{"params": list(self.module.parameters())}]


class Plain:
    lr = 0.1


def training(width: int = 3) -> Any:
    task: Any = Small(width)
    schedule: Any = Plain()
    return Training(task, schedule, "cpu")


def saved(path: Path, change: Callable[[dict[str, Any]], object] = lambda state: None) -> Any:
    """A training after some epochs, saved to `path` with a change."""
    begun = training()
    begun.module(torch.ones(1, 3)).sum().backward()
    begun.optimizer.step()
    begun.epoch, begun.best = 4, 0.5
    begun.save(path, "key")
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    return begun


def test_an_intact_checkpoint_is_resumed_from(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    begun, found = saved(tmp_path / "train.pt"), training()
    found.restore(tmp_path / "train.pt", "key")
    assert (found.epoch, found.best) == (4, 0.5)
    assert torch.equal(found.module.weight, begun.module.weight)
    other = training()
    other.restore(tmp_path / "train.pt", "another key")
    other.restore(tmp_path / "nothing.pt", "key")
    assert other.epoch == 0
    assert not recwarn.list


def flipped(path: Path) -> None:
    """A number of the weights is another one, which only the checksum of the file shows."""
    data = path.read_bytes()
    weights = torch.load(path, weights_only=True)["module"]["weight"].numpy().tobytes()
    assert data.count(weights) >= 1
    path.write_bytes(data.replace(weights, weights[::-1]))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: saved(path, lambda state: state.pop("optimizer")),
        lambda path: saved(path, lambda state: state.update(epoch="x")),
        lambda path: saved(path, lambda state: state["module"].update(bias=torch.zeros(9))),
        lambda path: saved(path, lambda state: state["average"].pop("bias")),
        lambda path: torch.save([1], path),
        lambda path: path.write_bytes(path.read_bytes()[:700]),
        lambda path: path.write_bytes(b""),
        lambda path: (path.unlink(), path.mkdir()),
        flipped,
    ],
)
def test_a_damaged_checkpoint_is_told_and_nothing_of_it_stays(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path, found = tmp_path / "train.pt", training()
    saved(path)
    damage(path)
    before = {name: value.clone() for name, value in found.module.state_dict().items()}
    with pytest.warns(UserWarning, match=r"train.pt is damaged; small is trained from the start"):
        found.restore(path, "key")
    assert (found.epoch, found.best) == (0, -math.inf)
    for state in (found.module.state_dict(), found.average, found.best_state):
        assert all(torch.equal(state[name], value) for name, value in before.items())
    assert not found.optimizer.state_dict()["state"]


# ---- cached detections


def test_damaged_detections_of_a_comparison_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtcnn.compare import cache

    photos = {name: tmp_path / f"{name}.jpg" for name in ("a/1", "a/2", "a/3")}
    for path in photos.values():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    looked: list[str] = []

    def detect(left: dict[str, Path], *_: object) -> Any:
        looked.extend(left)
        return iter([(name, Faces(np.ones((1, 4), np.float32), np.ones(1, np.float32))) for name in left])

    class Bar:
        def update(self, count: int) -> None: ...

    make: Any = None
    monkeypatch.setattr(cache, "detect_each", detect)
    file = tmp_path / "x.jsonl"
    first = cache.detections(file, photos, make, Here(), Problems(), Bar())
    stamp = stamp_of(photos["a/1"])
    lines = file.read_text().splitlines()
    wrong = ["[1, 2]", '"a/1"', "[" * 99_999, "\xff\xfe", ""]
    damaged: list[Any] = [[[1, 2]], "x", 5, [[[1]]], {}]
    wrong += [json.dumps({"photo": "a/1", "stamp": stamp, "faces": faces}) for faces in damaged]
    wrong += [json.dumps({"photo": ["a/1"], "stamp": stamp, "faces": []})]
    first_line = next(line for line in lines if '"a/1"' in line)
    assert first_line.count("1.0") > 2
    wrong += [first_line.replace("1.0", "1.1", 1)]  # a figure changed
    file.write_bytes("\n".join([*wrong, *(line for line in lines if '"a/1"' not in line)]).encode("latin-1"))
    looked.clear()
    again = cache.detections(file, photos, make, Here(), Problems(), Bar())
    assert looked == ["a/1"]
    looked.clear()
    former = [json.loads(line) for line in file.read_text("latin-1").splitlines() if '"crc"' in line]
    file.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "crc"}) + "\n" for row in former))
    cache.detections(file, photos, make, Here(), Problems(), Bar())
    assert not looked, "files of former versions have no checksums"
    assert all((again[name] == first[name]).all() for name in photos)


def test_a_photo_that_changes_while_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found in the former photo is not taken for what is in this one, or in one that is gone."""
    from mtcnn.compare import cache

    photos = {name: tmp_path / f"{name}.jpg" for name in ("changed", "gone")}
    for path in photos.values():
        path.write_bytes(b"1")
    looked: list[list[str]] = []

    def detect(left: dict[str, Path], *_: object) -> Any:
        looked.append(list(left))
        if len(looked) == 1:
            photos["changed"].write_bytes(b"22")
        photos["gone"].unlink(missing_ok=True)
        return iter([(name, Faces.empty()) for name in left])

    monkeypatch.setattr(cache, "detect_each", detect)
    make: Any = None
    bar: Any = SimpleNamespace(update=lambda count: None)
    for _ in range(3):
        cache.detections(tmp_path / "x.jsonl", photos, make, Here(), Problems(), bar)
    assert looked == [["changed", "gone"], ["changed", "gone"], ["gone"]]


# ---- what an error names


def test_errors_of_drafts_name_the_file(tmp_path: Path) -> None:
    target = tmp_path / "notes.json"
    target.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_whole(target, b"x")
    assert (caught.value.filename, caught.value.filename2) == (str(target), None)
    with pytest.raises(IsADirectoryError) as caught, atomic_write(target) as draft:
        draft.write_text("x")
    assert caught.value.filename == str(target)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.json"]


def test_errors_of_a_full_disk_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system names none in what it says of a write."""
    target = tmp_path / "notes.json"
    for number, named in ((errno.ENOSPC, str(target)), (errno.EFBIG, str(target)), (errno.EPIPE, None)):
        with pytest.raises(OSError, match="why") as caught, atomic_write(target):
            raise OSError(number, "why")
        assert caught.value.filename == named
    with pytest.raises(OSError, match="why") as caught, atomic_write(target):
        raise OSError(errno.ENOSPC, "why", "another")
    assert caught.value.filename == "another"


def full(file: Path) -> Path:
    """A file on a disk without room."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.symlink_to("/dev/full")
    return file


def fill_found(folder: Path) -> None:
    (folder / "a.jpg").touch()
    found = FoundFile(folder / "found.jsonl", 1)
    found.add(folder / "a.jpg", [], PhotoFaces(ImageSize(1, 1), Faces.empty()))
    full((folder / "found.jsonl").rename(folder / "x").with_name("found.jsonl"))
    found.add(folder / "a.jpg", [], PhotoFaces(ImageSize(1, 1), Faces.empty()))


def fill_written(folder: Path) -> None:
    written = WrittenFiles(folder)
    full(folder / "written.jsonl")
    write_whole(folder / "labels.txt", b"x", written.note)


def fill_log(folder: Path) -> None:
    log = RunLog(folder, "x", 0)
    log.path.unlink()
    full(log.path)
    log.add({"epoch": 0})


def fill_board(folder: Path) -> None:
    class FullBoard:
        def add_scalar(self, *_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    log = RunLog(folder, "x", 0)
    log.board = FullBoard()
    log.add({"epoch": 0})


def fill_cache(folder: Path) -> None:
    from mtcnn.compare.cache import _append

    _append(full(folder / "x.jsonl"), {"a": np.zeros((1, 5))}, {"a": [0, 0]})


def fill_skipped(folder: Path) -> None:
    from prepare.build import _note

    _note(full(folder / "skipped.txt"), Problem("a.jpg", "no image"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
@pytest.mark.parametrize(
    ("fill", "name"),
    [(fill_found, "found.jsonl"), (fill_written, "written.jsonl"), (fill_log, "metrics-x.jsonl"),
     (fill_board, "tensorboard"), (fill_cache, "x.jsonl"), (fill_skipped, "skipped.txt")],
)  # fmt: skip
def test_lines_that_find_no_room(tmp_path: Path, fill: Callable[[Path], None], name: str) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        fill(tmp_path)
    assert caught.value.filename == str(tmp_path / name)
