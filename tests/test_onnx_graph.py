"""A whole detector as one ONNX graph finds what `Detector` finds, in images of any size."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from run_command import run
from skimage import data
from small_detectors import small_nets, write_nets

import mtcnn
from mtcnn import Detector, Faces
from mtcnn.checkpoint import Checkpoint, read, weights_path, write
from mtcnn.detector_settings import DetectorSettings
from mtcnn.detectors import DETECTORS
from mtcnn.errors import CheckpointError, MtcnnError, SettingsError
from mtcnn.nets import NETS
from mtcnn.nms import nms
from mtcnn.onnx_graph import whole
from mtcnn.onnx_graph.builder import Graph
from mtcnn.onnx_graph.resampling import for_each_crop, resized
from mtcnn.onnx_graph.suppression import nms as graph_nms
from mtcnn.onnx_graph.suppression import nms_by_smaller
from mtcnn.onnx_graph.whole import noise, whole_model
from mtcnn.resample import resample, resample_many
from mtcnn.scoring import Scoring

pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

Array = NDArray[Any]
Runner = Callable[..., Any]


def session(model: Any) -> Any:
    content = model.SerializeToString() if hasattr(model, "SerializeToString") else str(model)
    return ort.InferenceSession(content, providers=["CPUExecutionProvider"])


def computed(make: Callable[..., str], ndim: int, *values: Array) -> Array:
    """The value, of `ndim` axes, of nodes that `make` adds to a graph with these inputs."""
    g = Graph()
    shapes = [[f"{k}.{axis}" for axis in range(value.ndim)] for k, value in enumerate(values)]
    names = [g.input(f"x{k}", value.dtype, shapes[k]) for k, value in enumerate(values)]
    model = g.model([("y", g.cast(make(g, *names), np.float32), np.float32, [f"y.{axis}" for axis in range(ndim)])], {})
    found: Array = session(model).run(None, dict(zip(names, values, strict=True)))[0]
    return found


def photo() -> NDArray[np.uint8]:
    return np.ascontiguousarray(data.astronaut())  # type: ignore[no-untyped-call]


def crowd() -> NDArray[np.uint8]:
    """Forty-eight small faces, each of its own brightness, and a large one."""
    face = resample(np.ascontiguousarray(photo()[:220, 120:330]), 55, 52)
    tiles = [[np.clip(face * (0.6 + 0.02 * (8 * row + k)), 0, 255) for k in range(8)] for row in range(6)]
    small = np.concatenate([np.concatenate(row, axis=1) for row in tiles]).astype(np.uint8)  # (330, 416, 3)
    return np.concatenate([small, photo()[:330, 100:400]], axis=1)


# ---- parts


@pytest.mark.parametrize("size", [(37, 53), (12, 12), (80, 131), (173, 260), (79, 130)])
def test_levels_are_resampled_alike(size: tuple[int, int]) -> None:
    image = noise(80, 131)
    found = computed(lambda g, x: resized(g, x, *size), 3, image)
    gap = np.abs(found.transpose(1, 2, 0) - resample(image, *size))
    assert found.shape == (3, *size)
    assert gap.max() <= 1 and (gap > 0).mean() < 1e-3  # a sum in another order may round to the other side


def test_crops_are_cut_alike() -> None:
    image = noise(60, 83)
    boxes = np.array(
        [[3, 4, 33.5, 34.5], [-20.25, -9, 20, 31.25], [70, 50, 72.5, 52.5], [-300, -300, 400, 400], [82, 0, 120, 38],
         [0, 0, 24, 24]],
    )  # fmt: skip

    def make(g: Graph, x: str, b: str) -> str:
        return for_each_crop(g, x, b, 24, lambda body, crop: body.op("Reshape", crop, [1728]), 1728)

    flat = computed(make, 2, image, boxes)
    found = flat.reshape(-1, 3, 24, 24).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, resample_many(image, boxes, 24, exact=True), atol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_nms_by_the_smaller_area(count: int) -> None:
    rng = np.random.default_rng(count)
    corner, side = rng.integers(0, 60, (count, 2)), rng.integers(1, 30, (count, 1))
    boxes = np.concatenate([corner, corner + side], axis=1).astype(np.float64)
    scores = rng.integers(0, 9, count) / 8  # with ties
    found = computed(lambda g, b, s: nms_by_smaller(g, b, s, 0.5), 1, boxes, scores)
    np.testing.assert_array_equal(found, nms(boxes, scores, 0.5, "ios"))


def test_an_inverted_box_suppresses_nothing() -> None:
    boxes = np.array([[10, 10, 0, 0], [0, 0, 10, 10], [10, 0, 0, 10], [1, 0, 10, 10], [5, 5, 5, 5]], np.float64)
    scores = np.arange(5, 0, -1).astype(np.float64)
    found = computed(lambda g, b, s: graph_nms(g, b, s, 0.5), 1, boxes, scores)
    np.testing.assert_array_equal(found, nms(boxes, scores, 0.5))
    np.testing.assert_array_equal(found, [0, 1, 2, 4])


# ---- the cascade


@pytest.fixture(scope="module")
def cascade() -> Runner:
    """The packaged cascade, with its settings as inputs."""
    run = session(whole_model(DetectorSettings(), as_inputs=True))

    def faces(
        image: Array, min_face: float = 20, scale_factor: float = 0.709, thresholds: Any = (0.6, 0.7, 0.7)
    ) -> Faces:
        settings = {"min_face": min_face, "scale_factor": scale_factor, "thresholds": thresholds}
        values = {name: np.asarray(value, np.float64) for name, value in settings.items()}
        return Faces(*run.run(None, {"image": image, **values}))

    return faces


def same(ours: Faces, theirs: Faces) -> None:
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-3)
    np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=0.05)
    assert (ours.landmarks is None) == (theirs.landmarks is None)
    if ours.landmarks is not None and theirs.landmarks is not None:
        np.testing.assert_allclose(ours.landmarks, theirs.landmarks, atol=0.05)


@pytest.mark.parametrize(
    ("image", "settings", "faces"),
    [
        (photo(), {}, 1),
        (photo()[:301, 101:400], {"min_face": 33.5, "scale_factor": 0.5}, 1),
        (photo()[:120, 150:290], {"thresholds": (0.3, 0.1, 0.05)}, 1),
        (crowd(), {}, 40),
        (crowd()[::2, ::2], {"min_face": 11, "thresholds": (0.5, 0.5, 0.3)}, 20),
        (np.zeros((77, 131, 3), np.uint8), {}, 0),
        (photo()[300:, :333], {"thresholds": (0.2, 0.02, 0.02)}, 1),
    ],
)
def test_equal_to_detector(cascade: Runner, image: Array, settings: dict[str, Any], faces: int) -> None:
    image = np.ascontiguousarray(image)
    theirs = Detector(**settings).detect(image)
    assert len(theirs) >= faces
    same(cascade(image, **settings), theirs)


@pytest.mark.parametrize("shape", [(0, 0), (0, 40), (1, 1), (1, 300), (19, 64), (20, 20), (21, 500)])
def test_empty_and_tiny_images(cascade: Runner, shape: tuple[int, int]) -> None:
    found = cascade(np.full((*shape, 3), 128, np.uint8))
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,)
    assert found.landmarks is not None and found.landmarks.shape == (0, 5, 2)


@pytest.mark.parametrize("settings", [{"scale_factor": 1.0}, {"scale_factor": -1.0}, {"min_face": np.nan}])
def test_wild_settings_end(cascade: Runner, settings: dict[str, float]) -> None:
    """Nothing checks inputs in a graph, but none may run forever."""
    cascade(photo()[:50, :60], **settings)


@pytest.fixture(scope="module")
def odd_models(random_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with negative slopes, scores that include the previous stage's, and an ONet without landmarks."""
    folder = tmp_path_factory.mktemp("odd")
    for name in NETS:
        state = read(weights_path(random_models, name)).tensors()
        first = next(key for key in state if key.endswith("prelu.weight"))
        state[first] = torch.linspace(-0.2, 0.4, len(state[first]))
        context = {"pnet": 1.0, "rnet": 1.5, "onet": 1.25}[name]
        second = 0.4 if name == "onet" else 0.0
        scoring = Scoring() if name == "pnet" else Scoring(0.5, temperature=1.5, context=context, second=second)
        write(weights_path(folder, name), Checkpoint(name, state, scoring=scoring, has_landmarks=name != "onet"))
    return folder


def test_other_weights(odd_models: Path, tmp_path: Path) -> None:
    made = mtcnn.export("mtcnn", tmp_path / "new" / "odd.onnx", odd_models, thresholds=(0.4, 0.4, 0.4))
    assert made.outputs == ("boxes", "scores") and made.difference < 1e-3 and made.reference == "Detector"
    image = noise(61, 83)
    theirs = Detector(odd_models, thresholds=(0.4, 0.4, 0.4)).detect(image)
    assert len(theirs) > 3
    same(Faces(*session(made.path).run(None, {"image": image})), theirs)
    assert [path.name for path in made.path.parent.iterdir()] == ["odd.onnx"]


# ---- files and errors


def test_settings_are_in_the_file(tmp_path: Path) -> None:
    made = mtcnn.export("mtcnn", tmp_path / "a.onnx", min_face=100, thresholds=0.9)
    facts = session(made.path).get_modelmeta().custom_metadata_map
    settings = json.loads(facts["settings"])
    assert settings["min_face"] == 100 and settings["thresholds"] == [0.9, 0.9, 0.9] and "RGB" in facts["image"]
    image = np.ascontiguousarray(crowd())
    same(Faces(*session(made.path).run(None, {"image": image})), Detector(**settings).detect(image))


def test_a_wrong_graph_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtcnn.onnx_graph.cascade.CELL", 13)
    with pytest.raises(MtcnnError, match=r"the ONNX file differs from Detector by .*; expected less than 0.001"):
        mtcnn.export("mtcnn", tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_comparison() -> None:
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 40], [50, 0, 60, 10]], np.float32)
    a = Faces(boxes, np.array([0.9, 0.8, 0.7], np.float32))
    assert whole.difference(a, a[[0, 2, 1]], 100) == 0
    assert whole.difference(a, Faces(boxes + 0.2, a.scores), 100) == pytest.approx(0.002, abs=1e-6)
    assert whole.difference(a, a[:1], 100) == np.inf and whole.difference(a[:0], a, 100) == np.inf
    moved = Faces(boxes + np.array([[9], [0], [0]], np.float32), a.scores)
    assert whole.difference(a, moved, 100) == 0 and whole.difference(a, a[:2], 100) == 0  # one may differ


def test_rejected_settings(tmp_path: Path) -> None:
    for settings, message in (
        ({"shape": (64, 64)}, r"shape is \(64, 64\); expected none for mtcnn"),
        ({"batch": 2}, "batch is 2; expected none for mtcnn"),
        ({"min_face": 0.5}, "min_face is 0.5; expected 1 pixel or more"),
        ({"scale_factor": 1}, "scale_factor is 1; expected a number above 0 and at most 0.99"),
        ({"thresholds": (0.1, 0.2)}, "thresholds are .*; expected three numbers"),
    ):
        with pytest.raises(SettingsError, match=message):
            mtcnn.export("mtcnn", tmp_path / "a.onnx", **settings)
    with pytest.raises(
        SettingsError, match="min_face is 30; expected none for pnet: it is a setting of a whole detector"
    ):
        mtcnn.export("pnet", tmp_path / "a.onnx", min_face=30)
    with pytest.raises(CheckpointError, match="no such file"):
        mtcnn.export("mtcnn", tmp_path / "a.onnx", tmp_path)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(MtcnnError, match=r"folder.onnx cannot be written .*; name another file"):
        mtcnn.export("mtcnn", tmp_path / "folder.onnx")


def test_command(tmp_path: Path) -> None:
    done = run("export", tmp_path / "cascade.onnx", "--settings-as-inputs")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'cascade.onnx'}: boxes, scores, landmarks; equal to Detector within ")
    inputs = {value.name: value.type for value in session(tmp_path / "cascade.onnx").get_inputs()}
    assert inputs["image"] == "tensor(uint8)" and set(inputs) == {"image", "min_face", "scale_factor", "thresholds"}
    assert run("export", "mtcnn", tmp_path / "x.onnx", "--shape", 64, 64).exit_code == 2
    refused = run("export", "yunet-n", tmp_path / "x.onnx", "--threshold", 0.5)
    assert refused.exit_code == 2 and "--threshold is 0.5; expected none" in refused.stderr, refused.stderr


# ---- single-stage detectors


@pytest.fixture(scope="module")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nets(small_nets(), tmp_path_factory.mktemp("detectors"))


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_with_nms(detectors: Path, name: str) -> None:
    """Random nets find faces anywhere, of all sizes; a threshold of 0 lets all of them through.

    Beside torch: their scores lie so close together that compiled code orders some of them differently.
    """
    if not weights_path(detectors, name).is_file():
        pytest.skip("needs a package of an extra")
    settings: dict[str, Any] = {"detector": name, "models": detectors, "coarse": False, "thresholds": 0.0}
    run = session(whole_model(DetectorSettings(**settings)))
    image = photo()[:97, 100:253]
    ours = Faces(*run.run(None, {"image": np.ascontiguousarray(image)}))
    theirs = Detector(**settings, engine="torch").detect(image)
    assert len(theirs) > 3 and (ours.landmarks is None) == (theirs.landmarks is None)
    assert whole.difference(ours, theirs, 153) < 1e-4
    for shape in ((0, 0), (0, 40), (1, 1)):
        found = run.run(None, {"image": np.zeros((*shape, 3), np.uint8)})
        assert np.isfinite(found[0]).all() and (found[0] <= 1).all() and (len(found[0]) == 0 or min(shape) > 0)


@pytest.mark.parametrize(
    "settings",
    [
        {"detector": "fast"},
        {"detector": "fast", "max_side": 333, "thresholds": 0.02, "min_face": 25},
        {"detector": "best"},
        {"detector": "best", "max_side": 400},
        {"stage1": "retinaface", "refine": "rnet", "thresholds": (0.1, 0.1)},
    ],
)
def test_packaged_detectors(settings: dict[str, Any]) -> None:
    """RetinaFace, alone and in front of RNet and ONet, whose scores and boxes then count in part."""
    chosen = DetectorSettings(**settings, coarse=False)
    run, detector = session(whole_model(chosen)), Detector(**settings, coarse=False)
    for image, faces in (
        (photo()[:401, 50:], 1),
        (crowd(), 40 if len(settings) < 3 else 1),
        (np.zeros((70, 90, 3), np.uint8), 0),
    ):
        image = np.ascontiguousarray(image)
        theirs = detector.detect(image)
        assert len(theirs) >= faces
        same(Faces(*run.run(None, {"image": image})), theirs)


def test_command_with_nms(tmp_path: Path) -> None:
    path = tmp_path / "fast.onnx"
    done = run("export", "retinaface", path, "--with-nms", "--max-side", 640, "--threshold", 0.3)
    assert done.exit_code == 0, done.stderr
    assert "boxes, scores, landmarks; equal to Detector within " in done.stdout
    settings = json.loads(session(path).get_modelmeta().custom_metadata_map["settings"])
    assert settings["max_side"] == 640 and settings["thresholds"] == [0.3] and settings["coarse"] is False
    for words in (("rnet", "--with-nms"), ("retinaface", "--threshold", 0.3), ("mtcnn", "--max-side", 300)):
        assert run("export", words[0], tmp_path / "x.onnx", *words[1:]).exit_code == 2
    both = ("--threshold", 0.3, "--thresholds", 0.1, 0.1, 0.1)
    assert "expected one of them" in run("export", "best", tmp_path / "x.onnx", *both).stderr
