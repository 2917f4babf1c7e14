"""Faces as text, CSV and JSON lines, and as WIDER FACE's files."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtcnn.errors import MtcnnError
from mtcnn.metrics.wider_detections import load_detections
from mtcnn.stream.items import Item
from mtcnn.stream.sinks.listing import COLUMNS, Listing, Style, columns, open_listing
from mtcnn.stream.sinks.wider_files import WiderFiles
from mtcnn.types import Faces

POINTS: list[list[float]] = [[11, 12], [13, 14], [15, 16], [17, 18], [19, 20.5]]


def item(count: int, source: str = "in/a.png", **more: Any) -> Item:
    """With `count` of two faces, of the second of which one eye is unknown."""
    boxes = np.array([[1, 2, 21.126, 22], [5, 6, 15, 16.5]], np.float32)[:count]
    points = np.array([POINTS] * 2, np.float32)[:count]
    points[1:, 0] = np.nan
    faces = Faces(boxes, np.array([0.98765, 0.5], np.float32)[:count], points)
    return Item(Path(source), np.zeros((40, 32, 3), np.uint8), faces, **more)


def printed(style: Any, *items: Item, **settings: Any) -> str:
    out = io.StringIO()
    listing = Listing(out, style, **settings)
    for each in items:
        listing.write(each)
    listing.close()
    return out.getvalue()


FRAME: dict[str, Any] = {"frame": 7, "time": 0.28049, "fps": 25.0}


def test_text() -> None:
    assert printed("text", item(0), item(1), item(2)).splitlines() == [
        "in/a.png: 0 faces",
        "in/a.png: 1 face",
        "       1.0      2.0     21.1     22.0  score 0.988",
        "in/a.png: 2 faces",
        "       1.0      2.0     21.1     22.0  score 0.988",
        "       5.0      6.0     15.0     16.5  score 0.500",
    ]


def test_text_of_a_video() -> None:
    assert printed("text", item(1, "a.mp4", **FRAME, ids=(12,))).splitlines() == [
        "a.mp4 frame 7 (0.280 s): 1 face",
        "       1.0      2.0     21.1     22.0  score 0.988  id 12",
    ]


def test_json_lines() -> None:
    lines = printed("json", item(0), item(2)).splitlines()
    none, two = (json.loads(line, parse_constant=pytest.fail) for line in lines)
    assert none == {"image": "in/a.png", "width": 32, "height": 40, "faces": []}
    assert two["faces"][0] == {"box": [1, 2, 21.13, 22], "score": 0.98765, "landmarks": POINTS}
    assert two["faces"][1]["landmarks"] == [[None, None], *POINTS[1:]]


def test_json_of_a_video() -> None:
    row = json.loads(printed("json", item(2, "a.mp4", **FRAME, ids=(12, 3))))
    assert list(row) == ["image", "frame", "time", "width", "height", "faces"]
    assert (row["image"], row["frame"], row["time"]) == ("a.mp4", 7, 0.28)
    assert [face["id"] for face in row["faces"]] == [12, 3]


def test_csv() -> None:
    header, *rows = csv.reader(io.StringIO(printed("csv", item(0), item(1), item(2))))
    assert header[:8] == ["image", "x1", "y1", "x2", "y2", "score", "x_left_eye", "y_left_eye"]
    assert header[-1] == "y_right_mouth"
    assert {len(row) for row in rows} == {len(header)} == {16}
    assert len(rows) == 3
    assert [float(value) for value in rows[0][1:]] == [1, 2, 21.13, 22, 0.98765, *np.ravel(POINTS)]
    assert rows[2][6:10] == ["", "", "13.0", "14.0"]  # an unknown point is left empty


def test_csv_of_a_video() -> None:
    names = columns([Path("a.png"), Path("a.mp4")], track=True)
    text = printed("csv", item(1), item(2, "a.mp4", **FRAME, ids=(12, 3)), names=names)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["image"], row["frame"], row["time"], row["id"]) for row in rows] == [
        ("in/a.png", "", "", ""),
        ("a.mp4", "7", "0.28", "12"),
        ("a.mp4", "7", "0.28", "3"),
    ]
    assert [row["y_right_mouth"] for row in rows] == ["20.5"] * 3


def test_columns() -> None:
    assert columns([Path("a.png")], False) == COLUMNS
    assert columns([Path("a.mp4")], False) == columns([Path("camera:0")], False) == (*COLUMNS, "frame", "time")


def test_faces_without_landmarks() -> None:
    bare = Item(Path("a"), np.zeros((4, 3, 3), np.uint8), Faces(np.ones((1, 4)), np.ones(1)))  # type: ignore[arg-type]
    assert "landmarks" not in json.loads(printed("json", bare))["faces"][0]
    (_, row) = csv.reader(io.StringIO(printed("csv", bare)))
    assert row == ["a", "1.0", "1.0", "1.0", "1.0", "1.0", *[""] * 10]


def test_names_of_any_kind() -> None:
    odd = 'größe, "2"\n.png'
    assert json.loads(printed("json", item(1, odd)))["image"] == odd
    (_, fields) = csv.reader(io.StringIO(printed("csv", item(1, odd)), newline=""))
    assert fields[0] == odd
    assert printed("text", item(0, odd)) == '"größe, \\"2\\"\\n.png": 0 faces\n'  # one line


def test_each_item_is_one_write() -> None:
    """So that the lines of an image stay together."""

    class Counted(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            Counted.writes += 1
            return super().write(text)

    for style in ("text", "json", "csv"):
        listing = Listing(Counted(), style)
        Counted.writes = 0
        listing.write(item(2))
        assert Counted.writes == 1


# ---- files


def test_a_file_is_overwritten_or_resumed(tmp_path: Path) -> None:
    out = tmp_path / "new" / "faces.csv"
    for keep, expected in ((0, 3), (out, 5), (0, 3)):
        size = out.stat().st_size if keep else 0
        listing = open_listing(out, "csv", COLUMNS, size)
        listing.write(item(2))
        listing.close()
        assert len(out.read_text().splitlines()) == expected
    listing = open_listing(out, "csv", COLUMNS, len(",".join(COLUMNS)) + 1)
    assert len(out.read_text().splitlines()) == 3  # until the first item, or the end of the run
    listing.finish()
    listing.close()
    assert out.read_text() == ",".join(COLUMNS) + "\n"  # what is not kept is cut off


def test_undecodable_names_are_written_as_stored(tmp_path: Path) -> None:
    """In JSON, which must be UTF-8, as escapes that Python decodes to the same name."""
    stored_as: tuple[tuple[Style, bytes], ...] = (("text", b"\xff.png"), ("csv", b"\xff.png"), ("json", rb"\udcff.png"))
    for style, stored in stored_as:
        listing = open_listing(tmp_path / "out", style, COLUMNS)
        listing.write(item(1, os.fsdecode(b"\xff.png")))
        listing.close()
        assert stored in (tmp_path / "out").read_bytes()


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "file" / "out"):
        with pytest.raises(MtcnnError, match="cannot be written"):
            open_listing(out, "json", COLUMNS)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_reported() -> None:
    listing = open_listing(Path("/dev/full"), "json", COLUMNS)
    with pytest.raises(MtcnnError, match="No space left"):
        listing.write(item(1))
    listing.close()


# ---- WIDER FACE's files


def test_wider_files_are_read_back(tmp_path: Path) -> None:
    sources = [Path("in/0--A/x.jpg"), Path("in/0--A/x.png"), Path("in/1--B/x.jpg"), Path("in/clip.mp4")]
    files = WiderFiles(tmp_path, sources)
    for count, source in zip((2, 1, 0), sources, strict=False):
        files.write(item(count, str(source)))
    files.write(item(1, "in/clip.mp4", **FRAME))
    files.close()
    found = load_detections(tmp_path)
    assert {name: len(rows) for name, rows in found.items()} == {
        "0--A/x": 2,
        "0--A/x-2": 1,
        "1--B/x": 0,
        "clip/clip-frame000007": 1,
    }
    np.testing.assert_allclose(found["0--A/x"][0], [1, 2, 20.13, 20, 0.98765], atol=1e-5)
    assert sorted(path.suffix for path in tmp_path.rglob("*") if path.is_file()) == [".txt"] * 4


def test_wider_events_of_short_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = WiderFiles(tmp_path / "found", [Path("a.jpg"), Path("/a.jpg"), Path("camera:0")])
    assert files.name(Path("a.jpg")) == f"{tmp_path.name}/a"
    assert files.name(Path("/a.jpg")) == "root/a"
    assert files.name(Path("camera:0"), 3) == "camera-0/camera-0-frame000003"


def test_wider_undecodable_names(tmp_path: Path) -> None:
    sources = [Path(os.fsdecode(b"in/\xff.png")), Path("in/a\nb.png")]
    files = WiderFiles(tmp_path, sources)
    for source in sources:
        files.write(item(2, str(source)))
    assert sorted(map(len, load_detections(tmp_path).values())) == [2, 2]


def test_wider_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="expected a folder"):
        WiderFiles(tmp_path / "file", [])
