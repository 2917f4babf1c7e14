"""Resampling and crops: means over windows, compared with the plain loops of tests/reference.py."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import plain_resample

from mtcnn.crops import cut
from mtcnn.resample import resample, resample_many

Image = NDArray[np.uint8]

algebra = settings(max_examples=60)
sides = st.integers(1, 9)
places = st.one_of(st.integers(-12, 20).map(float), st.floats(-12, 20))


def noise(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_rounded(found: Image, exact: Any) -> None:
    """Every value is the exact one, rounded; at halves to either side."""
    exact = np.asarray(exact)
    assert found.dtype == np.uint8
    assert found.shape == exact.shape
    assert float(np.abs(found - exact).max(initial=0)) <= 0.5 + 1e-3


def assert_near(found: Image, expected: Image) -> None:
    """Equal, but for a few values where a half was rounded to the other side."""
    difference = np.abs(found.astype(int) - expected)
    assert difference.max(initial=0) <= 1
    assert (difference > 0).mean() < 0.02


# ---- against the reference


@algebra
@given(sides, sides, sides, sides, st.integers(0, 99))
def test_whole_image_is_the_mean_over_windows(height: int, width: int, out_h: int, out_w: int, seed: int) -> None:
    image = noise(height, width, seed)
    found = resample(image, out_h, out_w)
    assert_rounded(found, plain_resample(image.tolist(), (0, 0, width, height), out_h, out_w, zero_outside=False))


@algebra
@given(sides, sides, places, places, st.floats(0.01, 30), st.floats(0.01, 30), sides)
def test_crops_are_the_mean_over_windows(
    height: int, width: int, x1: float, y1: float, w: float, h: float, size: int
) -> None:
    """Boxes inside, across the border, around the whole image and beside it, larger and smaller than the crop."""
    image = noise(height, width)
    box = (x1, y1, x1 + w, y1 + h)
    (found,) = resample_many(image, np.array([box]), size)
    assert_rounded(found, plain_resample(image.tolist(), box, size, size, zero_outside=True))


@pytest.mark.parametrize("size", [12, 24, 48])
def test_crops_of_the_nets(size: int) -> None:
    image = noise(40, 30)
    boxes = np.array([[-7.3, 4.2, 21.9, 33.4], [3, 5, 27, 29], [10.5, 10.5, 14.25, 14.25], [-20, -30, 50, 40]])
    found = cut(image, boxes, size)
    for crop, box in zip(found, boxes.tolist(), strict=True):
        assert_rounded(crop, plain_resample(image.tolist(), box, size, size, zero_outside=True))


def test_exact_crops_are_the_same_before_rounding() -> None:
    image = noise(40, 30)
    boxes = np.array([[-7.3, 4.2, 21.9, 33.4], [10.5, 10.5, 14.25, 14.25], [5, 5, 5, 9]])
    exact = cut(image, boxes, 12, exact=True)
    assert exact.dtype == np.float32
    for crop, box in zip(exact[:2], boxes.tolist(), strict=False):
        expected = plain_resample(image.tolist(), box, 12, 12, zero_outside=True)
        np.testing.assert_allclose(crop, expected, atol=1e-3)
    np.testing.assert_array_equal(cut(image, boxes, 12), (exact + np.float32(0.5)).astype(np.uint8))


# ---- by hand, and against OpenCV


def test_enlarging_is_linear_between_pixel_centres() -> None:
    image = np.repeat(np.array([[[0], [100]]], np.uint8), 3, axis=2)  # (1, 2, 3)
    assert resample(image, 1, 4)[0, :, 0].tolist() == [0, 25, 75, 100]
    inside = noise(7, 5)
    expected = cv2.resize(inside, (20, 21), interpolation=cv2.INTER_LINEAR)
    # OpenCV computes with 11 bits of fraction.
    assert np.abs(resample(inside, 21, 20).astype(int) - expected).max() <= 1


def test_zero_outside_dims_the_border() -> None:
    """A crop is not stretched at the border: half a window outside halves the value."""
    image = np.full((4, 4, 3), 200, np.uint8)
    (crop,) = resample_many(image, np.array([[-2.0, 0, 6, 8]]), 2)  # windows of 4 x 4 pixels
    assert crop[..., 0].tolist() == [[100, 100], [0, 0]]
    (crop,) = resample_many(image, np.array([[-1.0, -1, 1, 1]]), 2)
    assert crop[..., 0].tolist() == [[0, 0], [0, 200]]


@pytest.mark.parametrize("shrink", [2, 3, 4, 5, 7])
def test_shrinking_is_opencv_area(shrink: int) -> None:
    image = noise(6 * shrink, 5 * shrink)
    expected = cv2.resize(image, (5, 6), interpolation=cv2.INTER_AREA)
    found = resample(image, 6, 5)
    assert np.abs(found.astype(int) - expected).max() <= (0 if shrink % 2 else 1)  # a mean of odd many is no half
    (crop,) = resample_many(image[: 5 * shrink], np.array([[0, 0, 5 * shrink, 5 * shrink]]), 5)
    np.testing.assert_array_equal(crop, found[:5])


# ---- algebra


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (8, 1), (17, 23)])
def test_equal_size_is_identity(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    np.testing.assert_array_equal(resample(image, *shape), image)


def test_crops_of_whole_pixels_are_slices() -> None:
    image = noise(30, 40)
    crops = resample_many(image, np.array([[3, 5, 15, 17], [28, 18, 40, 30], [-4, -2, 8, 10]]), 12)
    np.testing.assert_array_equal(crops[0], image[5:17, 3:15])
    np.testing.assert_array_equal(crops[1], image[18:30, 28:40])
    np.testing.assert_array_equal(crops[2, 2:, 4:], image[:10, :8])
    assert not crops[2, :2].any()
    assert not crops[2, :, :4].any()


@algebra
@given(sides, sides, sides, sides, st.integers(0, 255))
def test_constants_stay_constant(height: int, width: int, out_h: int, out_w: int, value: int) -> None:
    image = np.full((height, width, 3), value, np.uint8)
    assert (resample(image, out_h, out_w) == value).all()
    # Half a pixel from the border, for the windows of an enlarged crop reach that far.
    box = np.array([[0.5, 0.5, width - 0.5, height - 0.5]])
    if min(height, width) > 1:
        assert (resample_many(image, box, out_w) == value).all()


def test_constants_stay_constant_in_large_photos() -> None:
    """Where float32 sums of whites run to 10^8."""
    image = np.full((1500, 2000, 3), 255, np.uint8)
    assert (resample(image, 2, 3) == 255).all()
    assert (resample_many(image, np.array([[0.3, 0.7, 1999.1, 1499.9]]), 1) == 255).all()


@algebra
@given(sides, sides, sides, sides, st.integers(0, 99))
def test_flips_commute(height: int, width: int, out_h: int, out_w: int, seed: int) -> None:
    image = noise(height, width, seed)
    found = resample(image, out_h, out_w).astype(int)
    assert np.abs(resample(image[:, ::-1], out_h, out_w)[:, ::-1] - found).max() <= 1
    assert np.abs(resample(image[::-1], out_h, out_w)[::-1] - found).max() <= 1
    assert np.abs(resample(image.transpose(1, 0, 2), out_w, out_h).transpose(1, 0, 2) - found).max() <= 1


def test_flips_of_crops_commute() -> None:
    """A flip is W - x, without a 1: an image and its mirror give mirrored crops."""
    image = noise(33, 47)
    rng = np.random.default_rng(1)
    corners = rng.uniform(-10, 40, (200, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 60, (200, 2))], axis=1)
    found = resample_many(image, boxes, 12)
    across = np.stack([47 - boxes[:, 2], boxes[:, 1], 47 - boxes[:, 0], boxes[:, 3]], axis=1)
    assert_near(resample_many(image[:, ::-1], across, 12)[:, :, ::-1], found)
    down = np.stack([boxes[:, 0], 33 - boxes[:, 3], boxes[:, 2], 33 - boxes[:, 1]], axis=1)
    assert_near(resample_many(image[::-1], down, 12)[:, ::-1], found)


def test_channels_are_independent() -> None:
    image = noise(9, 11)
    boxes = np.array([[-1.5, 0.5, 8, 10]])
    np.testing.assert_array_equal(resample(image[..., ::-1], 5, 4), resample(image, 5, 4)[..., ::-1])
    swapped = resample_many(image[..., ::-1], boxes, 4)
    np.testing.assert_array_equal(swapped, resample_many(image, boxes, 4)[..., ::-1])


# ---- odd inputs


def test_one_pixel_image() -> None:
    image = np.array([[[10, 20, 30]]], np.uint8)
    assert (resample(image, 7, 5) == image[0, 0]).all()
    (crop,) = resample_many(image, np.array([[-1.0, -1, 2, 2]]), 3)
    assert crop[1, 1].tolist() == [10, 20, 30]
    assert crop.sum() == 60  # and nothing around


OUTSIDE = [
    [-30.0, 2, -10, 8],
    [50, 2, 60, 8],
    [2, -30, 8, -10],
    [2, 50, 8, 60],
    [21, 0, 31, 10],  # half a pixel nearer, and the windows of an enlarged crop would reach in
    [-11, 0, -1, 10],
    [1e7, 1e7, 1e7 + 9, 1e7 + 9],
    [-1e300, 0, -1e299, 9],
    [1e299, 0, 1e300, 9],
]
SENSELESS = [
    [5.0, 5, 5, 9],
    [5, 5, 9, 5],
    [5, 5, 5, 5],
    [9, 9, 5, 5],
    [9, 5, 5, 9],
    [np.nan, 0, 9, 9],
    [0, 0, 9, np.nan],
    [-np.inf, 0, 9, 9],
    [0, -np.inf, 9, np.inf],
]


@pytest.mark.parametrize("box", [*OUTSIDE, *SENSELESS])
@pytest.mark.parametrize("size", [1, 4, 12])  # windows wider and narrower than a pixel
def test_boxes_outside_the_image_are_black(box: list[float], size: int) -> None:
    image = np.full((10, 20, 3), 255, np.uint8)
    around = np.array([[0.0, 0, 10, 10], box, [0, 0, 10, 10]])
    crops = cut(image, around, size)
    assert not crops[1].any()
    assert crops[0].any()
    np.testing.assert_array_equal(crops[0], crops[2])


def test_a_box_around_everything_holds_the_image() -> None:
    image = np.full((10, 10, 3), 255, np.uint8)
    (crop,) = cut(image, np.array([[-1e9, -1e9, 1e9, 1e9]]), 3)
    assert not crop.any()  # ten of 10^9 pixels
    (crop,) = cut(image, np.array([[-10.0, -10, 20, 20]]), 3)
    assert crop[..., 0].tolist() == [[0, 0, 0], [0, 255, 0], [0, 0, 0]]


def test_no_boxes() -> None:
    assert cut(noise(5, 5), np.zeros((0, 4)), 24).shape == (0, 24, 24, 3)
    assert cut(noise(5, 5), np.zeros((0, 4)), 24).dtype == np.uint8


def test_images_in_any_memory_order() -> None:
    image = noise(20, 30)
    image.setflags(write=False)
    boxes = np.array([[1.5, 2.5, 17, 18]], np.float32)
    for view in (image, np.asfortranarray(image), np.repeat(image, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(resample(view, 7, 9), resample(image.copy(), 7, 9))
        np.testing.assert_array_equal(cut(view, boxes, 12), cut(image.copy(), boxes.astype(np.float64), 12))


def test_crops_do_not_depend_on_their_neighbours() -> None:
    image = noise(25, 35)
    rng = np.random.default_rng(2)
    corners = rng.integers(-8, 30, (60, 2)).astype(float)
    boxes = np.concatenate([corners, corners + rng.uniform(1, 25, (60, 1))], axis=1)
    together = cut(image, boxes, 24)
    for i in range(60):
        np.testing.assert_array_equal(cut(image, boxes[i : i + 1], 24)[0], together[i])


def test_read_only_images() -> None:
    writable = noise(20, 30)
    fixed = writable.copy()
    fixed.flags.writeable = False
    box = np.array([[0, 0, 9, 9]])
    np.testing.assert_array_equal(resample(fixed, 8, 9), resample(writable, 8, 9))
    np.testing.assert_array_equal(resample_many(fixed, box, 12), resample_many(writable, box, 12))
    assert writable.flags.writeable
