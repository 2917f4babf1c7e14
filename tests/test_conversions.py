"""Faces as crops, embeddings, and objects of other libraries; detectors in threads and other processes."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import succeeds_forked
from test_types import assert_same, some_faces

from mtcnn.cascade import Detector
from mtcnn.errors import LibraryError, SettingsError
from mtcnn.pictures.align import TEMPLATE, align, crop
from mtcnn.types import Faces
from mtcnn.workers import local_workers


def on_the_template(count: int) -> tuple[Any, Faces]:
    """An image of noise, and faces whose points are the template's, moved by whole pixels."""
    image = np.random.default_rng(0).integers(0, 255, (150, 160, 3), dtype=np.uint8)
    shifts = np.array([[0, 0], [9, 5], [30, 20]])[:count]
    points = np.stack([TEMPLATE + 0.5 + shift for shift in shifts])
    boxes = np.stack([[x, y, x + 112, y + 112] for x, y in shifts])
    return image, Faces(boxes, np.ones(count, np.float32), points)


def test_aligned_faces_are_the_pixels_below_the_template() -> None:
    image, faces = on_the_template(3)
    crops = faces.align(image)
    assert crops.shape == (3, 112, 112, 3)
    for found, (x, y) in zip(crops, [(0, 0), (9, 5), (30, 20)], strict=True):
        assert np.abs(found.astype(int) - image[y : y + 112, x : x + 112]).max() <= 2
    assert faces.align(image, 56).shape == (3, 56, 56, 3)


def test_crops_are_those_of_align(photos: Any) -> None:
    image, faces = photos["astronaut"], Faces([[175, 65, 275, 205]], [0.9])  # type: ignore[arg-type]
    (found,) = faces.crop(image, 0.1)
    assert np.array_equal(found, crop(image, faces.boxes, 0.1)[0])
    assert found.shape == (168, 120, 3)
    assert Faces.empty().crop(image) == []


def test_images_by_path(tmp_path: Path, photo_folder: Path) -> None:
    (found,) = Faces([[175, 65, 275, 205]], [0.9]).crop(photo_folder / "astronaut.png", 0)  # type: ignore[arg-type]
    assert found.shape == (140, 100, 3)


def mean_colours(crops: Any) -> Any:
    return crops.reshape(len(crops), -1, 3).mean(axis=1)


def test_embeddings_follow_the_faces() -> None:
    image, faces = on_the_template(3)
    vectors = faces.embed(image, mean_colours)
    assert vectors.shape == (3, 3)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, mean_colours(align(image, np.asarray(faces.landmarks))))
    assert np.array_equal(faces[[2, 0]].embed(image, mean_colours), vectors[[2, 0]])


def test_embeddings_of_torch() -> None:
    torch = pytest.importorskip("torch")
    image, faces = on_the_template(2)
    weight = torch.ones(3, requires_grad=True)
    vectors = faces.embed(image, lambda crops: torch.from_numpy(mean_colours(crops)).float() * weight)
    assert np.allclose(vectors, faces.embed(image, mean_colours))


def test_nothing_to_embed() -> None:
    assert Faces.empty().embed(np.zeros((9, 9, 3), np.uint8), lambda crops: pytest.fail("called")).shape == (0, 0)
    assert Faces.empty().align(np.zeros((9, 9, 3), np.uint8)).shape == (0, 112, 112, 3)


def test_faces_that_cannot_be_aligned() -> None:
    image, faces = on_the_template(2)
    with pytest.raises(SettingsError, match="no landmarks to align them by"):
        Faces(faces.boxes, faces.scores).embed(image, mean_colours)
    unknown = np.array(faces.landmarks)
    unknown[1] = np.nan
    with pytest.raises(SettingsError, match="expected two or more that differ"):
        Faces(faces.boxes, faces.scores, unknown).align(image)


@pytest.mark.parametrize("result", [np.zeros((1, 5)), np.zeros(2), np.zeros((2, 5, 1)), np.zeros((3, 5))])
def test_a_model_that_returns_other_rows(result: Any) -> None:
    image, faces = on_the_template(2)
    with pytest.raises(SettingsError, match=r"model returned shape .*; expected \(2, D\)"):
        faces.embed(image, lambda crops: result)


# ---- other libraries


def test_pandas() -> None:
    pytest.importorskip("pandas")
    faces = some_faces(3)
    table = faces.to_pandas()
    assert list(table.columns)[:7] == ["x1", "y1", "x2", "y2", "score", "x_left_eye", "y_left_eye"]
    assert list(table.columns)[-2:] == ["x_right_mouth", "y_right_mouth"]
    assert np.array_equal(table[["x1", "y1", "x2", "y2"]], faces.boxes)
    assert np.array_equal(table["score"], faces.scores)
    assert faces.landmarks is not None
    assert np.array_equal(table["y_nose"], faces.landmarks[:, 2, 1])
    assert list(some_faces(2, landmarks=False).to_pandas().columns) == ["x1", "y1", "x2", "y2", "score"]
    assert Faces.empty(with_landmarks=True).to_pandas().shape == (0, 15)


def test_supervision() -> None:
    supervision = pytest.importorskip("supervision")
    faces = some_faces(3)
    found = faces.to_supervision()
    assert isinstance(found, supervision.Detections)
    assert np.array_equal(found.xyxy, faces.boxes)
    assert np.array_equal(found.confidence, faces.scores)
    assert found.class_id.tolist() == [0, 0, 0]
    assert np.array_equal(found[1:].data["landmarks"], faces.landmarks[1:])  # type: ignore[index]
    assert Faces.empty().to_supervision().is_empty()
    assert some_faces(2, landmarks=False).to_supervision().data == {}


@pytest.mark.parametrize("name", ["pandas", "supervision"])
def test_a_library_that_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LibraryError, match=f"no package {name}; expected it: pip install {name}"):
        getattr(some_faces(), f"to_{name}")()


# ---- one detector for threads and processes

DETECTORS: list[dict[str, Any]] = [
    {},
    {"detector": "best"},
    {"detector": "retinaface", "engine": "torch"},
    {"detector": "retinaface", "engine": "onnx"},
]


def names(settings: dict[str, Any]) -> str:
    return "-".join(map(str, settings.values())) or "cascade"


def patches(photos: Any) -> list[Any]:
    face = photos["astronaut"][20:260, 120:340]
    return [np.ascontiguousarray(face[y:, x:]) for y in (0, 3, 11, 20) for x in (0, 7, 16)]


@pytest.fixture(params=DETECTORS, ids=names)
def detector(request: pytest.FixtureRequest) -> Detector:
    if request.param.get("engine") == "onnx":
        pytest.importorskip("onnxruntime")
    return Detector(**request.param)


def test_threads_share_a_detector(detector: Detector, photos: Any) -> None:
    images = patches(photos)
    with ThreadPoolExecutor(6) as pool:  # its first use, too
        found = list(pool.map(detector.detect, images * 3))
    expected = [detector.detect(image) for image in images]
    assert all(len(faces) >= 1 for faces in expected)
    for faces, wanted in zip(found, expected * 3, strict=True):
        assert_same(faces, wanted)


def test_a_detector_pickles(detector: Detector, photos: Any) -> None:
    again: Detector = pickle.loads(pickle.dumps(detector))
    assert again.settings == detector.settings
    image = patches(photos)[0]
    assert_same(again.detect(image), detector.detect(image))
    assert_same(pickle.loads(pickle.dumps(detector)).detect(image), again.detect(image))  # after its first use


def test_processes_get_a_detector(photos: Any) -> None:
    detector, images = Detector(), patches(photos)[:3]
    expected = detector.detect(images)  # its threads and buffers are there
    for faces, wanted in zip(local_workers(2).map(detector.detect, images), expected, strict=True):
        assert_same(faces, wanted)

    def same() -> bool:
        found = detector.detect(images[0])
        return np.array_equal(found.boxes, expected[0].boxes)

    assert succeeds_forked(same)
