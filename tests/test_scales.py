"""Multi-scale and mirrored detection, and box voting: compared with plain loops, and with a synthetic detector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import plain_vote

from mtcnn.errors import DataError, SettingsError
from mtcnn.metrics.detections import DetectorMaker, detect_all, event_photos
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.scales import Pass, ScaledDetector, check_scale, mirror, passes, stretch
from mtcnn.metrics.voting import vote
from mtcnn.pictures.draw import save_image
from mtcnn.types import Faces, ImageSize
from mtcnn.workers import local_workers

# Whole numbers on a small canvas: boxes repeat, have no size, and meet the threshold exactly (10 x 10 and 10 x 3: 0.3).
_corner = st.tuples(st.integers(0, 12), st.integers(0, 12))
_size = st.tuples(st.integers(0, 10), st.integers(0, 10))
_score = st.sampled_from([0.0, 0.25, 0.5, 0.5, 0.75, 1.0])
_points = st.lists(st.one_of(st.just(float("nan")), st.integers(0, 20).map(float)), min_size=10, max_size=10)
_face = st.tuples(_corner, _size, _score, _points)


@given(st.lists(_face, max_size=8), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.sampled_from([1, 3, 750]))
def test_vote_equals_the_plain_loop(faces: list[Any], overlap: float, limit: int) -> None:
    boxes = [[x, y, x + w, y + h] for (x, y), (w, h), _, _ in faces]
    scores = [score for _, _, score, _ in faces]
    points = [row for _, _, _, row in faces]
    found = vote(Faces(np.reshape(boxes, (-1, 4)), np.array(scores), np.reshape(points, (-1, 5, 2))), overlap, limit)
    expected = plain_vote(boxes, scores, [b + p for b, p in zip(boxes, points, strict=True)], overlap, limit)
    assert found.scores.tolist() == [score for score, _ in expected]
    assert found.landmarks is not None
    rows = np.concatenate([found.boxes, found.landmarks.reshape(-1, 10)], axis=1).astype(np.float64)
    wanted = np.array([row for _, row in expected], np.float64).reshape(-1, 14)
    np.testing.assert_allclose(rows, wanted, rtol=1e-6, atol=1e-6)


def _faces(*rows: tuple[float, ...]) -> Faces:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Faces(table[:, :4], table[:, 4])


def test_vote_by_hand() -> None:
    """Two boxes that overlap by 8 / 12 > 0.3, weights 3 to 1; and one alone, which stays though nobody seconds it."""
    found = vote(_faces((0, 0, 10, 10, 0.75), (2, 0, 12, 10, 0.25), (50, 50, 60, 60, 0.5)))
    np.testing.assert_allclose(found.boxes, [[0.5, 0.0, 10.5, 10.0], [50.0, 50.0, 60.0, 60.0]])
    assert found.scores.tolist() == [0.75, 0.5]
    assert found.landmarks is None


def test_vote_at_the_threshold() -> None:
    """30 / 100 is in at 0.3; a box of no size overlaps nothing, not even itself repeated."""
    assert len(vote(_faces((0, 0, 10, 10, 0.9), (0, 0, 10, 3, 0.8)))) == 1
    assert len(vote(_faces((0, 0, 10, 10, 0.9), (0, 0, 10, 2.99, 0.8)))) == 2
    assert len(vote(_faces((5, 5, 5, 9, 0.9), (5, 5, 5, 9, 0.8)), overlap=0)) == 2
    assert len(vote(Faces.empty(with_landmarks=True))) == 0


@pytest.mark.parametrize(
    ("scale", "size", "expected"),
    [
        ("original", (300, 450), [Pass(1)]),
        ("vga", (512, 1024), [Pass(0.625)]),
        ("640", (1024, 512), [Pass(0.625)]),
        ("900", (300, 450), [Pass(2)]),
        ("1100x1650", (550, 1100), [Pass(1.5)]),
        ("1100x1650", (1100, 550), [Pass(1.5)]),
        ("1650x1100", (550, 600), [Pass(2)]),
        ("letterbox:640", (512, 1024), [Pass(0.625, square=640)]),
        ("multi", (300, 450), [Pass(1), Pass(0.5, 30), Pass(2, short_side_below=100), Pass(4, short_side_below=100)]),
        ("multi", (768, 1024), [Pass(1), Pass(0.5, 30), Pass(2, short_side_below=100)]),
        # 2147483647 / 577 pixels: the square root of 3.7 / 1.5 megapixels.
        ("multi", (1024, 1500), [Pass(1), Pass(0.5, 30), Pass(1.5566, short_side_below=100)]),
        ("multi", (2000, 3000), [Pass(1), Pass(0.5, 30)]),
    ],
)
def test_passes(scale: str, size: tuple[int, int], expected: list[Pass]) -> None:
    found = passes(scale, ImageSize(*size))
    assert [step.factor for step in found] == pytest.approx([step.factor for step in expected], abs=1e-4)
    rules = [(step.long_side_above, step.short_side_below, step.square) for step in found]
    assert rules == [(step.long_side_above, step.short_side_below, step.square) for step in expected]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("height", "width"), [(50, 100), (100, 50), (64, 64), (16, 40)])
def test_letterbox(height: int, width: int, flip: bool) -> None:
    """What SCRFD's program does with OpenCV: bilinear, then a black square. Boxes come back to the image's pixels."""
    image, seen = np.random.default_rng(0).integers(1, 256, (height, width, 3), np.uint8), []

    def detect(pixels: NDArray[np.uint8]) -> Faces:
        seen.append(pixels)
        return Faces(np.array([[8.0, 4, 16, 12]]), np.array([0.5]))

    found = ScaledDetector(detect, "letterbox:64", flip)(image)
    factor = 64 / max(height, width)
    size = round(width * factor), round(height * factor)
    for pixels, mirrored in zip(seen, (False, True), strict=False):
        wanted = np.zeros((64, 64, 3), np.uint8)
        small = np.asarray(cv2.resize(image, size))
        wanted[: size[1], : size[0]] = small[:, ::-1] if mirrored else small
        np.testing.assert_array_equal(pixels, wanted)
    assert len(seen) == 1 + flip
    back = np.array([width / size[0], height / size[1]] * 2)
    np.testing.assert_allclose(found.boxes[0], np.array([8, 4, 16, 12]) * back, rtol=1e-6)


@pytest.mark.parametrize(
    "scale", ["", "Multi", "-640", "11", "10001", "640.5", "0.5,1", "11x640", "640x10001", "640x", "letterbox",
              "letterbox:5", "letterbox:640x640", "1x2x3", "\u0661\u0662\u0663"]
)  # fmt: skip
def test_unknown_scales_are_rejected(scale: str) -> None:
    with pytest.raises(ValueError, match=r"expected original, vga, multi, or pixels of the longest side"):
        check_scale(scale)
    with pytest.raises(ValueError, match="scale is"):
        DetectorMaker({}, scale)


_LABELS = Faces(
    np.array([[10, 20, 30, 50]]), np.array([0.5]), np.array([[[14, 30], [26, 31], [20, 38], [15, 44], [25, 45]]])
)


def test_mirror_and_stretch() -> None:
    found = mirror(_LABELS, 100)
    assert found.boxes.tolist() == [[70, 20, 90, 50]]
    assert found.landmarks is not None
    # The eye and the mouth corner on the viewer's left are now those that were on the right.
    assert found.landmarks.tolist() == [[[74, 31], [86, 30], [80, 38], [75, 45], [85, 44]]]
    np.testing.assert_array_equal(mirror(found, 100).landmarks, _LABELS.landmarks)
    assert stretch(_LABELS, 2, 0.5).boxes.tolist() == [[20, 10, 60, 25]]
    assert mirror(Faces.empty(), 9).landmarks is None


class Blobs:
    """A detector of blobs in the red channel with sides of `least` pixels or more; their score rises with their size.

    A green spot in a blob is its left eye where it lies left of the middle, its right eye where right.
    """

    def __init__(self, least: float = 10) -> None:
        self.least, self.seen = least, list[ImageSize]()

    def __call__(self, image: NDArray[np.uint8]) -> Faces:
        assert image.flags.c_contiguous
        self.seen.append(ImageSize(*image.shape[:2]))
        rows, points = [], []
        stats = cv2.connectedComponentsWithStats((image[..., 0] > 127).astype(np.uint8))[2]
        for x, y, w, h, _ in stats[1:]:
            if min(w, h) >= self.least:
                rows.append([x, y, x + w, y + h, min(w, h) / 1000])
                points.append(self._points(image[y : y + h, x : x + w, 1], np.array([x, y]), w))
        return Faces(np.reshape(rows, (-1, 5))[:, :4], np.reshape(rows, (-1, 5))[:, 4], np.reshape(points, (-1, 5, 2)))

    @staticmethod
    def _points(green: NDArray[np.uint8], corner: NDArray[Any], width: int) -> NDArray[np.float64]:
        out = np.full((5, 2), np.nan)
        rows, columns = np.nonzero(green > 127)
        if len(rows):
            spot = np.array([columns.mean(), rows.mean()]) + 0.5
            out[0 if spot[0] < width / 2 else 1] = corner + spot
        return out


# Large, middling, small: 160 x 120 with a spot at its left, 40 x 30, 8 x 4.
_BOXES = np.array([[20, 10, 180, 130], [200, 100, 240, 130], [300, 200, 308, 204]], float)


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    image = np.zeros((300, 400, 3), np.uint8)
    for x1, y1, x2, y2 in _BOXES.astype(int):
        image[y1:y2, x1:x2, 0] = 255
    image[40:50, 50:60, 1] = 255
    return image


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("scale", "expected"), [("original", 2), ("200", 2), ("vga", 2), ("1600", 3), ("multi", 3)])
def test_faces_come_back_in_pixels_of_the_image(
    picture: NDArray[np.uint8], scale: str, expected: int, flip: bool
) -> None:
    """The smallest is found only at four times its size, without flip by one run of four: it must not be dropped."""
    faces = ScaledDetector(Blobs(), scale, flip)(picture)
    assert len(faces) == expected
    np.testing.assert_allclose(faces.boxes, _BOXES[:expected], atol=1.1)
    assert (np.diff(faces.scores) <= 0).all()
    assert faces.landmarks is not None
    np.testing.assert_allclose(faces.landmarks[0, 0], [55, 45], atol=1.1)
    assert np.isnan(faces.landmarks[0, 1:]).all()


def test_runs_of_multi(picture: NDArray[np.uint8]) -> None:
    blobs = Blobs()
    ScaledDetector(blobs, "multi", flip=True)(picture)
    sizes = [(300, 400), (150, 200), (600, 800), (1200, 1600)]
    assert blobs.seen == [size for size in sizes for _ in range(2)]


def test_multi_keeps_boxes_by_their_size(picture: NDArray[np.uint8]) -> None:
    """At half size only the large and the middling, 40 > 30, count; enlarged, not the large one, of 100 or more."""
    counts = {}
    for step in passes("multi", ImageSize(300, 400)):
        faces = ScaledDetector(Blobs(1), "original")._run(picture, ImageSize(300, 400), step, False)
        counts[step.factor] = faces.boxes[:, 0].round().tolist()
    assert counts == {1: [20, 200, 300], 0.5: [20, 200], 2: [200, 300], 4: [200, 300]}


def test_a_single_run_is_not_merged() -> None:
    """Without voting: the detector's result is unchanged, including overlapping boxes and their order."""
    given_back = _faces((0, 0, 10, 10, 0.1), (0, 0, 10, 11, 0.9))
    faces = ScaledDetector(lambda image: given_back)(np.zeros((20, 20, 3), np.uint8))
    np.testing.assert_array_equal(faces.boxes, given_back.boxes)


@pytest.mark.parametrize("empty", [Faces.empty(), Faces.empty(with_landmarks=True)])
def test_nothing_found_and_parts_without_landmarks(empty: Faces) -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    assert len(ScaledDetector(lambda _: empty, "multi", True)(image)) == 0
    answers = iter([empty, _LABELS, empty])
    found = ScaledDetector(lambda _: next(answers, empty), "multi")(np.zeros((3000, 100, 3), np.uint8))
    # The second run is at half size, so twice as large in the image: 40 x 60.
    assert found.boxes.tolist() == [[20, 40, 60, 100]]
    assert found.landmarks is not None


def _make_blobs() -> Callable[[NDArray[np.uint8]], Faces]:
    return Blobs()


@pytest.mark.parametrize("workers", [1, 2])
def test_any_detector_runs_over_files(picture: NDArray[np.uint8], tmp_path: Path, workers: int) -> None:
    save_image(tmp_path / "good.png", picture)
    (tmp_path / "bad.png").write_text("no image")
    images = {"e/bad": tmp_path / "bad.png", "e/good": tmp_path / "good.png", "e/none": tmp_path / "none.png"}
    problems = Problems()
    found = detect_all(images, _make_blobs, local_workers(workers), problems)
    assert list(found) == ["e/good"]
    np.testing.assert_array_equal(found["e/good"].boxes, _BOXES[:2])
    assert [problem.where for problem in problems] == [str(images["e/bad"]), str(images["e/none"])]
    assert problems[1].why.startswith("no such file; expected an image")
    if workers == 1:
        with pytest.raises(DataError, match=r"bad\.png: is not an image"):
            detect_all(images, _make_blobs, local_workers(1), Problems(strict=True))


def test_event_photos(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no photos in it"):
        event_photos(tmp_path)
    for name in ("e/a.JPG", "e/b.c.png", "e/notes.txt", "stray.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert event_photos(tmp_path) == {"e/a": tmp_path / "e/a.JPG", "e/b.c": tmp_path / "e/b.c.png"}
    assert event_photos(tmp_path, ["e/q", "e/a"]) == {"e/q": tmp_path / "e/q.jpg", "e/a": tmp_path / "e/a.JPG"}


@pytest.mark.parametrize("scale", ["12", "10000", "12x10000", "letterbox:12"])
def test_sides_up_to_the_ends_of_their_range(scale: str) -> None:
    assert check_scale(scale) == scale


@pytest.mark.parametrize("scale", ["11", "10001", "11x10000", "12x10001", "letterbox:11", "0", "1000000"])
def test_sides_beyond_the_ends(scale: str) -> None:
    with pytest.raises(SettingsError, match=f"scale is '{scale}'; expected"):
        check_scale(scale)
