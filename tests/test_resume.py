"""Resuming from the output of an earlier run that was killed at any byte."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtcnn.errors import DataError
from mtcnn.stream.items import Item
from mtcnn.stream.resume import read_listing, read_wider
from mtcnn.stream.sinks.listing import Listing, Style, columns
from mtcnn.stream.sinks.wider_files import WiderFiles
from mtcnn.types import Faces

STYLES: tuple[Style, ...] = ("json", "csv", "text")
SOURCES = [Path(name) for name in ("a.png", "odd, \n: 2 faces.png", "none.png", "a.mp4", "b.mp4", "z.png")]


def items() -> list[Item]:
    """Items of all SOURCES but the last; the videos have three frames, the middle one without faces."""
    image = np.zeros((40, 32, 3), np.uint8)
    found = [Item(source, image, faces(count)) for source, count in zip(SOURCES, (2, 1, 0), strict=False)]
    for source in SOURCES[3:5]:
        found += [Item(source, image, faces(count), i, i / 25) for i, count in enumerate((2, 0, 1))]
    return found


def faces(count: int) -> Faces:
    return Faces(np.arange(4 * count, dtype=np.float32).reshape(-1, 4), np.linspace(0.9, 0.8, count, dtype=np.float32))


NAMES = columns(SOURCES, track=False)


def text_of(style: Style, some: Sequence[Item], begun: bool = False) -> bytes:
    out = io.StringIO()
    listing = Listing(out, style, NAMES, begun=begun)
    for item in some:
        listing.write(item)
    return out.getvalue().encode()


@pytest.mark.parametrize("whole_videos", [False, True])
@pytest.mark.parametrize("style", STYLES)
def test_killed_at_any_byte(tmp_path: Path, style: Style, whole_videos: bool) -> None:
    """The valid part, with what the second run appends, equals the output of an uninterrupted run."""
    whole, out = text_of(style, items()), tmp_path / "out"
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in sorted({*range(0, len(whole), 11), *ends, *(end - 1 for end in ends)}):
        out.write_bytes(whole[:cut])
        done = read_listing(out, style, NAMES, SOURCES, whole_videos)
        left = [
            item
            for item in items()
            if item.source not in done.sources and (item.frame or 0) >= done.first.get(item.source, 0)
        ]
        assert whole[: done.keep] + text_of(style, left, begun=done.keep > 0) == whole, (cut, done)
        assert not (whole_videos and done.first)


def test_finished_items(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(text_of("json", items()[:5]) + b'{"image": "torn')
    done = read_listing(out, "json", NAMES, SOURCES)
    assert done.sources == set(SOURCES[:3])
    assert done.first == {SOURCES[3]: 2}
    assert done.keep == len(text_of("json", items()[:5]))
    done = read_listing(out, "json", NAMES, SOURCES, whole_videos=True)
    assert (done.sources, done.first) == (set(SOURCES[:3]), {})
    assert done.keep == len(text_of("json", items()[:3]))


def test_a_video_with_others_behind_it_is_done(tmp_path: Path) -> None:
    for style in STYLES:
        (tmp_path / "out").write_bytes(text_of(style, items()))
        done = read_listing(tmp_path / "out", style, NAMES, SOURCES)
        assert SOURCES[3] in done.sources
        assert done.first.keys() == {SOURCES[4]}


def test_names_of_other_runs_stay(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(text_of("json", items()))
    done = read_listing(tmp_path / "out", "json", NAMES, [SOURCES[0], Path("new.png")])
    assert done.sources == {SOURCES[0]}
    assert done.keep == (tmp_path / "out").stat().st_size


@pytest.mark.parametrize("style", STYLES)
def test_a_missing_file(tmp_path: Path, style: Style) -> None:
    for content in (None, b"", b"torn"):
        if content is not None:
            (tmp_path / "out").write_bytes(content)
        done = read_listing(tmp_path / "out", style, NAMES, SOURCES)
        assert (done.sources, done.first, done.keep) == (set(), {}, 0)


@pytest.mark.parametrize(
    ("style", "content"),
    [
        ("json", b"a.png: 0 faces\n"),
        ("json", b'{"name": 1}\n'),
        ("json", b"[]\n3\n"),
        ("csv", b"image,x1\na.png,3\n"),
        ("csv", ",".join(NAMES).encode() + b"\na.png,1,2\na.png,1,2\n"),
        ("text", b'{"image": "a.png"}\n'),
        ("text", b"  1.0 2.0 3.0 4.0  score 0.9\n"),
        ("text", b"a.png: 1 face\nletter\n"),
    ],
)
def test_other_files_are_left_alone(tmp_path: Path, style: Any, content: bytes) -> None:
    (tmp_path / "out").write_bytes(content)
    with pytest.raises(DataError, match="out: is no listing to continue with `resume`"):
        read_listing(tmp_path / "out", style, NAMES, SOURCES)
    assert (tmp_path / "out").read_bytes() == content


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_listing(tmp_path, "json", NAMES, SOURCES)


def test_wider_files(tmp_path: Path) -> None:
    files = WiderFiles(tmp_path, SOURCES)
    assert read_wider(files, SOURCES).sources == set()
    for item in items()[:5]:
        if item.source != SOURCES[2]:
            files.write(item)
    (tmp_path / f"{files.name(SOURCES[2])}.txt.part").touch()  # torn
    done = read_wider(files, SOURCES)
    assert done.sources == set(SOURCES[:2])
    assert done.first == {SOURCES[3]: 2, SOURCES[4]: 0}
    assert read_wider(files, SOURCES, whole_videos=True).first == {}
