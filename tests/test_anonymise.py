"""Anonymised faces: only a few mean colours of a face remain, and the rest of the picture does not change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mtcnn.errors import ImageError
from mtcnn.pictures.anonymise import CELLS, ELLIPSE_MARGIN, MARGIN, STYLES, Style, anonymise

RGB = NDArray[np.uint8]
BOX = np.array([[60.0, 50.0, 120.0, 140.0]])  # 60 x 90 pixels: cells of 22.5
COVERED = (36, 14, 144, 176)  # with a margin of 0.4
RAMP = np.stack(np.broadcast_arrays(np.arange(200)[:, None], np.arange(220), 7), axis=2).astype(np.uint8)  # y x 7
NOISE: RGB = np.random.default_rng(0).integers(0, 256, (200, 220, 3), np.uint8)


def changed(picture: RGB, before: RGB) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero((picture != before).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.mark.parametrize("style", STYLES)
def test_the_head_is_covered_and_nothing_else(style: Style) -> None:
    original = NOISE.copy()
    picture = anonymise(original, BOX, style)
    assert np.array_equal(original, NOISE)
    assert MARGIN == 0.4
    x1, y1, x2, y2 = COVERED
    inside = np.zeros(NOISE.shape[:2], bool)
    inside[y1:y2, x1:x2] = True
    assert np.array_equal(picture[~inside], NOISE[~inside])
    assert (picture[inside] != NOISE[inside]).any(axis=1).mean() > 0.99


@pytest.mark.parametrize("style", STYLES)
def test_an_ellipse_covers_the_face_and_spares_the_corners(style: Style) -> None:
    x1, y1, x2, y2 = COVERED
    boxed, picture = anonymise(NOISE, BOX, style), anonymise(NOISE, BOX, style, shape="ellipse")
    hidden = (picture == boxed).all(axis=2) & (picture != NOISE).any(axis=2)
    assert np.array_equal(picture[~hidden], NOISE[~hidden])
    assert hidden[50:140, 60:120].mean() > 0.99  # the whole box of the face; noise may equal a mean
    assert hidden.sum() / ((x2 - x1) * (y2 - y1)) == pytest.approx(np.pi / 4, abs=0.01)
    assert changed(picture, NOISE) == COVERED
    for row, column in ((y1, x1), (y1, x2 - 1), (y2 - 1, x1), (y2 - 1, x2 - 1)):
        assert np.array_equal(picture[row, column], NOISE[row, column])


def test_an_ellipse_at_the_border_and_the_minimum_margin() -> None:
    box = np.array([[-30.0, -20.0, 50.0, 60.0]])
    picture = anonymise(np.maximum(NOISE, 1), box, "solid", ELLIPSE_MARGIN, "ellipse")
    assert (picture[:60, :50] == 0).all()
    assert (picture[100:] != 0).all()
    with pytest.raises(ValueError, match=r"margin is 0.2; expected 0.207 or more, so that the ellipse covers the face"):
        anonymise(NOISE, box, margin=0.2, shape="ellipse")


def test_pixelate_shows_squares() -> None:
    x1, y1, x2, y2 = COVERED
    patch = anonymise(RAMP, BOX, "pixelate")[y1:y2, x1:x2]
    assert patch.shape == (162, 108, 3)
    colours = np.unique(patch.reshape(-1, 3), axis=0)
    across, down = 4, 7  # 108 / 22.5 = 4.8, 162 / 22.5 = 7.2
    assert len(colours) == across * down
    rows = [i for i in range(1, 162) if (patch[i] != patch[i - 1]).any()]
    assert len(rows) == down - 1
    assert min(np.diff([0, *rows, 162])) >= 22
    assert patch[0, 0] == pytest.approx([y1 + 162 / 7 / 2, x1 + 108 / 4 / 2, 7], abs=1)


@pytest.mark.parametrize("style", STYLES)
def test_only_the_mean_colours_remain(style: Style) -> None:
    """Two faces whose cells have the same means give the same picture: their differences are lost for good."""
    exact = np.array([[60.0, 60.0, 150.0, 150.0]])  # with a margin of 1/3: 150 x 150, six by six cells of 25
    other = NOISE.copy()
    cells = other[30:180, 30:180].reshape(6, 25, 6, 25, 3)
    other[30:180, 30:180] = np.roll(cells, (7, 3), (1, 3)).reshape(150, 150, 3)  # each in itself
    assert not np.array_equal(other, NOISE)
    first, second = (anonymise(image, exact, style, margin=1 / 3) for image in (NOISE, other))
    assert np.array_equal(first[30:180, 30:180], second[30:180, 30:180])


def test_blur_is_smooth_and_pixelate_has_edges() -> None:
    step = np.zeros((200, 220, 3), np.uint8)
    step[:, 90:] = 255
    x1, y1, x2, y2 = COVERED
    steepest = {
        style: np.abs(np.diff(anonymise(step, BOX, style)[y1:y2, x1:x2].astype(int), axis=1)).max()
        for style in ("pixelate", "blur")
    }
    assert steepest["pixelate"] > 100
    assert steepest["blur"] < 30


def test_solid_is_black() -> None:
    x1, y1, x2, y2 = COVERED
    assert (anonymise(np.maximum(NOISE, 1), BOX, "solid")[y1:y2, x1:x2] == 0).all()


@pytest.mark.parametrize("side", [12.0, 60.0, 600.0])
def test_strength_follows_the_face(side: float) -> None:
    """A face twice as large gets squares twice as large; no square is smaller than 4 pixels."""
    level = np.linspace(0, 255, int(side)).astype(np.uint8)
    patch = np.stack(np.broadcast_arrays(level[:, None], level, 7), axis=2).astype(np.uint8)
    patch = anonymise(patch, np.array([[0.0, 0.0, side, side]]), "pixelate", margin=0)
    squares = len(np.unique(patch.reshape(-1, 3), axis=0))
    assert squares == {12.0: 3, 60.0: CELLS, 600.0: CELLS}[side] ** 2


def test_borders_and_many_faces() -> None:
    boxes = np.array([[-30, -30, 40, 40], [190, 170, 260, 240], [50, 50, 90, 90], [70, 70, 110, 110], [500, 0, 600, 9]])
    picture = anonymise(NOISE, boxes, "solid", margin=0)
    for x1, y1, x2, y2 in ((0, 0, 40, 40), (190, 170, 220, 200), (50, 50, 90, 90), (70, 70, 110, 110)):
        assert (picture[y1:y2, x1:x2] == 0).all()
    assert np.array_equal(picture[120:160], NOISE[120:160])


def test_no_face_changes_nothing() -> None:
    picture = anonymise(NOISE, np.zeros((0, 4)))
    assert np.array_equal(picture, NOISE)
    picture[0, 0] = 7  # its own memory
    assert NOISE[0, 0].tolist() != [7, 7, 7]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"style": "mosaic"}, "style is 'mosaic'; expected one of pixelate, blur, solid"),
        ({"shape": "circle"}, "shape is 'circle'; expected one of box, ellipse"),
        ({"margin": -0.1}, "margin is -0.1; expected 0 or more"),
        ({"margin": float("nan")}, "margin is nan; expected a share"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        anonymise(NOISE, np.zeros((0, 4)), **arguments)


def test_wrong_image() -> None:
    with pytest.raises(ImageError, match="float64"):
        anonymise(NOISE / 255, BOX)
