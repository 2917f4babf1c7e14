"""ONet's second pass over the faces that are left: compared with the same net run on mirrored photos, face by face."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data

import mtcnn
from mtcnn import boxes as box
from mtcnn.cascade import Detector
from mtcnn.checkpoint import Checkpoint, load_weights, weights_path, write
from mtcnn.crops import cut
from mtcnn.nets import CNet, module_of, to_input
from mtcnn.refiner import NetRefiner
from mtcnn.scoring import Scoring, logit, logits_of, sigmoid
from mtcnn.second_pass import CLOSER, MIRRORED
from mtcnn.trace.recording import record
from mtcnn.trace.verdict import judge
from mtcnn.types import Faces
from mtcnn.weights import SECOND, Weights

RGB = NDArray[np.uint8]
SCORING = Scoring(before=0.5, temperature=2.0, detector_temperature=4.0, detector_offsets=0.5, context=1.25, second=0.4)


def noise(*shape: int) -> RGB:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def net_of(models: Path, scoring: Scoring = SCORING, has_landmarks: bool = True) -> Weights:
    """ONet with random weights."""
    return Weights("onet", load_weights(weights_path(models, "onet"), "onet").state, scoring, has_landmarks)


def own_net(scoring: Scoring, has_landmarks: bool = True) -> Weights:
    """The net of the pass, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        state = CNet().state_dict()
    state["offsets.weight"] *= 0.05
    return Weights(SECOND, {name: value.numpy() for name, value in state.items()}, scoring, has_landmarks)


def given_faces() -> Faces:
    """Apart from each other, one of them across the border and one outside of the image."""
    boxes = [[10, 12, 31, 40], [70, 20, 95, 48], [-9, 60, 20, 88], [40, 70, 62, 96], [-90, 5, -60, 30]]
    return Faces(np.array(boxes, np.float32), np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32))


def first_pass(net: Weights, image: RGB, threshold: float, behind: bool) -> Faces:
    return NetRefiner(net, "onet", threshold, behind_detector=behind).candidates(image, given_faces()).faces()


def slow(net: Weights, image: RGB, face: NDArray[Any]) -> tuple[float, NDArray[Any], NDArray[Any]]:
    """Own logit, box and landmarks of one box (4,): means of a crop of the mirrored photo and of one of the photo."""
    stage, width = NetRefiner(net, "onet"), image.shape[1]
    square = box.square(face[None].astype(np.float64), SCORING.context * MIRRORED)
    x1, y1, x2, y2 = square[0]
    there = np.array([[width - x2, y1, width - x1, y2]])
    own, offsets, targets = stage.raw(np.ascontiguousarray(image[:, ::-1]), there)
    x1, y1, x2, y2 = box.decode_offsets(there, offsets)[0]
    points = box.decode_landmarks(there, targets)[0]
    turned = np.array([(width - x, y) for x, y in points[[1, 0, 2, 4, 3]]])
    square = box.square(face[None].astype(np.float64), SCORING.context * CLOSER)
    other, offsets, targets = stage.raw(image, square)
    boxes = np.array([[width - x2, y1, width - x1, y2], box.decode_offsets(square, offsets)[0]])
    landmarks = np.array([turned, box.decode_landmarks(square, targets)[0]])
    return float(own[0] + other[0]) / 2, boxes.mean(axis=0), landmarks.mean(axis=0)


def test_it_sees_each_face_mirrored_and_closer(random_models: Path) -> None:
    net, image = net_of(random_models), noise(100, 120, 3)
    first = first_pass(net, image, 0.2, behind=False)
    found = NetRefiner(net, "onet", 0.2)(image, given_faces())
    assert len(first) == len(found) == 4, "the one outside is not seen"
    seen = [slow(net, image, face) for face in first.boxes]
    logits = 0.6 * logits_of(first.scores) + 0.4 / 2.0 * np.array([own for own, _, _ in seen])
    order = np.argsort(-logits)
    np.testing.assert_allclose(found.scores, sigmoid(logits[order]), atol=1e-5)
    np.testing.assert_allclose(found.boxes, np.array([seen[i][1] for i in order]), atol=1e-2)
    assert found.landmarks is not None
    np.testing.assert_allclose(found.landmarks, np.array([seen[i][2] for i in order]), atol=1e-2)
    assert np.abs(found.boxes - first.boxes[order]).max() > 1, "or this tests nothing"


def test_behind_a_detector_only_landmarks_change(random_models: Path) -> None:
    net, image = net_of(random_models), noise(100, 120, 3)
    first = first_pass(net, image, 0.2, behind=True)
    found = NetRefiner(net, "onet", 0.2, behind_detector=True)(image, given_faces())
    assert len(found) == len(first) == 4
    np.testing.assert_array_equal(found.boxes, first.boxes)
    np.testing.assert_array_equal(found.scores, first.scores)
    points = np.array([slow(net, image, face)[2] for face in first.boxes])
    assert found.landmarks is not None
    np.testing.assert_allclose(found.landmarks, points, atol=1e-2)


def test_the_threshold_holds_after_it(random_models: Path) -> None:
    """Of faces that the first pass leaves, those are dropped whose score is then lower than the threshold."""
    net, image = net_of(random_models), noise(100, 120, 3)
    scores = NetRefiner(net, "onet", 0.0)(image, given_faces()).scores
    between = float((scores[1] + scores[2]) / 2)
    found = NetRefiner(net, "onet", between)(image, given_faces())
    assert (found.scores > between).all() and len(found) <= 2
    kept = first_pass(net, image, between, behind=False)
    assert len(kept) >= len(found)


OWN = Scoring(
    before=1.5, detector=3.0, temperature=2.5, detector_temperature=5.0, detector_offsets=0.4, context=1.7, margin=0.3
)


def with_own(net: Weights, image: RGB, faces: Faces) -> list[tuple[float, NDArray[Any], NDArray[Any]]]:
    """Own logit, box (4,) and landmarks (5, 2) of each face: means of what torch says of a crop and of its mirror."""
    module, found = module_of(net), []
    for face in faces.boxes.astype(np.float64):
        square = box.square(face[None], net.scoring.context)
        crop = cut(image, square, 64, exact=True)
        (x1, y1, x2, _), views = square[0], []
        for turned in (False, True):
            with torch.inference_mode():
                logit, offsets, points = module(to_input(np.ascontiguousarray(crop[:, :, ::-1] if turned else crop)))
            left, top, right, bottom = square[0] + (x2 - x1) * offsets[0].numpy()
            landmarks = [x1, y1] + (x2 - x1) * points[0].numpy()
            if turned:
                left, right = x1 + x2 - right, x1 + x2 - left
                landmarks = np.array([(x1 + x2 - x, y) for x, y in landmarks[[1, 0, 2, 4, 3]]])
            views.append((float(logit), np.array([left, top, right, bottom]), landmarks))
        both = list(zip(*views, strict=True))
        found.append((sum(both[0]) / 2, np.mean(both[1], axis=0), np.mean(both[2], axis=0)))
    return found


@pytest.mark.parametrize("behind", [False, True])
def test_a_net_of_its_own(random_models: Path, behind: bool) -> None:
    """Its logit is added to that of the first pass; behind a detector, boxes lie between those of both."""
    net, own, image = net_of(random_models), own_net(OWN), noise(100, 120, 3)
    first = first_pass(net, image, 0.2, behind)
    found = NetRefiner(net, "onet", 0.2, behind_detector=behind, second=own)(image, given_faces())
    assert len(first) == len(found) == 4
    seen = with_own(own, image, first)
    weight, heat, share = (3.0, 5.0, 0.4) if behind else (1.5, 2.5, 1.0)
    logits = (np.array([each[0] for each in seen]) + weight * logits_of(first.scores)) / heat
    order = np.argsort(-logits)
    np.testing.assert_allclose(found.scores, sigmoid(logits[order]), atol=1e-4)
    expected = [share * seen[i][1] + (1 - share) * first.boxes[i] for i in order]
    np.testing.assert_allclose(found.boxes, expected, atol=2e-2)
    assert found.landmarks is not None
    np.testing.assert_allclose(found.landmarks, [seen[i][2] for i in order], atol=2e-2)
    assert np.abs(found.boxes - first.boxes[order]).max() > 0.5, "or this tests nothing"


def test_a_net_of_its_own_without_landmarks(random_models: Path) -> None:
    net, own, image = net_of(random_models), own_net(OWN, has_landmarks=False), noise(100, 120, 3)
    first = first_pass(net, image, 0.2, behind=False)
    found = NetRefiner(net, "onet", 0.2, second=own)(image, given_faces())
    assert first.landmarks is not None and found.landmarks is not None
    both = [sorted(faces.landmarks[:, 0, 0].tolist()) for faces in (first, found) if faces.landmarks is not None]
    assert both[0] == both[1]


def models_with_own(random_models: Path, folder: Path) -> Path:
    shutil.copytree(random_models, folder, dirs_exist_ok=True)
    write(weights_path(folder, SECOND), Checkpoint(SECOND, own_net(OWN).state, scoring=OWN))
    return folder


def test_a_folder_of_models_may_have_it(random_models: Path, tmp_path: Path) -> None:
    folder = models_with_own(random_models, tmp_path / "models")
    assert (folder / "models-48" / "weights-cnet.safetensors").is_file()
    image = noise(100, 120, 3)
    for refine, count in (("rnet,onet", 3), ("rnet", 2)):
        with_it, without = (
            Detector(models, thresholds=(0.3,) * count, refine=refine) for models in (folder, random_models)
        )
        stages = [getattr(detector.refiners[-1], "second", None) for detector in (with_it, without)]
        assert [stage is not None for stage in stages] == [count == 3, False]
        same = np.array_equal(with_it.detect(image).scores, without.detect(image).scores)
        assert same == (count == 2)


def test_it_is_in_an_exported_graph(random_models: Path, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    folder, image = models_with_own(random_models, tmp_path / "models"), noise(61, 83, 3)
    made = mtcnn.export("mtcnn", tmp_path / "cascade.onnx", folder, thresholds=(0.3, 0.3, 0.3))
    expected = Detector(folder, thresholds=(0.3, 0.3, 0.3)).detect(image)
    boxes, scores, _ = ort.InferenceSession(str(made.path)).run(None, {"image": image})
    assert len(expected) > 3 and made.difference < 1e-3
    np.testing.assert_allclose(scores, expected.scores, atol=1e-3)
    np.testing.assert_allclose(boxes, expected.boxes, atol=0.05)


def test_it_sees_faces_below_the_threshold_too(random_models: Path) -> None:
    """By a margin of logits; what it says of them then counts."""
    net, image = net_of(random_models), noise(100, 120, 3)
    low = NetRefiner(net, "onet", 0.0).candidates(image, given_faces()).faces()
    limit = float(low.scores[1] + low.scores[2]) / 2  # two are above it
    margin = logit(limit) - float(logits_of(low.scores)[2:4].mean())
    for more, count in ((0.0, 2), (margin, 3)):
        own = own_net(replace(OWN, margin=more))
        stage = NetRefiner(net, "onet", limit, second=own)
        found = stage.candidates(image, given_faces())
        assert len(found.faces()) == count
        step = next(step for step in found.steps if step.name == "threshold")
        assert logit(step.limit) == pytest.approx(logit(limit) - more)
        seen = np.array([each[0] for each in with_own(own, image, found.faces())])
        scores = sigmoid((seen + 1.5 * logits_of(found.faces().scores)) / 2.5)
        assert len(stage(image, given_faces())) == (scores > limit).sum()


def test_it_is_exported_by_itself(random_models: Path, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    folder = models_with_own(random_models, tmp_path / "models")
    made = mtcnn.export(SECOND, tmp_path / "cnet.onnx", folder)
    crops = noise(3, 64, 64, 3)
    found = ort.InferenceSession(str(made.path)).run(None, {"images": crops.transpose(0, 3, 1, 2).astype(np.float32)})
    with torch.inference_mode():
        expected = module_of(own_net(OWN))(to_input(crops))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_openvino_computes_it(random_models: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    folder, image = models_with_own(random_models, tmp_path / "models"), noise(61, 83, 3)
    found, expected = (
        Detector(folder, thresholds=(0.3,) * 3, engine=engine).detect(image) for engine in ("openvino", None)
    )
    assert len(found) == len(expected) > 3
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.05)


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:999]), "is truncated, or no checkpoint at all"),
        (lambda path: path.write_bytes(path.with_name("weights-onet.safetensors").read_bytes()), "weights of onet"),
        (lambda path: write(path, Checkpoint(SECOND, {**own_net(OWN).state, "face.bias": np.zeros(3, np.float32)})),
         "does not fit cnet: size mismatch: face.bias"),
    ],
)  # fmt: skip
def test_a_file_that_is_none(random_models: Path, tmp_path: Path, spoil: Any, line: str) -> None:
    folder = models_with_own(random_models, tmp_path / "models")
    spoil(weights_path(folder, SECOND))
    with pytest.raises(mtcnn.MtcnnError, match=f"weights-cnet.safetensors .*{line}"):
        Detector(folder)


class Drawn:
    """A refiner whose net draws every face to one box."""

    def __init__(self, net: Weights) -> None:
        self.stage = NetRefiner(net, "onet", 0.1)

    def raw(self, image: RGB, squares: NDArray[Any], mirrored: NDArray[np.bool_] | None = None) -> tuple[Any, Any, Any]:
        """Offsets of 0 in the first pass, and in the second those to one square, logits of 3."""
        count = len(squares)
        offsets = np.zeros((count, 4))
        if mirrored is not None:
            offsets = box.encode_offsets(squares, np.array([[20.0, 20, 60, 60]]))
            offsets[mirrored] = box.mirror_offsets(offsets[mirrored])
        return np.full(count, 3.0), offsets, np.full((count, 5, 2), 0.5)


def test_faces_that_become_one_are_merged(random_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Drawn(net_of(random_models))
    monkeypatch.setattr(drawn.stage, "raw", drawn.raw)
    found = drawn.stage(noise(100, 120, 3), given_faces())
    np.testing.assert_allclose(found.boxes, [[20, 20, 60, 60]], atol=1e-4)


def test_without_landmarks_those_given_are_passed_on(random_models: Path) -> None:
    net, image = net_of(random_models, has_landmarks=False), noise(100, 120, 3)
    points = np.arange(50, dtype=np.float32).reshape(5, 5, 2)
    faces = Faces(given_faces().boxes, given_faces().scores, points)
    for behind in (False, True):
        found = NetRefiner(net, "onet", 0.2, behind_detector=behind)(image, faces)
        assert found.landmarks is not None and len(found) == 4
        assert {float(row[0, 0]) for row in found.landmarks} == {0, 10, 20, 30}


def test_no_faces_and_odd_boxes(random_models: Path) -> None:
    net, image = net_of(random_models), noise(30, 40, 3)
    stage = NetRefiner(net, "onet", 0.2)
    assert len(stage(image, Faces.empty())) == 0
    odd = Faces(np.array([[np.nan] * 4, [5, 5, 5, 5], [9, 9, 3, 3]], np.float32), np.full(3, 0.9, np.float32))
    with np.errstate(invalid="ignore"):
        assert len(stage.seen_again(image, odd)) == 0


def test_packaged_weights_have_one_and_torch_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.ascontiguousarray(data.astronaut())  # type: ignore[no-untyped-call]
    detector = Detector()
    fast = detector.detect(image)
    from mtcnn.runtimes.torch import TorchRefiner

    monkeypatch.setattr("mtcnn.refiner.crop_runner", lambda net, device, engine: TorchRefiner(module_of(net), device))
    plain = detector.detect(image)
    assert len(fast) == len(plain) > 0
    np.testing.assert_allclose(fast.boxes, plain.boxes, atol=0.05)
    assert fast.landmarks is not None and plain.landmarks is not None
    np.testing.assert_allclose(fast.landmarks, plain.landmarks, atol=0.05)
    assert detector.refiners[-1].net.scoring.second > 0  # type: ignore[attr-defined]


def test_a_verdict_names_it(random_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A face that the first pass found and the second drops is said to be lost there."""
    image = noise(100, 120, 3)
    stage = NetRefiner(net_of(random_models), "onet", 0.5)

    def raw(image: RGB, squares: NDArray[Any], mirrored: NDArray[np.bool_] | None = None) -> tuple[Any, Any, Any]:
        count = len(squares)
        return np.full(count, 3.0 if mirrored is None else -9.0), np.zeros((count, 4)), np.full((count, 5, 2), 0.5)

    monkeypatch.setattr(stage, "raw", raw)
    detector = Detector()
    monkeypatch.setattr(detector, "proposer", lambda _: given_faces()[[3]])
    monkeypatch.setattr(detector, "refiners", [stage])
    verdict = judge(record(detector, image), given_faces().boxes[3])
    assert not verdict.found and verdict.lost_by == "onet"
    assert verdict.why.startswith("left out after the second pass: score 0.83 before it")


@pytest.mark.parametrize("share", [-0.1, 1.5, math.nan])
def test_a_share_is_from_0_to_1(share: float) -> None:
    with pytest.raises(ValueError, match=r"second is .*; expected a number from 0 to 1"):
        Scoring(second=share)


def test_the_share_of_the_logit() -> None:
    first, own = np.array([1.0, -2.0]), np.array([4.0, 6.0])
    assert Scoring(temperature=2.0, second=0.25).passed(first, own).tolist() == [1.25, -0.75]
    assert Scoring().passed(first, own).tolist() == first.tolist()
    assert logit(0.5) == 0
