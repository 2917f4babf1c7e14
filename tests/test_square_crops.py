"""Training pictures of single-stage detectors: boxes, borders, colours, pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtcnn.boxes import areas
from prepare.records import ImageRecord
from stages.photos.colour import distort
from stages.photos.crops import PictureSettings, anchored_crop, crop, fill, mirrored, square_crop
from stages.photos.pages import page, tile
from stages.scene import Scene

PLAIN = PictureSettings(brightness=0, contrast=0, saturation=0, hue=0)


def photo_with_faces(height: int, width: int, boxes: list[tuple[int, int, int, int]]) -> tuple[np.ndarray, ImageRecord]:
    """A dark photo whose faces are bright rectangles, with points at their corners and centres."""
    image = np.full((height, width, 3), 40, np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 200
    found = np.array(boxes, np.float32).reshape(-1, 4)
    left, top, right, low = found.T
    points = [(left, top), (right, top), ((left + right) / 2, (top + low) / 2), (left, low), (right, low)]
    return image, ImageRecord(Path("x.jpg"), found, np.array(points).transpose(2, 0, 1))


def test_boxes_match_the_pixels() -> None:
    image, record = photo_with_faces(200, 300, [(100, 60, 140, 120)])
    scene = crop(image, record, np.array([80.0, 40, 180, 140]), 200)
    x1, y1, x2, y2 = scene.boxes[0].astype(int)
    assert (x1, y1, x2, y2) == (40, 40, 120, 160)
    assert (scene.image[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1] == 200).all()
    assert scene.image[: y1 - 1].max() == 40
    assert scene.landmarks[0, 0].tolist() == [40, 40]
    assert scene.landmarks[0, 4].tolist() == [120, 160]


def test_clipped_small_and_unlabelled_faces() -> None:
    """Clipped to the picture; ignored if the centre is outside or the size too small; removed if not visible."""
    image, record = photo_with_faces(
        200, 300, [(90, 60, 130, 120), (60, 60, 104, 100), (140, 60, 146, 66), (0, 0, 20, 20)]
    )
    scene = crop(image, record, np.array([100.0, 40, 200, 140]), 100, min_face=8)
    assert scene.boxes.tolist() == [[0, 20, 30, 80], [0, 20, 4, 60], [40, 20, 46, 26]]
    assert scene.ignore.tolist() == [False, True, True]
    unknown = ImageRecord(Path("x.jpg"), np.full((1, 4), np.nan))
    assert len(crop(image, unknown, np.array([0.0, 0, 50, 50]), 64).boxes) == 0


def test_mirror_twice_is_the_identity() -> None:
    image, record = photo_with_faces(120, 120, [(10, 20, 50, 70), (60, 60, 100, 90)])
    scene = crop(image, record, np.array([0.0, 0, 120, 120]), 120)
    once = mirrored(scene)
    assert (once.image == scene.image[:, ::-1]).all()
    assert once.boxes[0].tolist() == [70, 20, 110, 70]
    assert once.landmarks[0, 0].tolist() == [70, 20], "the left eye is the one at the viewer's left"
    twice = mirrored(once)
    assert all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(twice, scene, strict=True))


@given(st.integers(0, 10_000), st.sampled_from([(0.3, 1.0), (0.5, 0.5), (1.5, 2.0)]))
@settings(max_examples=50)
def test_square_crops(seed: int, sides: tuple[float, float]) -> None:
    """Squares between the two sides, around the centre of a face; inside the photo, or around it."""
    rng = np.random.default_rng(seed)
    _, record = photo_with_faces(200, 300, [(250, 150, 270, 180), (20, 10, 50, 30)])
    x1, y1, x2, y2 = square_crop(record, 200, 300, sides, rng)
    assert x2 - x1 == pytest.approx(y2 - y1)
    assert sides[0] * 200 - 1e-6 <= x2 - x1 <= sides[1] * 200 + 1e-6
    for low, high, length in ((x1, x2, 300), (y1, y2, 200)):
        assert (low >= -1e-6 and high <= length + 1e-6) if high - low <= length else (low <= 0 and high >= length)
    assert any(x1 < x < x2 and y1 < y < y2 for x, y in ((260, 165), (35, 20)))


@given(st.integers(0, 10_000), st.sampled_from([20, 45, 100, 180]))
@settings(max_examples=60)
def test_anchored_crops(seed: int, own: int) -> None:
    """The face gets half to twice an anchor's size, no more than the next larger one; it is wholly seen if it fits."""
    anchors = (16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
    rng = np.random.default_rng(seed)
    _, record = photo_with_faces(200, 300, [(10, 12, 10 + own, 12 + own)])
    window = anchored_crop(record, 200, 300, 160, anchors, rng)
    size = own * 160 / (window[2] - window[0])
    nearest = int(np.abs(np.array(anchors) - own).argmin())
    assert 8 - 1e-6 <= size <= 2 * anchors[min(nearest + 1, 5)] + 1e-6
    if size <= 160:
        assert window[0] <= 10 + 1e-6
        assert window[2] >= 10 + own - 1e-6
    else:
        assert window[0] >= 10 - 1e-6
        assert window[2] <= 10 + own + 1e-6


def test_anchored_crops_use_all_sizes() -> None:
    rng = np.random.default_rng(0)
    _, record = photo_with_faces(200, 300, [(10, 12, 110, 112)])
    sizes = [100 * 160 / np.diff(anchored_crop(record, 200, 300, 160, (16, 64, 128), rng)[::2])[0] for _ in range(300)]
    assert np.quantile(sizes, 0.05) < 16
    assert np.quantile(sizes, 0.95) > 128


def test_a_photo_without_usable_faces_gives_crops_too() -> None:
    rng = np.random.default_rng(0)
    empty = ImageRecord(Path("x.jpg"))
    for window in (square_crop(empty, 90, 60, (0.3, 1.0), rng), anchored_crop(empty, 90, 60, 64, (16,), rng)):
        assert window[2] - window[0] == pytest.approx(window[3] - window[1])
        assert areas(window[None])[0] > 0


def test_outside_of_the_photo_has_the_colour_of_detection() -> None:
    image = np.full((50, 100, 3), 250, np.uint8)
    window = np.array([-50.0, -50, 150, 150])
    scene = crop(image, ImageRecord(Path("x.jpg")), window, 100)
    filled = fill(scene.image, window, 50, 100, (123.0, 117.0, 104.0))
    assert (filled[25:50, 25:75] == 250).all()
    outside = np.ones((100, 100), bool)
    outside[25:50, 25:75] = False
    assert (filled[outside] == (123, 117, 104)).all()


def test_colours() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    # Conversion to hue and back may move a value by its rounding.
    assert np.abs(distort(image, PLAIN, rng).astype(int) - image).max() <= 5
    changed = [distort(image, PictureSettings(), rng).astype(int) for _ in range(40)]
    assert np.ptp([each.mean() for each in changed]) > 20
    bright = [distort(image, PictureSettings(contrast=0, saturation=0, hue=0), rng).mean() for _ in range(60)]
    assert max(bright) - image.mean() < 256 * 0.13
    gray = np.full((4, 4, 3), 128, np.uint8)
    hued = PictureSettings(brightness=0, contrast=0)
    assert all(np.abs(distort(gray, hued, rng).astype(int) - 128).max() <= 1 for _ in range(10)), "gray has no hue"


def test_pages() -> None:
    """Tiles side by side, their points where they are seen; boxes around the points."""
    rng = np.random.default_rng(0)
    image, record = photo_with_faces(100, 100, [(40, 40, 60, 60)])
    tiles = [tile(image, record.landmarks[0], 32, rng) for _ in range(4)]
    made = page(tiles, 64)
    assert made.image.shape == (64, 64, 3)
    assert not made.complete
    assert len(made.boxes) == 4
    for i, points in enumerate(made.landmarks):
        corner = np.array([i % 2, i // 2]) * 32
        assert ((points > corner) & (points < corner + 32)).all()
        x, y = points[2].astype(int)
        assert made.image[y, x].min() > 150, "the nose lies on the bright face"
        assert made.boxes[i, 0] < points[:, 0].min()
    assert isinstance(made, Scene)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sizes": (100.0,)},
        {"sizes": (1e6,)},
        {"sizes": (float("inf"),)},
        {"sizes": ()},
        {"crop": (1.0, 0.3)},
        {"crop": (0.5,)},
        {"points": 2.0},
        {"hue": 300.0},
    ],
)
def test_invalid_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*; expected"):
        PictureSettings(**wrong)  # type: ignore[arg-type]


SHARES = ("anchored", "brightness", "contrast", "saturation", "points", "unlabelled")


@pytest.mark.parametrize(("name", "low", "high"), [*((name, 0.0, 1.0) for name in SHARES), ("hue", 0.0, 180.0)])
def test_settings_up_to_the_ends_of_their_range(name: str, low: float, high: float) -> None:
    for value in (low, high):
        assert getattr(PictureSettings(**{name: value}), name) == value  # type: ignore[arg-type]
    for value in (low - 0.01, high + 0.01):
        with pytest.raises(ValueError, match=f"{name} is {value}; expected a number from {low:g} to {high:g}"):
            PictureSettings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("box", [(-30, 10, -2, 40), (110, 10, 130, 40), (10, -30, 40, -2), (10, 110, 40, 130)])
def test_a_face_beside_the_picture_is_not_in_it(box: tuple[float, float, float, float]) -> None:
    record = ImageRecord(Path("x.jpg"), np.array([box], np.float32))
    assert not len(crop(np.zeros((100, 100, 3), np.uint8), record, np.array([0.0, 0, 100, 100]), 50).boxes)


def test_a_face_may_get_the_size_of_the_next_larger_anchor() -> None:
    """One of 16 pixels half to twice the size of 16 or of 32, each half of the time; the largest has none above."""
    rng = np.random.default_rng(0)
    for own, anchors, low, high in ((16, (16, 32, 64), 8, 64), (64, (16, 32, 64), 8, 128)):
        _, record = photo_with_faces(200, 300, [(10, 12, 10 + own, 12 + own)])
        windows = [anchored_crop(record, 200, 300, 160, anchors, rng) for _ in range(400)]
        sizes = np.array([own * 160 / (window[2] - window[0]) for window in windows])
        assert low <= sizes.min() < 1.2 * low and high / 1.2 < sizes.max() <= high
        if own == 16:
            assert 0.15 < (sizes > 32).mean() < 0.35


def test_a_window_beside_the_photo_has_no_pixel_of_it() -> None:
    image = np.full((50, 50, 3), 200, np.uint8)
    for window in ((310, 0, 410, 100), (-110, 0, -10, 100), (0, 210, 100, 310), (0, -110, 100, -10)):
        assert (fill(image, np.array(window, float), 200, 300, (1, 2, 3)) == (1, 2, 3)).all()


def test_a_face_off_the_diagonal_is_in_its_window() -> None:
    """Across and down are drawn from their own sides of the box and of the photo."""
    rng = np.random.default_rng(0)
    for face in ((240, 10, 280, 50), (10, 150, 50, 190)):
        _, record = photo_with_faces(200, 300, [face])
        for _ in range(50):
            x1, y1, x2, y2 = anchored_crop(record, 200, 300, 160, (16, 32, 64), rng)
            assert x1 <= face[0] + 1e-6 and y1 <= face[1] + 1e-6 and x2 >= face[2] - 1e-6 and y2 >= face[3] - 1e-6
