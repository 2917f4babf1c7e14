"""Files that are kept are whole: a write that breaks off leaves the file before it, or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prepare import synthetic
from stages.photos.store import PhotoStore, build_photos, photos_key
from stages.run_log import RunLog

RECORDS = synthetic.records(4, 0)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A disk that takes half of a file whose name, or its draft's, has this in it."""

    def fill(part: str) -> None:
        def half(path: Path, data: Any, *args: Any, **kwargs: Any) -> int:
            if part not in path.name:
                return writers[type(data)](path, data, *args, **kwargs)
            writers[type(data)](path, data[: len(data) // 2], *args, **kwargs)
            raise OSError(28, "No space left on device")

        writers: dict[type, Callable[..., int]] = {str: Path.write_text, bytes: Path.write_bytes}
        monkeypatch.setattr(Path, "write_text", half)
        monkeypatch.setattr(Path, "write_bytes", half)

    return fill


@pytest.mark.parametrize("part", ["photos.json", "skipped-photos.txt"])
def test_pixels_never_have_the_index_of_others(tmp_path: Path, full: Callable[[str], None], part: str) -> None:
    """Photos of another key that were not noted to their end are made again; so are the first ones, which are gone."""
    path = tmp_path / "photos.raw"
    build_photos(RECORDS, path, "old", quiet=True)
    assert photos_key(path) == "old"
    full(part)
    with pytest.raises(OSError, match="No space left"):
        build_photos(RECORDS[:2], path, "new", quiet=True)
    assert photos_key(path) is None
    assert not list(tmp_path.glob(".*draft*"))


def test_photos_after_a_full_disk(tmp_path: Path, full: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photos.raw"
    full("photos.json")
    with pytest.raises(OSError, match="No space left"):
        build_photos(RECORDS, path, "k", quiet=True)
    monkeypatch.undo()
    build_photos(RECORDS, path, "k", quiet=True)
    assert photos_key(path) == "k"
    assert (PhotoStore(path, RECORDS)[1] == synthetic.image_of(RECORDS[1].path)).all()


@pytest.mark.parametrize("part", ["wider_face_train_bbx_gt.txt", "faces_train.csv"])
def test_labels_of_drawn_scenes(tmp_path: Path, full: Callable[[str], None], part: str) -> None:
    synthetic.write_folder(tmp_path, 2, seed=1)
    (labels,) = tmp_path.rglob(part)
    before = labels.read_text()
    full(part)
    with pytest.raises(OSError, match="No space left"):
        synthetic.write_folder(tmp_path, 3, seed=2)
    assert labels.read_text() == before


def test_curves_of_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure
    log = RunLog(tmp_path, "x", 0)
    log.add({"epoch": 0, "train_face": 0.5, "val_face": 0.25})
    log.draw()
    before = (tmp_path / "curves-x.png").read_bytes()
    assert before.startswith(b"\x89PNG") and before.endswith(b"IEND\xaeB`\x82")

    def half(self: Any, target: Path, **settings: Any) -> None:
        Path(target).write_bytes(before[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", half)
    with pytest.raises(OSError, match="No space left"):
        log.draw()
    assert (tmp_path / "curves-x.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["curves-x.png", "metrics-x.jsonl"]
