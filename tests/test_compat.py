"""`MTCNN` with the documented calls of facenet-pytorch and ipazc's mtcnn, on random nets."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import published_weights as peers
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mtcnn import MTCNN, Detector
from mtcnn.checkpoint import read, weights_path, write
from mtcnn.compat import extract_face
from mtcnn.compat.selection import METHODS, best_face
from mtcnn.errors import CheckpointError, ImageError, SettingsError
from mtcnn.exceptions import InvalidImage
from mtcnn.importers.matlab_arithmetic import WholePixelProposer, WholePixelRefiner
from mtcnn.nets import NETS
from mtcnn.types import Faces, ImageSize

Array = NDArray[Any]

# Everything passes: a dozen faces an image. And nothing does.
ALL: dict[str, Any] = {"min_face_size": 30, "factor": 0.5, "thresholds": [0.0, 0.0, 0.0]}
NONE: dict[str, Any] = {**ALL, "thresholds": [1.0, 1.0, 1.0]}


def image(width: int = 70, height: int = 50, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture(scope="module")
def models(random_models: Path) -> Path:
    return random_models


@pytest.fixture(scope="module")
def mtcnn(models: Path) -> MTCNN:
    return MTCNN(models=models, **ALL)


# ---- facenet-pytorch: detect


def test_detect_one_image(mtcnn: MTCNN) -> None:
    boxes, probs = mtcnn.detect(image())
    assert boxes.shape == (len(boxes), 4) and boxes.dtype == np.float32 and len(boxes) > 3
    assert probs.shape == (len(boxes),) and ((probs >= 0) & (probs <= 1)).all()
    again, same, points = mtcnn.detect(image(), landmarks=True)
    assert np.array_equal(again, boxes) and np.array_equal(same, probs)
    assert points.shape == (len(boxes), 5, 2)
    for box, point in zip(boxes, points, strict=True):  # as its examples go through them
        assert len(box.tolist()) == 4 and all(len(p.tolist()) == 2 for p in point)


def test_detect_is_the_detector(mtcnn: MTCNN, models: Path) -> None:
    faces = Detector(models, 30, 0.5, (0, 0, 0)).detect(np.asarray(image()))
    boxes, probs, points = MTCNN(models=models, select_largest=False, **ALL).detect(image(), landmarks=True)
    assert np.array_equal(boxes, faces.boxes) and np.array_equal(probs, faces.scores)
    assert faces.landmarks is not None and np.array_equal(points, faces.landmarks)


def test_order(models: Path, mtcnn: MTCNN) -> None:
    boxes, probs = mtcnn.detect(image())
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    assert (np.diff(areas) <= 0).all() and not (np.diff(probs) <= 0).all()
    boxes, probs = MTCNN(models=models, select_largest=False, **ALL).detect(image())
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    assert (np.diff(probs) <= 0).all() and not (np.diff(areas) <= 0).all()


def test_detect_no_face(models: Path) -> None:
    blind = MTCNN(models=models, **NONE)
    boxes, probs, points = blind.detect(image(), landmarks=True)
    assert boxes is None and points is None and list(probs) == [None]
    boxes, probs = blind.detect([image(), image()])
    assert boxes.tolist() == [None, None] and [list(prob) for prob in probs] == [[None], [None]]
    assert MTCNN(models=models, **{**ALL, "min_face_size": 51}).detect(image())[0] is None  # larger than the image


@pytest.mark.parametrize("kind", ["list", "tuple", "array", "tensor"])
def test_detect_batch(mtcnn: MTCNN, kind: str) -> None:
    images = [image(seed=seed) for seed in range(3)]
    stacked = np.stack([np.asarray(one) for one in images])
    batch: Any = {"list": images, "tuple": tuple(images), "array": stacked, "tensor": torch.from_numpy(stacked)}[kind]
    found = mtcnn.detect(batch, landmarks=True)
    assert all(len(column) == 3 for column in found)
    for i, one in enumerate(images):
        for column, alone in zip(found, mtcnn.detect(one, landmarks=True), strict=True):
            assert np.array_equal(column[i], alone)


def test_batch_with_equal_counts_is_one_array(models: Path, mtcnn: MTCNN) -> None:
    boxes, probs, points = mtcnn.detect([image(), image()], landmarks=True)
    alone, alone_probs, alone_points = mtcnn.detect(image(), landmarks=True)
    count = len(alone)
    assert (boxes.shape, probs.shape, points.shape) == ((2, count, 4), (2, count), (2, count, 5, 2))
    assert all(column.dtype == np.float32 for column in (boxes, probs, points))
    assert (
        not (boxes - alone).any() and np.array_equal(probs[1], alone_probs) and np.array_equal(points[0], alone_points)
    )
    assert mtcnn.detect([image()])[0].shape == (1, count, 4)
    blank = Image.new("RGB", (20, 20))  # too small for a face
    boxes, probs = mtcnn.detect([image(), blank])
    assert boxes.shape == (2,) and boxes.dtype == object and boxes[1] is None and list(probs[1]) == [None]
    boxes, probs = MTCNN(models=models, **NONE).detect([image(), image()])
    assert boxes.shape == (2,) and probs.shape == (2, 1)
    boxes, probs, points = mtcnn.detect([image(), image()], landmarks=True)
    faces = mtcnn.select_boxes(boxes, probs, points, [image(), image()])
    assert [column.shape for column in faces] == [(2, 1, 4), (2, 1), (2, 1, 5, 2)]


def test_batch_of_mixed_sizes_is_the_images_one_by_one(mtcnn: MTCNN) -> None:
    images = [image(70, 50), image(44, 61, 1), image(20, 20, 2), image(70, 50, 3).convert("L")]
    boxes, _, points = mtcnn.detect(images, landmarks=True)
    for i, one in enumerate(images):
        alone, _, alone_points = mtcnn.detect(one, landmarks=True)
        assert np.array_equal(boxes[i], alone) and np.array_equal(points[i], alone_points)
    assert boxes[2] is None and mtcnn.detect([])[0].shape == (0,)


@pytest.mark.parametrize("kind", ["array", "tensor", "float", "int64", "path", "bytes", "RGBA"])
def test_one_image_of_any_kind(mtcnn: MTCNN, tmp_path: Path, kind: str) -> None:
    picture, stream = image(), io.BytesIO()
    picture.save(stream, "PNG")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    array = np.asarray(picture)
    same: dict[str, Any] = {
        "array": array,
        "tensor": torch.from_numpy(array.copy()),
        "float": array.astype(np.float32),
        "int64": array.astype(np.int64),
        "path": tmp_path / "a.png",
        "bytes": stream.getvalue(),
        "RGBA": picture.convert("RGBA"),
    }
    assert np.array_equal(mtcnn.detect(same[kind])[0], mtcnn.detect(picture)[0])


@pytest.mark.parametrize("array", [np.full((9, 9, 3), -1.0), np.full((9, 9, 3), 256), np.full((9, 9, 3), 300.0)])
def test_values_of_another_range(mtcnn: MTCNN, array: Array) -> None:
    with pytest.raises(ImageError, match="expected 0 to 255"):
        mtcnn.detect(array)


def test_standardised_images_are_rejected(mtcnn: MTCNN) -> None:
    for values in ((np.asarray(image()) - 127.5) / 128, (np.asarray(image()) / 255 - 0.45) / 0.225):
        with pytest.raises(ImageError, match="expected 0 to 255"):
            mtcnn.detect(values)


def test_slight_overshoot_is_clipped(mtcnn: MTCNN) -> None:
    """As those of generated images, (x + 1) * 127.5."""
    array = np.asarray(image()).astype(np.float32)
    wide = (array - 127.5) * 1.05 + 127.5
    assert wide.min() < -5 and wide.max() > 260
    assert np.array_equal(mtcnn.detect(wide)[0], mtcnn.detect(wide.round().clip(0, 255).astype(np.uint8))[0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shares_of_255(mtcnn: MTCNN, dtype: type) -> None:
    """Values in [0, 1] are multiplied by 255, with a warning."""
    array = np.asarray(image())
    with pytest.warns(UserWarning, match="no value is above 1"):
        found = mtcnn.detect((array / 255).astype(dtype))
    assert np.array_equal(found[0], mtcnn.detect(array)[0])


@pytest.mark.parametrize("ones", [np.ones((64, 64, 3)), np.ones((64, 64, 3), bool), torch.ones(64, 64, 3)])
def test_warm_up(models: Path, ones: Any) -> None:
    with pytest.warns(UserWarning, match="no value is above 1"):
        assert MTCNN(models=models, **NONE).detect(ones, landmarks=True)[0] is None


# ---- facenet-pytorch: face tensors


def test_call(mtcnn: MTCNN) -> None:
    face = mtcnn(image())
    assert isinstance(face, torch.Tensor) and face.dtype == torch.float32 and face.shape == (3, 160, 160)
    assert face.unsqueeze(0).shape == (1, 3, 160, 160)
    assert -1 <= float(face.min()) < -0.5 and 0.5 < float(face.max()) <= 1
    again, prob = mtcnn(image(), return_prob=True)
    assert torch.equal(again, face) and isinstance(prob, float)
    boxes, probs = mtcnn.detect(image())  # the first is the largest
    assert prob == pytest.approx(probs[0])
    assert torch.equal(mtcnn.extract(image(), boxes), face)
    assert torch.equal(mtcnn.forward(image()), face)


def test_call_keep_all(models: Path) -> None:
    keep = MTCNN(models=models, keep_all=True, post_process=False, image_size=40, **ALL)
    boxes, probs = keep.detect(image())
    faces, same = keep(image(), return_prob=True)
    assert faces.shape == (len(boxes), 3, 40, 40) and np.array_equal(same, probs)
    assert float(faces.min()) < 20 and 200 < float(faces.max()) <= 255
    for box, face in zip(boxes, faces, strict=True):
        assert torch.equal(extract_face(image(), box, 40), face)


def test_call_batch(mtcnn: MTCNN) -> None:
    images = [image(), image(60, 80, 1), image(20, 20, 2)]
    faces, probs = mtcnn(images, return_prob=True)
    assert isinstance(faces, list) and len(faces) == len(probs) == 3
    assert faces[0].shape == (3, 160, 160) and torch.equal(faces[0], mtcnn(image()))
    assert probs[0].shape == (1,) and faces[2] is None and list(probs[2]) == [None]
    assert torch.stack([face for face in faces if face is not None]).shape == (2, 3, 160, 160)


def test_call_no_face(models: Path) -> None:
    assert MTCNN(models=models, **NONE)(image(), return_prob=True) == (None, None)
    faces, probs = MTCNN(models=models, keep_all=True, **NONE)(image(), return_prob=True)
    assert faces is None and list(probs) == [None]


def test_save_path(models: Path, mtcnn: MTCNN, tmp_path: Path) -> None:
    face = MTCNN(models=models, post_process=False, **ALL)(image(), save_path=str(tmp_path / "new" / "face.png"))
    saved = np.asarray(Image.open(tmp_path / "new" / "face.png"))
    assert np.array_equal(saved.transpose(2, 0, 1), face.numpy())
    mtcnn([image(), image(seed=1)], save_path=[tmp_path / "a.png", str(tmp_path / "b.png")])
    assert Image.open(tmp_path / "b.png").size == (160, 160)
    count = len(MTCNN(models=models, keep_all=True, **ALL)(image(), save_path=tmp_path / "all" / "f.png"))
    names = ["f.png", *(f"f_{i}.png" for i in range(2, count + 1))]
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == sorted(names)
    with pytest.raises(SettingsError, match="2 images, 2 sets of boxes and 1 paths"):
        mtcnn([image(), image()], save_path="one.png")


def test_extract_face_margin() -> None:
    """With a margin of 20 of 100 pixels the box fills the 80 in the middle; a box may lie partly outside the image."""
    plain = np.zeros((200, 300, 3), np.uint8)
    plain[60:140, 100:180] = 255
    face = extract_face(plain, np.array([100.0, 60, 180, 140]), 100, margin=20)
    assert (face[:, 10:90, 10:90] == 255).all() and face.sum() == 3 * 80 * 80 * 255
    assert torch.equal(extract_face(Image.fromarray(plain), np.array([100.0, 60, 180, 140]), 100, 20), face)
    corner = extract_face(plain, np.array([-40.0, -40, 0.5, 0.5]), 10)
    assert corner.shape == (3, 10, 10)


@pytest.mark.parametrize("kind", ["array", "tensor", "path", "gray"])
def test_extract_face_of_any_kind(tmp_path: Path, kind: str) -> None:
    array = np.asarray(image())
    image().save(tmp_path / "a.png")
    given: dict[str, Any] = {
        "array": array,
        "tensor": torch.from_numpy(array.copy()),
        "path": tmp_path / "a.png",
        "gray": image().convert("L"),
    }
    wanted = np.asarray(image().convert("L").convert("RGB")) if kind == "gray" else array
    for box in ([10, 5, 50, 45], (10, 5, 50, 45), np.array([10.0, 5, 50, 45]), torch.tensor([10.0, 5, 50, 45])):
        assert torch.equal(extract_face(given[kind], box, 20), extract_face(wanted, np.array([10, 5, 50, 45]), 20))


@pytest.mark.parametrize(
    ("size", "margin", "box", "fault"),
    [
        (0, 0, (1, 2, 30, 40), "image_size is 0; expected a whole number of at least 1"),
        (160, 160, (1, 2, 30, 40), "margin is 160; expected 0 or more, and less than image_size, 160"),
        (160, 0, (1, 2, float("nan"), 40), "expected finite x1, y1, x2, y2"),
    ],
)
def test_faces_that_cannot_be_extracted(size: int, margin: int, box: tuple[float, ...], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        extract_face(np.zeros((50, 50, 3), np.uint8), box, size, margin)


def test_extract_face_of_several_boxes() -> None:
    with pytest.raises(SettingsError, match=r"shape \(1, 4\); expected \(4,\)"):
        extract_face(image(), np.zeros((1, 4)))


# ---- facenet-pytorch: which face


BOXES = np.array([[0, 0, 60, 60], [40, 40, 60, 60], [0, 0, 50, 50], [10, 10, 40, 40]], np.float32)
SCORES = np.array([0.7, 0.8, 0.95, 0.99], np.float32)


@pytest.mark.parametrize(
    ("method", "best"),
    [("probability", 3), ("largest", 0), ("largest_over_threshold", 2), ("center_weighted_size", 0)],
)
def test_best_face(method: str, best: int) -> None:
    size = ImageSize(100, 100)
    assert best_face(method, BOXES, SCORES, size) == best
    assert best_face(method, BOXES[:0], SCORES[:0], size) is None


def test_best_face_settings() -> None:
    size = ImageSize(100, 100)
    assert best_face("largest_over_threshold", BOXES, SCORES, size, threshold=0.97) == 3
    assert best_face("largest_over_threshold", BOXES, SCORES, size, threshold=0.99) is None
    assert best_face("center_weighted_size", BOXES, SCORES, size, center_weight=5) == 1  # at the very centre
    assert best_face("center_weighted_size", BOXES, SCORES, size, center_weight=0) == 0
    with pytest.raises(SettingsError, match="'biggest'; expected one of probability, largest"):
        best_face("biggest", BOXES, SCORES, size)


@pytest.mark.parametrize("method", METHODS)
def test_select_boxes(mtcnn: MTCNN, method: str) -> None:
    boxes, probs, points = mtcnn.detect(image(), landmarks=True)
    box, prob, point = mtcnn.select_boxes(boxes, probs, points, image(), method=method, threshold=0.0)
    assert box.shape == (1, 4) and isinstance(prob, float) and point.shape == (1, 5, 2)
    images: list[Any] = [image(), np.asarray(image(20, 20))]
    boxes, probs, points = mtcnn.detect(images, landmarks=True)
    boxes, probs, points = mtcnn.select_boxes(boxes, probs, points, images, method=method, threshold=0.0)
    assert np.array_equal(boxes[0], box) and probs[0][0] == prob and np.array_equal(points[0], point)
    assert boxes[1] is None and points[1] is None and list(probs[1]) == [None]
    assert mtcnn.select_boxes(None, [None], None, image(), method=method) == (None, None, None)


def largest_is_not_best(mtcnn: MTCNN, picture: Image.Image) -> bool:
    boxes, _ = mtcnn.detect(picture)
    return int((boxes[:, 2:] - boxes[:, :2]).prod(axis=1).argmax()) != 0


def test_selection_method_of_the_call(models: Path) -> None:
    best_first = MTCNN(models=models, select_largest=False, **ALL)
    picture = next(one for one in (image(seed=i) for i in range(20)) if largest_is_not_best(best_first, one))
    found = {}
    for settings in (
        {},
        {"select_largest": False},
        {"selection_method": "probability"},
        {"selection_method": "largest"},
    ):
        mtcnn = MTCNN(models=models, **ALL, **settings)
        found[str(settings)] = mtcnn(picture, return_prob=True)[1]
    default, best, probable, largest = found.values()
    assert default == largest < best == probable


# ---- ipazc's mtcnn


def test_detect_faces(mtcnn: MTCNN) -> None:
    faces = mtcnn.detect_faces(np.asarray(image()))
    assert isinstance(faces, list) and len(faces) > 3
    for face in faces:
        assert list(face) == ["box", "confidence", "keypoints"]
        assert len(face["box"]) == 4 and all(type(value) is int for value in face["box"])
        assert type(face["confidence"]) is float
        assert set(face["keypoints"]) == {"nose", "mouth_right", "right_eye", "left_eye", "mouth_left"}
        assert all(type(value) is int for point in face["keypoints"].values() for value in point)
    assert all(type(point) is tuple for face in faces for point in face["keypoints"].values())
    again = json.loads(json.dumps(faces))
    assert [face["box"] for face in again] == [face["box"] for face in faces]
    assert [list(face["keypoints"]["nose"]) for face in faces] == [face["keypoints"]["nose"] for face in again]
    assert [face["confidence"] for face in faces] == sorted((face["confidence"] for face in faces), reverse=True)
    assert mtcnn.predict(image(), box_format="xyxy") == mtcnn.detect_faces(image(), box_format="xyxy")


def test_keypoints_are_the_viewers(mtcnn: MTCNN, models: Path) -> None:
    points = Detector(models, 30, 0.5, (0, 0, 0)).detect(np.asarray(image())).landmarks
    assert points is not None
    keypoints = mtcnn.detect_faces(image())[0]["keypoints"]
    names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    assert [list(keypoints[name]) for name in names] == np.round(points[0]).astype(int).tolist()


def test_box_formats_and_arrays(mtcnn: MTCNN) -> None:
    table = mtcnn.detect_faces(image(), box_format="xyxy", output_type="numpy")
    boxes, probs, points = mtcnn.detect(image(), landmarks=True)
    order = np.argsort(-probs, kind="stable")
    assert table.shape == (len(boxes), 16) and (table[:, 0] == 0).all()
    assert np.array_equal(table[:, 5], probs[order])
    assert sorted(map(tuple, table[:, 1:5])) == sorted(map(tuple, boxes))
    assert sorted(map(tuple, table[:, 6:11])) == sorted(map(tuple, points[:, :, 0]))
    sized = mtcnn.detect_faces(image(), output_type="numpy")
    np.testing.assert_allclose(sized[:, 3:5], table[:, 3:5] - table[:, 1:3])
    faces = mtcnn.detect_faces(image(), box_format="xyxy")
    assert [face["box"] for face in faces] == np.round(table[:, 1:5]).astype(int).tolist()


def test_detect_faces_batch(mtcnn: MTCNN, tmp_path: Path) -> None:
    image().save(tmp_path / "a.png")
    batch = [str(tmp_path / "a.png"), np.asarray(image(60, 90, 1), np.float32), (tmp_path / "a.png").read_bytes()]
    found = mtcnn.detect_faces(batch)
    assert len(found) == 3 and found[0] == found[2] == mtcnn.detect_faces(image())
    table = mtcnn.detect_faces(batch, output_type="numpy", batch_stack_justification="topleft")
    assert [int((table[:, 0] == i).sum()) for i in range(3)] == [len(faces) for faces in found]
    assert mtcnn.detect_faces([]) == []


def test_content_that_is_not_an_image(mtcnn: MTCNN, tmp_path: Path) -> None:
    """It has no faces, as in ipazc's package; a missing file, or anything but an image or its name, is an error."""
    (tmp_path / "text.jpg").write_text("no image")
    for content in (b"no image", b"", str(tmp_path / "text.jpg"), tmp_path / "text.jpg"):
        with pytest.warns(UserWarning, match="treated as an image without faces"):
            assert mtcnn.detect_faces(content) == []
    with pytest.warns(UserWarning, match="without faces"):
        found = mtcnn.detect_faces([b"no image", image()])
    assert found == [[], mtcnn.detect_faces(image())]
    with pytest.warns(UserWarning, match="without faces"):
        assert mtcnn.detect_faces(b"no image", output_type="numpy").shape == (0, 16)
    for missing in (str(tmp_path / "missing.jpg"), None, 5):
        with pytest.raises(InvalidImage):
            mtcnn.detect_faces(missing)


def test_detect_faces_no_face(models: Path) -> None:
    blind = MTCNN(models=models, **NONE)
    assert blind.detect_faces(image()) == [] and blind.detect_faces([image(), image()]) == [[], []]
    assert blind.detect_faces(image(), output_type="numpy").shape == (0, 16)


def test_an_onet_without_trained_landmarks(models: Path, tmp_path: Path) -> None:
    for net in ("pnet", "rnet", "onet"):
        found = read(weights_path(models, net))
        write(weights_path(tmp_path, net), replace(found, has_landmarks=net != "onet" and found.has_landmarks))
    mtcnn = MTCNN(models=tmp_path, **ALL)
    faces = mtcnn.detect_faces(image())
    assert faces and all(list(face) == ["box", "confidence"] for face in faces)
    assert mtcnn.detect_faces(image(), output_type="numpy").shape == (len(faces), 6)


@pytest.mark.parametrize("positional", [False, True])
def test_face_detection_only(models: Path, positional: bool) -> None:
    name: Any = "face_detection_only"
    boxes_only = MTCNN(name, models=models, **ALL) if positional else MTCNN(stages=name, models=models, **ALL)
    faces = boxes_only.detect_faces(image())
    assert faces and all(list(face) == ["box", "confidence"] for face in faces)
    assert boxes_only.detect_faces(image(), output_type="numpy").shape == (len(faces), 6)
    assert MTCNN(name, models=models, **NONE).detect_faces(image(), output_type="numpy").shape == (0, 6)
    boxes, _, points = boxes_only.detect(image(), landmarks=True)
    assert len(boxes) == len(faces) and points is None
    assert boxes_only(image()).shape == (3, 160, 160)


def test_fitting(mtcnn: MTCNN) -> None:
    def table(**settings: Any) -> Array:
        return np.asarray(mtcnn.detect_faces(image(), box_format="xyxy", output_type="numpy", **settings))

    limit = np.array([70, 50, 70, 50])
    fitted, free, raw = table(), table(fit_to_image=False), table(postprocess=False)
    assert (fitted[:, 1:5] >= 0).all() and (fitted[:, 1:5] <= limit).all()
    assert ((free[:, 1:5] < 0) | (free[:, 1:5] > limit)).any() and np.array_equal(free, raw)
    points = table(limit_boundaries_landmarks=True)[:, 6:]
    assert (points >= 0).all() and (points[:, :5] <= 70).all() and (points[:, 5:] <= 50).all()
    assert not np.array_equal(points, fitted[:, 6:])


def test_thresholds_of_a_call(models: Path, mtcnn: MTCNN) -> None:
    scores = np.sort([face["confidence"] for face in mtcnn.detect_faces(image())])
    least = float(scores[len(scores) // 2])
    assert len(mtcnn.detect_faces(image(), threshold_onet=least)) < len(scores)
    assert mtcnn.detect_faces(image(), threshold_pnet=1) == mtcnn.detect_faces(image(), min_face_size=51) == []
    assert mtcnn.detect_faces(image(), scale_factor=0.9) != mtcnn.detect_faces(image())
    assert len(mtcnn.detect_faces(image())) == len(scores)  # nothing has stuck


def test_last_threshold_is_0_8_unless_named(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def find(self: MTCNN, pixels: Array, min_face: None, factor: None, thresholds: list[float], fit: bool) -> Faces:
        seen.append(thresholds)
        return Faces.empty(with_landmarks=True)

    monkeypatch.setattr(MTCNN, "find", find)
    for mtcnn in (MTCNN(models=models), MTCNN(models=models, thresholds=[0.1, 0.2, 0.3])):
        assert mtcnn.detect_faces(image()) == []
    assert seen == [[0.6, 0.7, 0.8], [0.1, 0.2, 0.3]]


# ---- settings


def test_settings_may_change(models: Path) -> None:
    mtcnn = MTCNN(models=models, **ALL).eval()
    assert (mtcnn.min_face_size, mtcnn.thresholds, mtcnn.image_size) == (30, [0.0, 0.0, 0.0], 160)
    assert mtcnn.detect(image())[0] is not None
    mtcnn.min_face_size = 51
    assert mtcnn.detect(image())[0] is None


@pytest.mark.parametrize(
    ("given", "device"),
    [(None, "cpu"), ("cpu", "cpu"), ("CPU:0", "cpu"), ("/device:CPU:0", "cpu"), (torch.device("cpu"), "cpu")],
)
def test_devices(models: Path, given: Any, device: str) -> None:
    mtcnn = MTCNN(models=models, device=given)
    assert mtcnn.device == torch.device(device) and mtcnn.to(device).device == torch.device(device)


def test_device_names() -> None:
    from mtcnn.compat.finder import _device_name

    assert [_device_name(name) for name in ("GPU:0", "gpu:1", "/GPU:0", "cuda:0", "GPU")] == [
        "cuda:0", "cuda:1", "cuda:0", "cuda:0", "cuda",
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="'nothing:7'"):
        _device_name("nothing:7")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": "all"}, "stages is 'all'; expected one of face_and"),
        ({"selection_method": "best"}, "selection_method is 'best'"),
        ({"margin": 160}, "margin is 160"),
        ({"thresholds": [0.5, 0.6]}, "three numbers"),
        ({"weights": "x"}, "both given"),
    ],
)
def test_invalid_settings(models: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        MTCNN(models=models, **settings)


def test_an_empty_folder_name_is_no_folder() -> None:
    with pytest.raises(SettingsError, match="models is ''; expected a folder"):
        MTCNN(models="")


def test_unknown_keywords_are_reported(models: Path, mtcnn: MTCNN) -> None:
    for call in (
        lambda: MTCNN(models=models, pretrained=True),  # type: ignore[call-arg]
        lambda: mtcnn.detect(image(), pretrained=1),  # type: ignore[call-arg]
        lambda: mtcnn.detect_faces(image(), pretrained=1),  # type: ignore[call-arg]
        lambda: mtcnn.predict(image(), pretrained=1),
    ):
        with pytest.raises(TypeError, match="pretrained"):
            call()
    wrong: list[dict[str, Any]] = [{"box_format": "wh"}, {"output_type": "dict"}]
    for settings in wrong:
        with pytest.raises(SettingsError, match="expected one of"):
            mtcnn.detect_faces(image(), **settings)


# ---- weights of other projects


def test_weights(tmp_path: Path) -> None:
    files = [peers.write(tmp_path / f"{net}.pt", peers.facenet(net)) for net in NETS]
    imported = MTCNN(weights=files, **ALL)
    assert isinstance(imported._detector.proposer, WholePixelProposer)
    assert all(isinstance(stage, WholePixelRefiner) for stage in imported._detector.refiners)
    imported.detect(image())
    assert isinstance(MTCNN(weights=str(peers.write(tmp_path / "w.npy", peers.npy()))), MTCNN)
    with pytest.raises(CheckpointError, match="without rnet, onet"):
        MTCNN(weights=files[0])
    with pytest.raises(CheckpointError, match="without pnet, rnet, onet"):
        MTCNN(weights=[])
