"""Drawing: lines at the faces and nowhere else; the format of pictures follows their suffix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mtcnn.errors import ImageError, SettingsError
from mtcnn.images import read_image
from mtcnn.pictures.align import align, crop
from mtcnn.pictures.anonymise import anonymise
from mtcnn.pictures.draw import BOX, DOT, SAVE_SUFFIXES, draw_faces, save_image
from mtcnn.types import Faces

GRAY = np.full((300, 400, 3), 128, np.uint8)


def face(box: tuple[float, ...], score: float = 0.9, points: Any = None) -> Faces:
    landmarks = None if points is None else np.asarray(points, np.float32)[None]
    return Faces(np.array([box], np.float32), np.array([score], np.float32), landmarks)


def changed(picture: NDArray[np.uint8], before: NDArray[np.uint8] = GRAY) -> tuple[int, int, int, int]:
    """The smallest x1 y1 x2 y2 around all changed pixels."""
    rows, columns = np.nonzero((picture != before).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_box_lies_on_its_edges() -> None:
    picture = draw_faces(GRAY, face((100, 80, 200, 220)), scores=False, line_width=1)
    assert changed(picture) == pytest.approx((98, 78, 202, 222), abs=2)  # the line, its edge, and their smoothing
    for x, y in ((100, 150), (200, 150), (150, 80), (150, 220)):
        around = picture[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).astype(int)
        assert np.abs(around - BOX).sum(axis=1).min() < 200  # mixed with its edge; gray is 274 away, black 534
    assert np.array_equal(picture[90:210, 110:190], GRAY[90:210, 110:190])


def test_picture_is_new_and_no_face_changes_nothing() -> None:
    original = GRAY.copy()
    original.setflags(write=False)
    for faces in (Faces.empty(), Faces.empty(with_landmarks=True)):
        picture = draw_faces(original, faces)
        assert np.array_equal(picture, original)
        picture[0, 0] = 7  # its own memory
    assert draw_faces(original, face((10, 10, 90, 90))).flags.writeable
    assert (original == 128).all()


def test_lines_grow_with_the_image() -> None:
    def thickness(side: int) -> int:
        empty = np.zeros((side, side, 3), np.uint8)
        picture = draw_faces(empty, face((side * 0.25, side * 0.25, side * 0.75, side * 0.75)), scores=False)
        return int((picture[side // 2, : side // 2] > 100).any(axis=1).sum())

    assert thickness(200) <= 2
    assert 5 <= thickness(1800) <= 8
    assert thickness(3000) > thickness(1800)


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_visible_on_dark_and_light(shade: int) -> None:
    points = [(150, 120), (190, 120), (170, 150), (155, 180), (185, 180)]
    plain = np.full((300, 400, 3), shade, np.uint8)
    picture = draw_faces(plain, face((120, 80, 220, 220), points=points))
    contrast = np.abs(picture.astype(int) - shade).max(axis=2)
    for x, y in [(120, 150), *points]:
        assert contrast[y - 6 : y + 7, x - 6 : x + 7].max() > 100


@pytest.mark.filterwarnings("error")  # such as NumPy's, when NaN becomes a whole number
def test_landmarks() -> None:
    points: list[list[float]] = [[150, 120], [190, 120], [np.nan, np.nan], [155, 180], [185, 180]]
    faces = face((120, 80, 220, 220), points=points)
    picture = draw_faces(GRAY, faces)
    for x, y in (points[0], points[1], points[3], points[4]):
        assert picture[int(y), int(x)].tolist() == list(DOT)
    assert np.array_equal(draw_faces(GRAY, faces, landmarks=False), draw_faces(GRAY, face((120, 80, 220, 220))))


def test_scores() -> None:
    faces = face((100, 80, 200, 220), 0.87)
    with_score, without = draw_faces(GRAY, faces), draw_faces(GRAY, faces, scores=False)
    left, top, right, bottom = changed(with_score, without)
    assert 90 <= left < right <= 160 and 50 <= top < bottom <= 85  # above the upper left corner
    other = draw_faces(GRAY, face((100, 80, 200, 220), 0.31))
    assert not np.array_equal(with_score, other)
    small = face((100, 80, 108, 90))
    assert np.array_equal(draw_faces(GRAY, small), draw_faces(GRAY, small, scores=False))


def test_a_small_face_stays_visible_under_its_drawing() -> None:
    image = np.full((1200, 1600, 3), 128, np.uint8)
    points = [[608, 310], [616, 310], [612, 315], [609, 320], [615, 320]]
    picture = draw_faces(image, face((600, 300, 624, 330), points=points), scores=False)
    assert (picture[300:330, 600:624] == 128).all(axis=2).mean() > 0.3
    assert draw_faces(image, face((600, 300, 624, 330)), scores=False, line_width=5)[315, 603].tolist() != [128] * 3


def test_scores_do_not_cover_one_another() -> None:
    boxes = np.array([[100, 80, 200, 220], [110, 84, 210, 224], [250, 80, 350, 220]], np.float32)

    def drawn(*scores: float) -> NDArray[np.uint8]:
        return draw_faces(GRAY, Faces(boxes, np.array(scores, np.float32)))

    assert np.array_equal(drawn(0.9, 0.8, 0.7), drawn(0.9, 0.75, 0.7)), "the second is left out"
    assert not np.array_equal(drawn(0.9, 0.8, 0.7), drawn(0.9, 0.8, 0.6))
    assert not np.array_equal(drawn(0.9, 0.8, 0.7), drawn(0.99, 0.8, 0.7))
    faces = Faces(boxes, np.array([0.9, 0.8, 0.7], np.float32))
    named = draw_faces(GRAY, faces, labels=["#1", "#2", "#3"])
    assert not np.array_equal(named, draw_faces(GRAY, faces, labels=["#1", "#5", "#3"])), "ids are all told"


def test_score_stays_inside_the_picture() -> None:
    def label(box: tuple[float, ...]) -> NDArray[np.uint8]:
        written, plain = draw_faces(GRAY, face(box)), draw_faces(GRAY, face(box), scores=False)
        x1, y1, x2, y2 = changed(written, plain)
        return written[y1:y2, x1:x2]

    whole = label((120, 100, 220, 200))
    for box in ((-30, 100, 60, 160), (385, 100, 460, 180), (100, -40, 190, 60), (100, 330, 190, 400)):
        assert np.abs(np.array(label(box).shape) - whole.shape).max() <= 3, box  # not cut by a border


def test_best_face_is_on_top() -> None:
    boxes = np.array([[100, 80, 200, 220], [150, 80, 250, 220]], np.float32)
    scores = np.array([0.4, 0.9], np.float32)
    picture = draw_faces(GRAY, Faces(boxes, scores), scores=False, line_width=5)
    assert picture[150, 150].tolist() == list(BOX)
    flipped = draw_faces(GRAY, Faces(boxes[::-1], scores[::-1]), scores=False, line_width=5)
    assert np.array_equal(picture, flipped)


@pytest.mark.filterwarnings("error")
def test_extreme_coordinates_do_no_harm() -> None:
    far = face((-1e9, -1e9, 1e9, 1e9), points=[[1e30, -1e30]] * 5)
    assert draw_faces(GRAY, far).shape == GRAY.shape
    unknown = face((np.nan, 0, 10, 10), points=[[np.inf, 3]] * 5)
    assert np.array_equal(draw_faces(GRAY, unknown), GRAY)
    assert draw_faces(np.zeros((1, 1), np.uint8), face((0, 0, 1, 1))).shape == (1, 1, 3)


def test_any_image_is_drawn_on() -> None:
    gray = np.full((300, 400), 128 * 257, np.uint16)
    assert np.array_equal(draw_faces(gray, face((10, 10, 90, 90))), draw_faces(GRAY, face((10, 10, 90, 90))))


@pytest.mark.parametrize("suffix", SAVE_SUFFIXES)
def test_save(tmp_path: Path, suffix: str, photos: dict[str, NDArray[np.uint8]]) -> None:
    path = tmp_path / f"größe{suffix.upper()}"
    save_image(path, photos["astronaut"])
    difference = np.abs(read_image(path).astype(int) - photos["astronaut"])
    assert difference.mean() < (4 if suffix in (".jpg", ".jpeg", ".webp") else 1e-9)


@pytest.mark.parametrize("name", ["picture", "picture.txt", "picture.gif", ".png"])
def test_save_names_an_unknown_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match=r"suffix.*expected one of .*\.png"):
        save_image(tmp_path / name, GRAY)
    assert not list(tmp_path.iterdir())


def test_save_errors_are_one_line(tmp_path: Path) -> None:
    for path, rgb in ((tmp_path / "no" / "folder.png", GRAY), (tmp_path / "long.webp", np.zeros((1, 20000), np.uint8))):
        with pytest.raises(ImageError, match="cannot be written") as caught:
            save_image(path, rgb)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match="float"):
        save_image(tmp_path / "float.png", np.zeros((4, 4, 3)))


def test_pictures_of_faces_take_what_the_detector_takes(tmp_path: Path, photos: dict[str, NDArray[np.uint8]]) -> None:
    """The path that faces were detected in, a Pillow image, or bytes: not arrays alone."""
    pixels = photos["astronaut"]
    path = tmp_path / "photo.png"
    save_image(path, pixels)
    points = np.array([[40, 50], [80, 50], [60, 70], [45, 90], [75, 90]], np.float32)
    faces = Faces(np.array([[30, 30, 90, 110]], np.float32), np.array([0.9], np.float32), points[None])
    for image in (path, str(path), path.read_bytes(), Image.fromarray(pixels)):
        assert np.array_equal(draw_faces(image, faces), draw_faces(pixels, faces))
        assert np.array_equal(anonymise(image, faces.boxes), anonymise(pixels, faces.boxes))
        assert np.array_equal(crop(image, faces.boxes)[0], crop(pixels, faces.boxes)[0])
        assert np.array_equal(align(image, points), align(pixels, points))
    with pytest.raises(ImageError, match="no such file"):
        draw_faces("none.jpg", faces)


def test_labels_are_one_for_each_face() -> None:
    faces = Faces(np.array([[5, 25, 60, 60]] * 2, np.float32), np.array([0.9, 0.8], np.float32))
    assert np.array_equal(draw_faces(GRAY, faces, labels=[1, 2]), draw_faces(GRAY, faces, labels=["1", "2"]))
    with pytest.raises(SettingsError, match="1 labels for 2 faces; expected one for each"):
        draw_faces(GRAY, faces, labels=["1"])
