"""Landmark crops: a dot drawn at a landmark is where the target says, after rotation, mirroring and jitter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mtcnn.boxes import FLIP_ORDER
from prepare import points
from prepare.labels import Kind
from prepare.points import landmark_crops, square_of_points, wild_faces
from prepare.records import ImageRecord
from prepare.sample import CropSettings

# A face that is neither symmetric nor upright; eyes 60 px apart.
FACE = np.array([[210.0, 214], [269, 205], [247, 240], [222, 276], [268, 270]])
MANY = CropSettings(landmarks=16, rotation=25)
Array = NDArray[Any]


def record(*faces: Array, ignore: Any = None) -> ImageRecord:
    return ImageRecord(Path("x.jpg"), np.full((len(faces), 4), np.nan), np.array(faces), ignore)


def dot(x: float, y: float, height: int = 480, width: int = 480) -> NDArray[np.uint8]:
    """A soft bright dot on black, its centre at (x, y) where the first pixel spans 0 to 1."""
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
    return np.repeat(spot.round().astype(np.uint8)[..., None], 3, axis=2)


def brightest(crops: NDArray[np.uint8]) -> Array:
    """Centres of brightness (N, 2) x y, in pixels of the crops (N, S, S, 3)."""
    weight = crops.mean(axis=3)
    place = np.arange(crops.shape[1]) + 0.5
    total = weight.sum(axis=(1, 2))
    return np.asarray(np.stack([weight.sum(axis=1) @ place, weight.sum(axis=2) @ place], axis=1) / total[:, None])


# At 160 a crop keeps about the scale of the photo: half a pixel lost in either convention would show.
@pytest.mark.parametrize(("size", "context"), [(48, 1.0), (160, 1.0), (160, 1.5)])
def test_a_dot_at_each_landmark_is_where_the_target_says(size: int, context: float) -> None:
    mirrored = []
    settings = replace(MANY, context=context)
    for number, (x, y) in enumerate(FACE):
        batch = landmark_crops(dot(x, y), record(FACE), size, settings, np.random.default_rng(7))
        assert len(batch) == MANY.landmarks
        found = brightest(batch.crops)
        straight = np.abs(batch.landmarks[:, number] * size - found).max(axis=1)
        turned = np.abs(batch.landmarks[:, FLIP_ORDER[number]] * size - found).max(axis=1)
        assert np.minimum(straight, turned).max() < 0.2, "pixels of the crop"
        if number != 2:  # the nose is its own mirror image
            assert (np.maximum(straight, turned) > 5).all()
            mirrored.append(turned < straight)
    assert (np.array(mirrored) == mirrored[0]).all(), "all points of a crop, or none"
    assert 0 < mirrored[0].sum() < MANY.landmarks


def test_left_stays_the_viewers_left() -> None:
    image = np.zeros((480, 480, 3), np.uint8)
    batch = landmark_crops(image, record(FACE), 48, MANY, np.random.default_rng(1))
    assert (batch.landmarks[:, 0, 0] < batch.landmarks[:, 1, 0]).all()
    assert (batch.landmarks[:, 3, 0] < batch.landmarks[:, 4, 0]).all()


def test_targets_and_kinds() -> None:
    wide = CropSettings(landmarks=200, rotation=180)
    image = np.zeros((480, 480, 3), np.uint8)
    batch = landmark_crops(image, record(FACE, FACE + 20), 48, wide, np.random.default_rng(2))
    assert 0 < len(batch) <= 400
    assert (batch.kinds == Kind.LANDMARK).all()
    assert ((batch.landmarks > 0) & (batch.landmarks < 1)).all()
    assert (batch.offsets == 0).all()


def test_points_outside_drop_the_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((480, 480, 3), np.uint8)
    count = [len(landmark_crops(image, record(FACE), 48, MANY, np.random.default_rng(3)))]
    monkeypatch.setattr("prepare.points.SIDE", 1.35)  # crops so tight that mouth or eyes leave some of them
    batch = landmark_crops(image, record(FACE), 48, MANY, np.random.default_rng(3))
    count.append(len(batch))
    assert count[0] == MANY.landmarks > count[1] > 0
    assert ((batch.landmarks > 0) & (batch.landmarks < 1)).all()


def test_unknown_and_ignored_faces_give_none() -> None:
    image = np.zeros((480, 480, 3), np.uint8)
    partly = FACE.copy()
    partly[2] = np.nan
    given = record(partly, FACE, np.full((5, 2), np.nan), ignore=[False, True, False])
    assert len(landmark_crops(image, given, 48, MANY, np.random.default_rng(0))) == 0
    assert len(landmark_crops(image, record(), 48, MANY, np.random.default_rng(0))) == 0
    assert len(landmark_crops(image, record(FACE), 48, CropSettings(landmarks=0), np.random.default_rng(0))) == 0


def test_the_border_is_reflected() -> None:
    image = np.full((300, 300, 3), 200, np.uint8)
    batch = landmark_crops(image, record(FACE - 190), 48, MANY, np.random.default_rng(0))  # in the upper left corner
    assert len(batch) > 0
    assert (batch.crops == 200).all(), "a black corner tells the net what kind of crop this is"


def test_same_seed_same_crops() -> None:
    image = dot(240, 240)
    first, again, other = (landmark_crops(image, record(FACE), 48, MANY, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.crops, again.crops)
    np.testing.assert_array_equal(first.landmarks, again.landmarks)
    assert (first.landmarks != other.landmarks).any()


def test_square_by_hand() -> None:
    upright = np.array(
        [[[100.0, 100], [140, 100], [120, 120], [105, 150], [135, 150]]]
    )  # eyes 40 apart, mouth 50 below
    side, x, y = 2.7 * 50, 120.0, 100 + 0.32 * 50
    expected = [x - side / 2, y - side / 2, x + side / 2, y + side / 2]
    np.testing.assert_allclose(square_of_points(upright), [expected])
    lying = np.stack([-upright[..., 1], upright[..., 0]], axis=2)  # turned by a right angle: down points to the left
    np.testing.assert_allclose(square_of_points(lying), [[-y - side / 2, x - side / 2, -y + side / 2, x + side / 2]])


def test_implausible_points_are_found() -> None:
    same_place = np.full((5, 2), 240.0)
    far_apart = FACE * 40 - 9000
    outside = FACE + 1000
    given = record(FACE, same_place, far_apart, outside, np.full((5, 2), np.nan))
    assert wild_faces(given, 480, 480).tolist() == [1, 2, 3]
    batch = landmark_crops(dot(240, 240), given, 48, MANY, np.random.default_rng(0))
    assert len(batch) == MANY.landmarks, "those of the first face"
    assert np.isfinite(batch.landmarks).all()


@pytest.mark.parametrize("mirror", [False, True])
def test_the_face_turns_about_its_middle_in_the_middle_of_the_canvas(mirror: bool) -> None:
    square = square_of_points(FACE[None])[0]
    side, centre = float(square[2] - square[0]), (square[:2] + square[2:]) / 2
    for degrees in (-20.0, 0.0, 15.0):
        turned, moved = points._turned(dot(*centre), FACE, degrees, mirror)
        extent = int(np.ceil(2.5 * side))
        assert turned.shape == (extent, extent, 3)
        np.testing.assert_allclose(brightest(turned[None]), [[extent / 2] * 2], atol=0.2)
        # Where the points place the middle: a linear map, which the five points determine.
        before = np.c_[FACE[list(FLIP_ORDER)] if mirror else FACE, np.ones(5)]
        matrix, *_ = np.linalg.lstsq(before, moved, rcond=None)
        np.testing.assert_allclose([*centre, 1] @ matrix, [extent / 2] * 2, atol=1e-6)
        eyes, along = FACE[1] - FACE[0], (moved[1] - moved[0]) * ((1, -1) if mirror else (1, 1))
        angle = np.degrees(np.arctan2(eyes[1], eyes[0]) - np.arctan2(along[1], along[0]))
        assert angle == pytest.approx(degrees, abs=1e-4)


def test_half_of_the_crops_are_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, bool]] = []
    turned = points._turned

    def noted(image: Any, face: Any, degrees: float, mirror: bool, context: float) -> Any:
        seen.append((degrees, mirror))
        return turned(image, face, degrees, mirror, context)

    monkeypatch.setattr(points, "_turned", noted)
    settings = CropSettings(landmarks=300, rotation=25)
    landmark_crops(np.zeros((480, 480, 3), np.uint8), record(FACE), 12, settings, np.random.default_rng(0))
    degrees, mirrored = np.array(seen).T
    assert 0.45 < mirrored.mean() < 0.55
    assert -25 <= degrees.min() < -20 and 20 < degrees.max() <= 25


def test_a_face_is_plausible_up_to_the_border() -> None:
    """The middle of its square may lie on the border, the square may be four times the image."""
    square = square_of_points(FACE[None])[0]
    centre, side = (square[:2] + square[2:]) / 2, float(square[2] - square[0])
    for x, y, wild in ((0.1, 0.1, False), (299.9, 199.9, False), (-0.01, 9, True), (9, -0.01, True), (300.01, 9, True),
                       (9, 200.01, True), (0.5, 0.5, False)):  # fmt: skip
        face = FACE - centre + (x, y)
        assert len(wild_faces(record(face), 200, 300)) == wild, (x, y)
    for times, wild in ((3.99, False), (4.01, True)):
        face = (FACE - centre) * (times * 300 / side) + (150, 100)
        assert len(wild_faces(record(face), 200, 300)) == wild
