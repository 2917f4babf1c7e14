"""Wrong arguments of the Python API: one line that names the value and what was expected, before any work."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mtcnn
from mtcnn.detector_settings import DetectorSettings
from mtcnn.errors import ImageError, MtcnnError, SettingsError
from mtcnn.images import read_image
from mtcnn.pictures.align import align, crop
from mtcnn.pictures.anonymise import anonymise
from mtcnn.pictures.draw import draw_faces
from mtcnn.pictures.spare import Spared
from mtcnn.stream.gaps import GapFiller
from mtcnn.stream.tracking import Tracker
from mtcnn.stream.video import VideoFile
from mtcnn.types import Faces

GRAY = np.full((60, 80, 3), 128, np.uint8)
POINTS = [[[30.0, 20.0], [50, 20], [40, 30], [32, 40], [48, 40]]]


def one() -> Faces:
    return Faces(*(np.array(each, np.float32) for each in ([[20, 10, 60, 50]], [0.9], POINTS)))


def refused(call: Callable[[], object], message: str, error: type[MtcnnError] = SettingsError) -> None:
    with pytest.raises(error) as found:
        call()
    assert str(found.value).startswith(message)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("size", [11.5, 0, -1, math.nan, "112", None, True, 10**9, (112, 112)])
def test_sides_of_aligned_faces(size: Any) -> None:
    expected = "expected a whole number from 1 to 8192"
    shown = repr(size) if isinstance(size, str) else str(size)
    refused(lambda: align(GRAY, one().landmarks, size), f"size is {shown}; {expected}")  # type: ignore[arg-type]
    refused(lambda: one().embed(GRAY, lambda crops: crops, size), f"size is {shown}; {expected}")
    refused(lambda: Faces.empty().align(GRAY, size), f"size is {shown}; {expected}")


def test_a_whole_number_may_have_any_type() -> None:
    for size in (20, 20.0, np.int64(20), np.float32(20)):
        assert one().align(GRAY, size).shape == (1, 20, 20, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("margin", ["0.2", None, [0.2], 10**400, 1e308, math.inf])
def test_margins(margin: Any) -> None:
    for call in (one().crop, lambda image, value: anonymise(image, one().boxes, margin=value)):
        refused(lambda call=call: call(GRAY, margin), "margin is ")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (np.zeros((4, 5)), "boxes have shape (4, 5); expected (N, 4)"),  # with scores: twenty numbers, five wrong boxes
        ([[1, 2, 3]], "boxes have shape (1, 3); expected (N, 4)"),
        (list(range(8)), "boxes have shape (8,); expected (N, 4)"),
        (None, "boxes have shape (); expected (N, 4)"),
        ("x", "boxes are of type str; expected an array (N, 4)"),
        (one(), "boxes are of type Faces; expected an array (N, 4)"),
        ([[40, 30, 20, 25]], "boxes hold [40.0, 30.0, 20.0, 25.0]; expected x1 y1 x2 y2, not x y width height"),
    ],
)
def test_boxes_that_would_hide_another_place(boxes: Any, message: str) -> None:
    refused(lambda: anonymise(GRAY, boxes), message)
    refused(lambda: crop(GRAY, boxes), message)
    if not message.startswith("boxes hold"):
        refused(lambda: GapFiller(1).add(boxes), message)


def test_boxes_far_outside() -> None:
    assert (anonymise(GRAY, [[-1e30, -1e30, 1e30, 1e30]], "solid") == 0).all()  # type: ignore[arg-type]
    assert (anonymise(GRAY, [[1e30] * 4], "solid") == GRAY).all()  # type: ignore[arg-type]


def test_landmarks_of_other_types() -> None:
    for points in ("x", (point for point in POINTS)):
        refused(lambda points=points: align(GRAY, points), "landmarks are of type ")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_iou": 5}, "min_iou is 5; expected a number from 0 to 1"),
        ({"min_iou": math.nan}, "min_iou is nan; expected a number from 0 to 1"),
        ({"min_iou": "x"}, "min_iou is 'x'; expected a number from 0 to 1"),
        ({"memory": -1}, "memory is -1; expected a whole number of at least 0"),
        ({"memory": 1.5}, "memory is 1.5; expected a whole number of at least 0"),
    ],
)
def test_trackers(given: dict[str, Any], message: str) -> None:
    refused(lambda: Tracker(**given), message)


@pytest.mark.parametrize("gap", [-1, 1.5, None, True])
def test_gaps(gap: Any) -> None:
    refused(lambda: GapFiller(gap), f"gap is {gap}; expected a whole number of at least 0")


def test_generators_are_sequences() -> None:
    faces = Faces.concat(each for each in (one(), one()))
    assert len(faces) == 2
    assert len(Faces.concat(iter([]))) == 0
    drawn = draw_faces(GRAY, faces, labels=(f"{number}" for number in range(2)))
    assert np.array_equal(drawn, draw_faces(GRAY, faces, labels=["0", "1"]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"line_width": 0}, "line_width is 0; expected a whole number from 1 to 1000"),
        ({"line_width": 1.5}, "line_width is 1.5; expected a whole number from 1 to 1000"),
        ({"line_width": 10**6}, "line_width is 1000000; expected a whole number from 1 to 1000"),
        ({"labels": "a"}, "labels are 'a'; expected a list"),
        ({"labels": {"a"}}, "labels are {'a'}; expected a list"),
        ({"labels": 5}, "labels are 5; expected a list"),
    ],
)
def test_drawing(given: dict[str, Any], message: str) -> None:
    refused(lambda: draw_faces(GRAY, one(), **given), message)


def test_drawing_boxes_instead_of_faces() -> None:
    refused(lambda: draw_faces(GRAY, one().boxes), "faces are of type ndarray; expected Faces")  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [0, -1, math.nan, "x", None, True])
def test_the_largest_image(limit: Any, photo_folder: Path) -> None:
    shown = repr(limit) if isinstance(limit, str) else str(limit)
    photo = photo_folder / "astronaut.png"
    refused(lambda: read_image(photo, limit), f"max_pixels is {shown}; expected a number of at least 1")
    assert read_image(photo, math.inf).ndim == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [64, None, (64,), (64, 64, 3), (64.5, 64), ("a", "b"), (math.nan, 64), (1, 64)])
def test_sizes_of_videos(size: Any, tmp_path: Path) -> None:
    refused(lambda: VideoFile(tmp_path / "x.mp4", 10, size), "size is ")
    assert not list(tmp_path.iterdir())


def test_frames_and_times_of_videos(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "x.mp4", 10, (60, 80))
    refused(lambda: video.write(GRAY, "x"), "time is 'x'; expected seconds since the start")  # type: ignore[arg-type]
    refused(lambda: video.write(None), "image array: is of type NoneType", ImageError)  # type: ignore[arg-type]
    video.close()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"detector": "fast", "thresholds": (0.1, 5, "x")}, "thresholds are (0.1, 5, 'x'); expected one number"),
        ({"thresholds": {0.1, 0.2, 0.3}}, "thresholds are {"),  # a set has no order
        ({"thresholds": {0.1: 1, 0.2: 2, 0.3: 3}}, "thresholds are {0.1: 1, 0.2: 2, 0.3: 3}; expected three numbers"),
        ({"thresholds": np.full((3, 1), 0.5)}, "thresholds are array([[0.5], [0.5], [0.5]]); expected three numbers"),
        ({"min_face": np.full((2, 2), 0.5)}, "min_face is [[0.5 0.5] [0.5 0.5]]; expected a number above 0"),
    ],
)
def test_settings_of_detectors(given: dict[str, Any], message: str) -> None:
    refused(lambda: DetectorSettings(**given), message)


def test_three_thresholds_of_fewer_stages_are_reported() -> None:
    with pytest.warns(FutureWarning, match="thresholds have three numbers, but only retinaface runs: the first counts"):
        assert DetectorSettings(detector="fast", thresholds=(0.1, 0.2, 0.3)).thresholds == (0.1,)
    with pytest.warns(FutureWarning, match="only retinaface and rnet run: the first two count"):
        found = DetectorSettings(stage1="retinaface", refine="rnet", thresholds=(0.1, 0.2, 0.3))
    assert found.thresholds == (0.1, 0.2)
    assert DetectorSettings(thresholds=np.array(0.5)).thresholds == (0.5, 0.5, 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shape": 5}, "shape is 5; expected a height and a width"),
        ({"shape": "ab"}, "shape is 'ab'; expected a height and a width"),
        ({"shape": (24,)}, "shape is (24,); expected a height and a width"),
        ({"shape": (24.5, 24)}, "shape is (24.5, 24); expected a height and a width"),
        ({"shape": (24, 24), "batch": 0}, "batch is 0; expected a whole number from 1 to 1024"),
        ({"shape": (24, 24), "batch": 1.5}, "batch is 1.5; expected a whole number from 1 to 1024"),
        ({"format": ["onnx"]}, "format is ['onnx']; expected one of onnx, openvino"),
        ({"models": ""}, "models is ''; expected a path"),
        ({"path": ""}, "path is ''; expected a path"),
        ({"path": 5}, "path is 5; expected a path"),
    ],
)
def test_exports(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    refused(lambda: mtcnn.export("pnet", **{"path": tmp_path / "x.onnx", **given}), message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"protocol": ["wider"]}, "protocol is ['wider']; expected one of wider, fddb, landmarks"),
        ({"detector": "fast"}, "detector is 'fast'; expected a Detector or its arguments, such as {'detector'"),
        ({"detections": 5}, "detections is 5; expected a path, several, or names and paths"),
        ({"detections": {"a": None}}, "detections is None; expected a path"),
        ({"scale": 5}, "scale is 5; expected original, vga"),
        ({"workers": 0}, "workers is 0; expected a whole number of at least 1"),
        ({"workers": 1.5}, "workers is 1.5; expected a whole number of at least 1"),
        ({"write": ""}, "write is ''; expected a path"),
        ({"photos": ""}, "photos is ''; expected a path"),
    ],
)
def test_evaluations(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    refused(lambda: mtcnn.evaluate(tmp_path, **given), message)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"net": ["slim"]}, "net is ['slim']; expected one of pnet, rnet"),
        ({"data": 5}, "data is 5; expected a path or several"),
        ({"data": [""]}, "data is ''; expected a path"),
        ({"work": ""}, "work is ''; expected a path"),  # of an unset variable: the current folder
        ({"workers": -1}, "workers is -1; expected a whole number of at least 1"),
        ({"workers": None}, "workers is None; expected a whole number of at least 1"),
        ({"processes": 0}, "processes is 0; expected a whole number of at least 1"),
        ({"processes": "x"}, "processes is 'x'; expected a whole number of at least 1"),
        ({"device": 5}, "device is 5; expected None, a torch.device or a name"),
        ({"eval_hashes": [None]}, "eval_hashes is None; expected a path"),
        ({"on_epoch": 5}, "on_epoch is 5; expected a function"),
        ({"start": ""}, "start is ''; expected a path"),
    ],
)
def test_trainings(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    work = {"work": tmp_path / "work"}
    refused(lambda: mtcnn.train(**{"net": "slim", "data": "synthetic:2", **work, **given}), message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"thresholds": 5}, "thresholds are [5]; expected three numbers from 0 to 1"),
        ({"margin": "x"}, "margin is 'x'; expected 0 or more, and less than image_size, 160"),
        ({"margin": math.nan}, "margin is nan; expected 0 or more, and less than image_size, 160"),
    ],
)
def test_older_packages(given: dict[str, Any], message: str) -> None:
    refused(lambda: mtcnn.MTCNN(**given), message)


@pytest.mark.parametrize("similarity", ["x", None, math.nan, 0, 1.5])
def test_similarities(similarity: Any) -> None:
    shown = repr(similarity) if isinstance(similarity, str) else str(similarity)
    call = lambda: Spared([], len, mtcnn.Detector(), similarity)  # noqa: E731
    refused(call, f"spare_similarity is {shown}; expected a cosine above 0, at most 1")


# ---- arrays, tensors and classes, whose comparison with a value is no truth

ODD: list[Any] = [np.zeros((2, 3)), torch.zeros(2, 3), np.array(["a", "b"]), np.zeros(0), int, b"\0", {"a": 1}]


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(DetectorSettings)])
def test_settings_of_another_type(name: str, value: Any) -> None:
    refused(lambda: mtcnn.Detector(**{name: value}), f"{name} {'are' if name == 'thresholds' else 'is'} ")


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    ("call", "names"),
    [
        (mtcnn.train, "net hard_from quiet device work start workers processes"),
        (mtcnn.evaluate, "protocol scale flip strict progress photos"),
        (mtcnn.MTCNN, "post_process select_largest selection_method keep_all device"),
        (draw_faces, "landmarks scores line_width"),
        (anonymise, "style shape margin"),
        (read_image, "max_pixels"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_arguments_of_another_type(call: Any, names: str, value: Any, tmp_path: Path) -> None:
    given: dict[Any, tuple[Any, ...]] = {
        mtcnn.train: ("slim", "synthetic:2", tmp_path / "work"),
        mtcnn.evaluate: (tmp_path, tmp_path),
        draw_faces: (GRAY, one()),
        anonymise: (GRAY, one().boxes),
        read_image: (GRAY,),
    }
    for name in names.split():
        positions = {"net": 0, "work": 2, "photos": 1}
        words = [value if positions.get(name) == i else word for i, word in enumerate(given.get(call, ()))]
        named = {} if name in positions else {name: value}
        refused(lambda words=words, named=named: call(*words, **named), f"{name} is ")  # type: ignore[misc]


@pytest.mark.parametrize("value", [None, 5, "a.jpg", np.zeros((1, 4)), [[1, 2, 3, 4]], {}])
def test_what_is_no_faces(value: Any) -> None:
    expected = f"are of type {type(value).__name__}; expected "
    refused(lambda: Tracker().update(value), f"faces {expected}Faces, as a Detector returns them")
    refused(lambda: draw_faces(GRAY, value), f"faces {expected}Faces")
    refused(lambda: Faces.concat([one(), value]), f"parts {expected}Faces")
    refused(lambda: one().embed(GRAY, value), "model is ")


def test_parts_that_are_one() -> None:
    refused(lambda: Faces.concat(5), "parts are of type int; expected several Faces")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, "a.jpg", ["a"], object(), [[1], [1, 2]]])
def test_faces_of_no_numbers(value: Any) -> None:
    expected = rf"are of type {type(value).__name__}; expected an array of numbers"
    with pytest.raises(ValueError, match=f"^boxes {expected}$"):
        Faces(value, np.zeros(1, np.float32))
    with pytest.raises(ValueError, match=f"^scores {expected}$"):
        Faces(np.zeros((1, 4), np.float32), value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stages": 5}, "stages are of type int; expected a list of stages"),
        ({"weights": 5}, "weights is 5; expected a path"),
        ({"weights": [None]}, "weights is None; expected a path"),
        ({"thresholds": np.array(0.5)}, "thresholds are [array(0.5)]; expected three numbers"),
    ],
)
def test_older_packages_given_another_type(given: dict[str, Any], message: str) -> None:
    refused(lambda: mtcnn.MTCNN(**given), message)
