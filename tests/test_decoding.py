"""Reading ahead in threads: in order, bounded, and stopped at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clips import number_of, numbered, write_clip

from mtcnn.errors import ImageError
from mtcnn.images import Photo
from mtcnn.stream import decoding
from mtcnn.stream.decoding import SourceDecoder, batches
from mtcnn.stream.items import Item
from mtcnn.types import Faces

SOURCES = [Path(f"{number}.png") for number in range(30)]


def read(monkeypatch: pytest.MonkeyPatch, side: int = 20, then: Callable[[int], object] | None = None) -> list[int]:
    """Replaces the reading of image files by making them; returns the numbers of those that have been read so far."""
    done: list[int] = []

    def make(source: Path, _: int) -> Photo:
        if then:
            then(int(source.stem))
        done.append(int(source.stem))
        return Photo(np.full((side, side, 3), int(source.stem), np.uint8), "")

    monkeypatch.setattr(decoding, "read_photo", make)
    return done


def test_items_keep_the_order_of_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although every third image takes longer than those after it."""
    read(monkeypatch, then=lambda number: time.sleep(0.01 if number % 3 == 0 else 0))
    items = list(SourceDecoder(ahead=8).read(SOURCES))
    assert [int(item.image[0, 0, 0]) for item in items if isinstance(item, Item)] == list(range(30))
    assert [item.source for item in items if isinstance(item, Item)] == SOURCES


def test_errors_keep_their_position(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(number: int) -> None:
        if number % 10 == 3:
            raise ImageError(f"{number} is bad")

    read(monkeypatch, then=fail)
    found = list(SourceDecoder().read(SOURCES))
    assert [i for i, item in enumerate(found) if isinstance(item, ImageError)] == [3, 13, 23]
    assert str(found[13]) == "13 is bad"


@pytest.mark.parametrize(("pixels", "most"), [(10**9, 8 + 1), (1000, 2 + 2), (0, 1 + 2)])
def test_reading_ahead_is_bounded(monkeypatch: pytest.MonkeyPatch, pixels: int, most: int) -> None:
    """By number, and by pixels: images have 400; a thread may begin while 1,000 or less wait, and two may at once."""
    monkeypatch.setattr(decoding, "PIXELS", pixels)
    done = read(monkeypatch)
    for taken, _ in enumerate(SourceDecoder(ahead=8).read(SOURCES)):
        if taken < 3:
            time.sleep(0.1)  # long enough for the threads to read all, if nothing held them
        assert len(done) - taken <= most + 1  # one is in our hands
    assert len(done) == 30


def test_a_closed_reader_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "PIXELS", 0)  # so that threads wait for room
    done = read(monkeypatch)
    reader = SourceDecoder(ahead=8).read(SOURCES)
    next(reader)
    reader.close()
    count = len(done)
    assert count <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
    assert len(done) == count


def test_frames(tmp_path: Path) -> None:
    told: list[int | None] = []
    clip = write_clip(tmp_path / "clip.avi", numbered(10), 10)
    decoder = SourceDecoder(every=2, ahead=3, first={clip: 4}, opened=told.append)
    items = [item for item in decoder.read([clip]) if isinstance(item, Item)]
    assert [item.frame for item in items] == [number_of(item.image) for item in items] == [4, 6, 8]
    assert [item.time for item in items] == pytest.approx([0.4, 0.6, 0.8])
    assert [item.fps for item in items] == [5, 5, 5]
    assert told == [3]


def test_batches() -> None:
    items: list[Item | ImageError] = [
        Item(path, np.zeros((10, 10, 3), np.uint8), Faces.empty()) for path in SOURCES[:5]
    ]
    items.insert(1, ImageError("bad"))
    assert [len(batch) for batch in batches(items, 4)] == [4, 2]
    assert [each for batch in batches(items, 4) for each in batch] == items
    camera = Item(Path("camera:0"), np.zeros((10, 10, 3), np.uint8), Faces.empty())
    assert [len(batch) for batch in batches([camera, camera, *items[:2]], 4)] == [1, 1, 2]


def test_batches_of_large_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "PIXELS", 250)
    items = [Item(path, np.zeros((10, 10, 3), np.uint8), Faces.empty()) for path in SOURCES[:5]]
    assert [len(batch) for batch in batches(items, 4)] == [3, 2]
