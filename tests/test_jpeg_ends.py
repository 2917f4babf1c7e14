"""JPEGs that end early: read as far as they go, with a warning, or rejected if most is missing."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mtcnn.errors import ImageError
from mtcnn.images import read_image, read_photo
from mtcnn.metrics.detections import detect_all
from mtcnn.metrics.problems import Problems
from mtcnn.types import Faces
from mtcnn.workers import Here
from prepare.build import CropMaker, build
from prepare.labels import IouBands
from prepare.records import ImageRecord
from prepare.sample import CropSettings

END = b"\xff\xd9"


def encoded(image: NDArray[np.uint8], **settings: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", **{"quality": 90, **settings})
    return stream.getvalue()


@pytest.fixture(scope="module")
def photo(photos: dict[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return photos["astronaut"][:240, :200]


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "full colour": {"subsampling": 0},
    "restarts": {"restart_marker_rows": 1},
    "own tables": {"optimize": True},
}


@pytest.mark.parametrize("kind", [*SETTINGS, "progressive"])
def test_without_its_end_marker(photo: NDArray[np.uint8], kind: str) -> None:
    data = encoded(photo, **SETTINGS.get(kind, {"progressive": True}))
    whole = read_image(data)
    for cut in (data[:-2], data[:-1]):
        said = "all of its rows are there" if kind == "progressive" else "the last 0 of its 240 rows are missing"
        with pytest.warns(UserWarning, match=rf"image of \d+ bytes: ends early: {said}"):
            found = read_image(cut)
        assert np.array_equal(found, whole)


def test_gray_and_cmyk_without_the_end_marker(photo: NDArray[np.uint8]) -> None:
    for mode in ("L", "CMYK"):
        stream = io.BytesIO()
        Image.fromarray(photo).convert(mode).save(stream, "JPEG", quality=90)
        found, said = read_photo(stream.getvalue()[:-2])
        assert said.startswith("ends early: the last 0 of")
        assert np.array_equal(found, read_image(stream.getvalue()))


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("ended", [b"", END, bytes(3000)])
def test_missing_rows_are_counted(photo: NDArray[np.uint8], kind: str, ended: bytes) -> None:
    """Truncated, truncated with an end marker, and padded with zeros to the full length."""
    data = encoded(photo, **SETTINGS[kind])
    whole = read_image(data)
    found, said = read_photo(data[: int(len(data) * 0.85)] + ended)
    missing = int(said.removeprefix("ends early: the last ").split()[0])
    assert said == f"ends early: the last {missing} of its 240 rows are missing"
    assert 8 <= missing <= 80
    there = 240 - missing - 16  # the chroma of the last row of blocks is smoothed with what is below
    assert np.array_equal(found[:there], whole[:there])
    assert (found[-1] == 128).all()


@pytest.mark.parametrize("ended", [b"", END])
def test_rejected_if_most_rows_are_missing(photo: NDArray[np.uint8], ended: bytes) -> None:
    data = encoded(photo)
    with pytest.raises(ImageError, match=r"is damaged \(ends early: the last \d+ of its 240 rows are missing\); .*; "):
        read_image(data[: len(data) // 4] + ended)


def test_a_false_size_in_the_header() -> None:
    data = bytearray(encoded(np.zeros((64, 64, 3), np.uint8)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 2000, 2000)
    with pytest.raises(ImageError, match="is damaged"):
        read_image(bytes(data))


@pytest.mark.filterwarnings("error")
def test_whole_files_with_gray_at_the_bottom() -> None:
    gray = np.full((64, 64, 3), 128, np.uint8)
    for settings in (*SETTINGS.values(), {"progressive": True}):
        assert np.array_equal(read_image(encoded(gray, **settings)), gray)


@pytest.mark.filterwarnings("error")
def test_data_after_the_end(photo: NDArray[np.uint8]) -> None:
    """Phones append videos; the picture before them is whole."""
    data = encoded(photo)
    for more in (b"\0" * 5000, bytes(range(256)) * 40, b"ftypmp42" * 900 + b"\0" * 900):
        assert np.array_equal(read_image(data + more), read_image(data))


def test_the_warning_points_to_the_caller(photo: NDArray[np.uint8]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_image(encoded(photo)[:-2])
    assert [warning.filename for warning in caught] == [__file__]


# -------------------------------------------------------------------------------------------------- who is told what


def test_training_skips_truncated_photos(photo: NDArray[np.uint8], tmp_path: Path) -> None:
    """It is unknown which of the labelled faces are missing."""
    records = []
    for name, data in (("whole", encoded(photo)), ("cut", encoded(photo)[:-900]), ("end", encoded(photo)[:-2])):
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(data)
        records.append(ImageRecord(path, np.array([[40.0, 30, 100, 110]])))
    problems = build(
        records, CropMaker(12, 0, IouBands(), CropSettings(negatives=5)), tmp_path / "crops", "k", Here(), True
    )
    assert [Path(problem.where).stem for problem in problems] == ["cut", "end"]
    assert all("ends early: the last " in problem.why and "whole photo" in problem.why for problem in problems)


def _one_face(image: NDArray[np.uint8]) -> Faces:
    return Faces(np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32), np.ones(1, np.float32))


def _finds_one() -> Callable[[NDArray[np.uint8]], Faces]:
    return _one_face


def test_evaluation_uses_truncated_photos_with_a_message(photo: NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(encoded(photo)[:-900])
    problems = Problems()
    found = detect_all({"cut": path}, _finds_one, Here(), problems)
    assert found["cut"].boxes.tolist() == [[0, 0, 200, 240]]
    (problem,) = problems
    assert problem.where == str(path) and problem.why.startswith("ends early: the last ")
