"""Drawn scenes: deterministic, correctly labelled, and readable by the label readers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtcnn.boxes import iou
from mtcnn.images import read_image
from prepare import painting, synthetic
from prepare.painting import Head
from prepare.readers import read_source

SCENES = 60


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return [synthetic.draw_scene(0, index) for index in range(SCENES)]


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), index=st.integers(0, 10**7), height=st.integers(64, 200), width=st.integers(64, 200))
def test_scenes_are_deterministic(seed: int, index: int, height: int, width: int) -> None:
    image, boxes, landmarks = synthetic.draw_scene(seed, index, height, width)
    again = synthetic.draw_scene(seed, index, height, width)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert boxes.dtype == landmarks.dtype == np.float32
    assert landmarks.shape == (len(boxes), 5, 2)
    for first, second in zip((image, boxes, landmarks), again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (width, height)).all()


def test_scenes_differ_by_seed_and_index() -> None:
    """Empty ones too: several of these have no face."""
    pictures = {synthetic.draw_scene(seed, index)[0].tobytes() for seed in range(2) for index in range(15)}
    assert len(pictures) == 30


def test_counts_and_sizes_cover_their_range(scenes: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    assert {len(boxes) for _, boxes, _ in scenes} == set(range(synthetic.MAX_FACES + 1))
    heights = np.concatenate([boxes[:, 3] - boxes[:, 1] for _, boxes, _ in scenes])
    assert 11 < heights.min() < 20
    assert 80 < heights.max() <= 110
    assert 25 < np.median(heights) < 50  # small faces as often as large ones


def test_faces_hardly_overlap(scenes: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    for _, boxes, _ in scenes:
        assert (iou(boxes, boxes) - np.eye(len(boxes)) < 0.1).all()


def test_landmarks_stand_as_in_an_upright_face(scenes: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    boxes = np.concatenate([boxes for _, boxes, _ in scenes])
    points = np.concatenate([landmarks for _, _, landmarks in scenes])
    assert (points > boxes[:, None, :2]).all()
    assert (points < boxes[:, None, 2:]).all()
    left_eye, right_eye, nose, left_mouth, right_mouth = points.transpose(1, 0, 2)
    assert (left_eye[:, 0] < right_eye[:, 0]).all()  # the viewer's left first
    assert (left_mouth[:, 0] < right_mouth[:, 0]).all()
    assert (np.maximum(left_eye, right_eye)[:, 1] < nose[:, 1]).all()
    assert (nose[:, 1] < np.maximum(left_mouth, right_mouth)[:, 1]).all()


def test_box_and_landmarks_lie_on_the_drawn_pixels() -> None:
    """Paints a head in flat colours without a camera, and measures where skin, eyes and mouth came out."""
    head = Head(150.3, 120.6, 40.0, 50.0, 15.0, 0.6)
    canvas = np.zeros((240 * painting.OVERSAMPLING, 320 * painting.OVERSAMPLING, 3), np.uint8)
    brush = painting._Brush(canvas, head)
    brush.ellipse((0, 0), (1, 1), (255, 0, 0))
    for point in head.features():
        brush.ellipse(point, (0.06, 0.05), (255, 255, 0))
    small = cv2.resize(canvas, (320, 240), interpolation=cv2.INTER_AREA)
    rows, columns = np.nonzero(small[..., 0] > 127)
    drawn = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    np.testing.assert_allclose(head.box(), drawn, atol=1)
    _, _, _, centres = cv2.connectedComponentsWithStats((small[..., 1] > 127).astype(np.uint8))
    seen = centres[1:] + 0.5  # OpenCV counts from the centre of the first pixel
    expected = head.at(head.features())
    assert len(seen) == 5
    distance = np.linalg.norm(seen[:, None] - expected[None], axis=2)
    assert (distance.min(axis=0) < 0.5).all()


def test_no_face_is_hidden_by_a_neighbour() -> None:
    """Each head, painted with its scene, keeps most of the pixels that it has when painted last."""
    grown = [(head, others) for index in range(80) for head, others in later_heads(index)]
    assert len(grown) > 50
    for head, others in grown:
        mask = np.zeros((240 * painting.OVERSAMPLING, 320 * painting.OVERSAMPLING, 3), np.uint8)
        painting._Brush(mask, head).ellipse((0, 0), (1, 1), (255, 255, 255))
        whole = int((mask[..., 0] > 127).sum())
        for other in others:
            painting._draw_head(painting._Brush(mask, other), np.random.default_rng(0))
        left = int((mask == 255).all(axis=2).sum())
        assert left > 0.85 * whole


def later_heads(index: int) -> list[tuple[Head, list[Head]]]:
    """Each head of a scene with those that are painted after it."""
    heads = synthetic._place_heads(5, index, 240, 320)
    return [(head, heads[k + 1 :]) for k, head in enumerate(heads[:-1])]


def test_tilt_is_clockwise() -> None:
    quarter = Head(0.0, 0.0, 10.0, 20.0, 90.0, 0.0)
    np.testing.assert_allclose(quarter.at([[0, -1], [1, 0]]), [[20, 0], [0, 10]], atol=1e-9)
    np.testing.assert_allclose(quarter.box(), [-20, -10, 20, 10], atol=1e-9)


def test_records_carry_the_labels_of_the_scenes() -> None:
    found = synthetic.records(5, 7)
    assert [record.path.as_posix() for record in found] == [f"synthetic/7-{index:06d}" for index in range(5)]
    for index, record in enumerate(found):
        image, boxes, landmarks = synthetic.draw_scene(7, index)
        assert synthetic.is_synthetic(record.path)
        assert record.complete
        np.testing.assert_array_equal(synthetic.image_of(record.path), image)
        np.testing.assert_array_equal(record.boxes, boxes)
        np.testing.assert_array_equal(record.landmarks, landmarks)


@pytest.mark.parametrize("path", ["synthetic/a.jpg", "a/synthetic/0-000001", "synthetic/0-1", "0-000001", "synthetic"])
def test_files_are_not_scenes(path: str) -> None:
    assert not synthetic.is_synthetic(Path(path))
    with pytest.raises(ValueError, match="synthetic/<seed>-<index"):
        synthetic.image_of(Path(path))


def test_a_tiny_scene_is_rejected() -> None:
    with pytest.raises(ValueError, match="63 x 100"):
        synthetic.draw_scene(0, 0, 63, 100)


def test_a_written_folder_reads_back(tmp_path: Path) -> None:
    synthetic.write_folder(tmp_path, 6, seed=3)
    found, problems = read_source(str(tmp_path))
    assert problems == []
    wider, faces = found[:6], found[6:]
    landmarks = []
    for index, record in enumerate(wider):
        image, boxes, points = synthetic.draw_scene(3, index)
        np.testing.assert_allclose(record.boxes, boxes, atol=0.02)
        assert np.abs(read_image(record.path).astype(int) - image).mean() < 12  # JPEG of a noisy picture
        landmarks.append(points)
    assert any(len(record.boxes) == 0 for record in wider)
    np.testing.assert_allclose(np.concatenate([face.landmarks for face in faces]), np.concatenate(landmarks), atol=0.01)
