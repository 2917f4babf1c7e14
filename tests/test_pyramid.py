"""The pyramid: sizes by the formula, in exact fractions, and the scales of its levels."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtcnn.pyramid import CELL, level_sizes, levels, map_size
from mtcnn.resample import resample
from mtcnn.types import ImageSize

NEAR = Fraction(1, 10**9)  # for the rounding of floats, at sizes that the formula makes whole numbers


@given(st.integers(1, 5000), st.integers(1, 5000), st.floats(1, 500), st.floats(0.1, 0.95))
def test_sizes_by_the_formula(height: int, width: int, min_face: float, scale_factor: float) -> None:
    sizes = level_sizes(ImageSize(height, width), min_face, scale_factor)
    scale = Fraction(CELL) / Fraction(min_face)
    for size in sizes:
        assert min(height, width) * scale >= CELL - NEAR
        assert -NEAR <= size.height - height * scale < 1 + NEAR  # rounded up
        assert -NEAR <= size.width - width * scale < 1 + NEAR
        scale *= Fraction(scale_factor)
    assert min(height, width) * scale < CELL + NEAR  # the next level would be too small


def test_sizes_by_hand() -> None:
    assert level_sizes(ImageSize(48, 100), 12, 0.5) == [(48, 100), (24, 50), (12, 25)]
    assert level_sizes(ImageSize(47, 100), 12, 0.5) == [(47, 100), (24, 50)]  # 11.75 is too small
    assert level_sizes(ImageSize(48, 101), 24, 0.5) == [(24, 51), (12, 26)]
    assert level_sizes(ImageSize(20, 20), 6, 0.709) == [(40, 40), (29, 29), (21, 21), (15, 15)]  # enlarged


@pytest.mark.parametrize("min_face", range(1, 400))
def test_image_of_just_min_face_is_searched(min_face: int) -> None:
    assert level_sizes(ImageSize(min_face, min_face), min_face, 0.709) == [(12, 12)]
    assert level_sizes(ImageSize(min_face, 3 * min_face), min_face, 0.709) == [(12, 36)]
    assert level_sizes(ImageSize(min_face, min_face), min_face + 0.001, 0.709) == []


@pytest.mark.parametrize("size", [(0, 0), (0, 500), (19, 500), (500, 19), (1, 1)])
def test_no_level_below_min_face(size: tuple[int, int]) -> None:
    assert level_sizes(ImageSize(*size), 20, 0.709) == []
    assert list(levels(np.zeros((*size, 3), np.uint8), 20, 0.709)) == []


@pytest.mark.parametrize("min_face", [0, -1, -0.5, float("nan"), float("inf")])
def test_invalid_min_face(min_face: float) -> None:
    with pytest.raises(ValueError, match=f"min_face is {min_face}; expected"):
        level_sizes(ImageSize(100, 100), min_face, 0.709)


@pytest.mark.parametrize("scale_factor", [0, 1, 1.5, -0.709, float("nan")])
def test_invalid_scale_factor(scale_factor: float) -> None:
    with pytest.raises(ValueError, match=f"scale_factor is {scale_factor}; expected"):
        level_sizes(ImageSize(100, 100), 20, scale_factor)


def test_levels_are_the_image_at_these_sizes() -> None:
    image = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    found = list(levels(image, 15, 0.709))
    assert [level.image.shape[:2] for level in found] == level_sizes(ImageSize(61, 83), 15, 0.709)
    assert len(found) > 3
    for level in found:
        height, width = level.image.shape[:2]
        np.testing.assert_array_equal(level.image, resample(image, height, width))
        assert (level.step_x * width, level.step_y * height) == pytest.approx((83, 61))


def test_a_level_at_full_size_is_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 300, 3), dtype=np.uint8)
    (level,) = levels(image, 12, 0.5)
    np.testing.assert_array_equal(level.image, image)
    assert (level.step_x, level.step_y) == (1, 1)


def test_a_point_keeps_its_place_on_every_level() -> None:
    """A bright square is found where the steps say."""
    image = np.zeros((120, 160, 3), np.uint8)
    image[40:80, 100:140] = 255
    for level in levels(image, 12, 0.6):
        rows, columns = np.nonzero(level.image[..., 0] > 127)
        left, right = columns.min() * level.step_x, (columns.max() + 1) * level.step_x
        top, bottom = rows.min() * level.step_y, (rows.max() + 1) * level.step_y
        assert (left, top, right, bottom) == pytest.approx((100, 40, 140, 80), abs=0.51 * level.step_x)


def test_a_map_has_a_cell_every_two_pixels() -> None:
    """ceil((side - 2) / 2) - 4 along each axis: convolutions of 3 cells around a pooling that rounds up."""
    for side in range(CELL, 60):
        wanted = -(-(side - 2) // 2) - 4
        assert map_size(ImageSize(side, 41)) == (wanted, 16) and map_size(ImageSize(40, side)) == (15, wanted)
        assert all(type(count) is int for count in map_size(ImageSize(side, side)))
    assert map_size(ImageSize(CELL, CELL)) == (1, 1)
