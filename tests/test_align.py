"""Aligned crops match the template, without aliasing; plain crops have the image's own pixels."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mtcnn.errors import ImageError
from mtcnn.pictures.align import TEMPLATE, align, crop, similarity
from mtcnn.types import Faces

Array = NDArray[Any]


def umeyama(source: Array, target: Array) -> Array:
    """Umeyama 1991, equations 40 to 43, as printed there: by singular values, for any dimension."""
    mean_s, mean_t = source.mean(axis=0), target.mean(axis=0)
    covariance = (target - mean_t).T @ (source - mean_s) / len(source)
    left, values, right = np.linalg.svd(covariance)
    sign = np.diag([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ sign @ right
    scale = (values * np.diag(sign)).sum() / ((source - mean_s) ** 2).sum(axis=1).mean()
    return np.column_stack([scale * rotation, mean_t - scale * rotation @ mean_s])


def placed(scale: float, degrees: float, x: float, y: float) -> Array:
    """The template's points (5, 2), in continuous coordinates, as a face so much larger, turned and elsewhere."""
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray((TEMPLATE + 0.5 - 56) @ turn.T + [x, y])


def disc(point: Array, radius: float, height: int, width: int) -> NDArray[np.uint8]:
    """A black image with one white disc; its edge is smooth, its centre exact."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    inside = np.clip(radius - np.hypot(columns - point[0], rows - point[1]) + 0.5, 0, 1)
    return np.repeat(np.round(255 * inside).astype(np.uint8)[..., None], 3, axis=2)


def centre(crop: NDArray[np.uint8]) -> Array:
    """The centre (2,) of the disc in a crop, in continuous coordinates."""
    rows, columns = np.mgrid[: crop.shape[0], : crop.shape[1]] + 0.5
    light = crop[..., 0].astype(float)
    return np.asarray(np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum())


# ---- the transform

plane = st.lists(st.tuples(st.floats(-500, 500), st.floats(-500, 500)), min_size=5, max_size=5)


@given(plane, plane)
def test_similarity_equals_umeyama(source: list[tuple[float, float]], target: list[tuple[float, float]]) -> None:
    points, goal = np.array(source), np.array(target)
    singular = np.linalg.svd((points - points.mean(axis=0)).T @ (goal - goal.mean(axis=0)), compute_uv=False)
    if np.ptp(points, axis=0).max() < 1 or singular[0] - singular[1] < 1e-3 * singular[0] + 1:
        return  # the best turn is not unique, or hangs on the last bit
    assert similarity(points, goal) == pytest.approx(umeyama(points, goal), rel=1e-6, abs=1e-6)


def test_similarity_never_mirrors() -> None:
    """The best fit of a mirrored face is a small scale, not a reflection, which would swap left and right."""
    mirrored = np.array([112, 0]) - TEMPLATE * [1, -1]
    matrix = similarity(mirrored, TEMPLATE)
    assert np.linalg.det(matrix[:, :2]) > 0
    assert matrix[0, 0] == pytest.approx(matrix[1, 1])
    assert matrix[0, 1] == pytest.approx(-matrix[1, 0])


def test_unknown_points_are_left_out() -> None:
    face = placed(2, 20, 200, 100)
    whole = similarity(face, TEMPLATE + 0.5)
    for unknown in ([2], [0, 4], [0, 1, 2]):
        part = face.copy()
        part[unknown] = np.nan
        assert similarity(part, TEMPLATE + 0.5) == pytest.approx(whole)


# ---- aligned crops


@pytest.mark.parametrize(("scale", "degrees"), [(1, 0), (1, 30), (0.6, -20), (2.3, 45), (5, -90), (4, 180)])
def test_aligned_points_match_the_template(scale: float, degrees: float) -> None:
    face = placed(scale, degrees, 330, 310)
    for point, target in zip(face, TEMPLATE + 0.5, strict=True):
        (aligned,) = align(disc(point, 5 * scale, 640, 660), face)
        assert (aligned.shape, aligned.dtype) == ((112, 112, 3), np.uint8)
        assert centre(aligned) == pytest.approx(target, abs=0.05)


def test_size_scales_the_template() -> None:
    face = placed(2, 10, 160, 150)
    (aligned,) = align(disc(face[3], 12, 320, 320), face, 224)
    assert centre(aligned) == pytest.approx(2 * (TEMPLATE[3] + 0.5), abs=0.05)


def test_same_size_equals_opencvs_warp() -> None:
    """What insightface does: the template in OpenCV's pixel numbers, one linear look-up a pixel."""
    image = np.random.default_rng(0).integers(0, 256, (150, 140, 3), np.uint8)
    face = placed(0.8, 12, 70, 75) + np.random.default_rng(1).normal(0, 1, (5, 2))
    expected = cv2.warpAffine(image, umeyama(face - 0.5, TEMPLATE), (112, 112))
    difference = np.abs(align(image, face)[0].astype(int) - expected)
    assert difference.max() <= 2  # OpenCV's weights have 5 bits


def test_large_faces_do_not_alias() -> None:
    """A pattern finer than a pixel of the crop becomes its mean. Sampling alone keeps it and makes waves of it."""
    columns = np.arange(900)
    stripes = np.where(columns // 3 % 2 == 0, 0, 255).astype(np.uint8)
    image = np.repeat(np.broadcast_to(stripes, (900, 900))[..., None], 3, axis=2)
    face = placed(7, 0, 450, 450)
    sampled = cv2.warpAffine(image, similarity(face - 0.5, TEMPLATE), (112, 112))
    assert sampled.std() > 60
    assert align(image, face)[0].std() < 20  # what a window of 7 pixels leaves of stripes 6 pixels apart


def test_outside_is_black() -> None:
    image = np.full((100, 100, 3), 200, np.uint8)
    (aligned,) = align(image, placed(1, 0, 0, 50))  # the face's middle on the left border
    assert (aligned[:, :54] == 0).all()
    assert (aligned[10:100, 58:] == 200).all()
    assert (align(image, placed(1, 0, 1000, 1000)) == 0).all()


def test_many_and_none() -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    faces = np.stack([placed(0.5, 0, 50, 60), placed(1.5, 9, 80, 60)])
    both = align(image, faces)
    assert both.shape == (2, 112, 112, 3)
    for one, face in zip(both, faces, strict=True):
        assert np.array_equal(one, align(image, face)[0])
    none = align(image, np.zeros((0, 5, 2)), 64)
    assert none.shape == (0, 64, 64, 3)
    assert none.dtype == np.uint8


def test_a_real_face(photos: dict[str, NDArray[np.uint8]]) -> None:
    """With the points of a photo, pupils lie where the template has eyes, and skin between and below them."""
    face = np.array([[205, 103], [246, 104], [224, 128], [200, 138], [245, 140]])
    gray = align(photos["astronaut"], face)[0].astype(float).mean(axis=2)
    eyes = [gray[y - 3 : y + 4, x - 3 : x + 4].min() for x, y in TEMPLATE[:2].astype(int)]
    skin = [gray[y - 3 : y + 4, x - 3 : x + 4].min() for x, y in ((56, 45), (38, 68), (74, 68))]
    assert max(eyes) < 0.6 * min(skin)


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (np.zeros((3, 2)), r"shape \(3, 2\); expected \(N, 5, 2\)"),
        (np.zeros((4, 10)), r"shape \(4, 10\); expected"),
        (np.full((1, 5, 2), 7.0), "5 known points, in one place"),
        (np.full((5, 2), np.nan), "0 known points"),
    ],
)
def test_unusable_landmarks(landmarks: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        align(np.zeros((50, 50, 3), np.uint8), landmarks)


def test_invalid_arguments() -> None:
    with pytest.raises(ValueError, match="size is 0; expected a whole number from 1"):
        align(np.zeros((50, 50, 3), np.uint8), TEMPLATE, 0)
    with pytest.raises(ImageError, match="float64"):
        align(np.zeros((50, 50, 3)), TEMPLATE)


# ---- plain crops

RAMP = np.stack(np.broadcast_arrays(np.arange(200)[:, None], np.arange(240), 7), axis=2).astype(np.uint8)  # y x 7


def corners(crop: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """x1 y1 x2 y2 of a piece of RAMP, which holds each pixel's row and column."""
    return int(crop[0, 0, 1]), int(crop[0, 0, 0]), int(crop[-1, -1, 1]) + 1, int(crop[-1, -1, 0]) + 1


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        ((50, 60, 90, 110), 0.0, (50, 60, 90, 110)),
        ((50, 60, 90, 110), 0.2, (42, 50, 98, 120)),
        ((50.4, 60.6, 90.4, 110.6), 0.0, (50, 61, 90, 111)),
        ((50, 60, 90, 110), -0.1, (54, 65, 86, 105)),
        ((-5, 2, 35, 52), 0.2, (0, 0, 43, 62)),  # cut at the border
        ((210, 170, 239, 199), 0.5, (196, 156, 240, 200)),
        ((20.1, 20.1, 20.2, 20.2), 0.0, (20, 20, 21, 21)),
        ((500, 500, 600, 600), 0.0, (239, 199, 240, 200)),
    ],
)
def test_crop(box: tuple[float, ...], margin: float, expected: tuple[int, ...]) -> None:
    (found,) = crop(RAMP, np.array([box]), margin)
    assert corners(found) == expected
    x1, y1, x2, y2 = expected
    assert np.array_equal(found, RAMP[y1:y2, x1:x2])


def test_crops_are_copies_in_order() -> None:
    image = RAMP.copy()
    faces = Faces(np.array([[1, 2, 31, 42], [5, 5, 25, 25]]), np.array([0.9, 0.8]))
    first, second = crop(image, faces.boxes, 0)
    assert (first.shape, second.shape) == ((40, 30, 3), (20, 20, 3))
    first[:] = 0
    assert np.array_equal(image, RAMP)
    assert crop(image, Faces.empty().boxes) == []


def test_crop_arguments() -> None:
    for margin in (-0.5, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"margin is .*; expected a share of the box's side above -0\.5"):
            crop(RAMP, np.zeros((0, 4)), margin)
    with pytest.raises(ValueError, match="boxes hold nan; expected finite"):
        crop(RAMP, np.array([[0, np.nan, 5, 5]]))
