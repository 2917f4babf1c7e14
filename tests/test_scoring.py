"""Scores that include the previous stage's logit: the formula, the stages that use it, and all engines."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from mtcnn.cascade import Detector
from mtcnn.checkpoint import Checkpoint, read, weights_path, write
from mtcnn.detectors.load import build
from mtcnn.nets import NETS, load_net, module_of
from mtcnn.onnx_export import export_onnx
from mtcnn.refiner import NetRefiner
from mtcnn.runtimes.torch import TorchPNet, TorchRefiner
from mtcnn.scoring import Scoring, logit, logits_of, scoring_of, sigmoid
from mtcnn.types import Faces, NetOutput
from mtcnn.weights import MEAN_COLOUR

RGB = NDArray[np.uint8]
FUSED = {"rnet": Scoring(0.25, 1.5, 1.25, 1.75, 0.5, 1.4), "onet": Scoring(0.5, 0.75, 2.0, context=1.25, second=0.5)}


def noise(*shape: int) -> RGB:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def models(random_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nets with random weights, including a narrow RetinaFace; RNet and ONet include the previous stage's logit."""
    folder = tmp_path_factory.mktemp("fused-models")
    for name in NETS:
        state = read(weights_path(random_models, name)).state
        write(weights_path(folder, name), Checkpoint(name, state, scoring=FUSED.get(name, Scoring())))
    torch.manual_seed(0)
    net: Any = build("retinaface", {"width": 0.125})
    write(weights_path(folder, "retinaface"), Checkpoint("retinaface", net.state_dict(), scaling=MEAN_COLOUR))
    return folder


# ---- the rule


@given(
    st.lists(st.tuples(st.floats(-30, 30), st.floats(0, 1, width=32)), max_size=9),
    st.floats(0, 3),
    st.floats(0, 3),
    st.floats(0.25, 9),  # below, exp of the lowest logits is beyond a float
    st.booleans(),
)
def test_the_rule(pairs: list[tuple[float, float]], before: float, detector: float, heat: float, behind: bool) -> None:
    own, scores = (np.array(column) for column in zip(*pairs, strict=True)) if pairs else (np.zeros(0), np.zeros(0))
    found = sigmoid(Scoring(before, detector, heat).fused(own, scores, behind))
    for value, logit_, score in zip(found, own, scores, strict=True):
        inside = min(max(score, 2**-24), 1 - 2**-24)
        joined = logit_ + (detector if behind else before) * math.log(inside / (1 - inside))
        assert value == pytest.approx(1 / (1 + math.exp(-joined / heat)), rel=1e-9)


def test_the_default_is_exactly_the_nets_own_score() -> None:
    own = np.random.default_rng(0).normal(0, 9, 99)
    for behind in (False, True):
        assert Scoring().fused(own, np.linspace(0, 1, 99), behind) is own
    assert scoring_of(nn.Identity()) == Scoring()


def test_scores_and_logits() -> None:
    scores = np.array([0.001, 0.2, 0.5, 0.7, 0.999])
    np.testing.assert_allclose(sigmoid(logits_of(scores)), scores, rtol=1e-12)
    np.testing.assert_allclose([logit(score) for score in scores], logits_of(scores), rtol=1e-12, atol=1e-12)
    assert (logit(0), logit(1)) == (-math.inf, math.inf)
    edges = logits_of(np.array([0, 1], np.float32))
    np.testing.assert_allclose(edges, [-16.636, 16.636], atol=0.001)
    assert edges[1] == logits_of(np.nextafter(np.float32(1), np.float32(0))), "a score that float32 still tells from 1"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"before": -0.5}, "before is -0.5; expected a finite number of 0 or more"),
        ({"detector": math.nan}, "detector is nan; expected a finite"),
        ({"before": math.inf}, "before is inf; expected a finite"),
        ({"temperature": 0.0}, "temperature is 0.0; expected a finite number above 0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"detector_temperature": 0.0}, "detector_temperature is 0.0; expected a finite number above 0"),
        ({"detector_offsets": 1.5}, "detector_offsets is 1.5; expected a number from 0 to 1"),
        ({"detector_offsets": math.nan}, "detector_offsets is nan"),
        ({"context": 0.9}, "context is 0.9; expected a number from 1 to 2"),
        ({"context": math.nan}, "context is nan"),
    ],
)
def test_invalid_numbers(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scoring(**values)


# ---- a refiner


class Even(nn.Module):
    """RNet or ONet with given logits, in the order of its crops, and offsets of 0."""

    def __init__(self, logits: list[float], scoring: Scoring, points: bool = False) -> None:
        super().__init__()
        self.told, self.points = torch.tensor(logits), points
        self.scoring = scoring

    def forward(self, x: Tensor) -> NetOutput:
        assert len(x) == len(self.told)
        return NetOutput(self.told, torch.zeros(len(x), 4), torch.full((len(x), 5, 2), 0.5) if self.points else None)


def candidates(*scored: tuple[float, float]) -> Faces:
    """Squares of 10 pixels from these x on, with these scores."""
    boxes = [(x, 5, x + 10, 15) for x, _ in scored]
    return Faces(np.array(boxes, np.float32), np.array([score for _, score in scored], np.float32))


@pytest.mark.parametrize(("behind", "weight"), [(False, 0.5), (True, 2.0)])
def test_scores_of_a_refiner(behind: bool, weight: float) -> None:
    """One candidate lies outside the image: the others keep their own input scores."""
    net = Even([1.0, -1.0], Scoring(0.5, 2.0, 4.0))
    faces = candidates((10, 0.6), (-30, 0.1), (40, 0.9))
    found = NetRefiner(net, "rnet", 0.1, behind_detector=behind)(noise(20, 60, 3), faces)
    logits = {10: 1 + weight * math.log(0.6 / 0.4), 40: -1 + weight * math.log(0.9 / 0.1)}
    expected = {x: 1 / (1 + math.exp(-value / 4)) for x, value in logits.items()}
    assert dict(zip(found.boxes[:, 0].tolist(), found.scores.tolist(), strict=True)) == pytest.approx(expected)
    assert (np.diff(found.scores) < 0).all()


def test_a_detector_has_a_temperature_of_its_own() -> None:
    own, given_ = np.array([2.0]), np.array([0.5])
    scoring = Scoring(temperature=2.0, detector_temperature=4.0)
    assert scoring.fused(own, given_).tolist() == [1.0]
    assert scoring.fused(own, given_, behind_detector=True).tolist() == [0.5]


@pytest.mark.parametrize("share", [0.0, 0.75, 1.0])
@pytest.mark.parametrize("behind", [False, True])
def test_boxes_of_a_detector_are_kept_in_part(share: float, behind: bool) -> None:
    """The net predicts the square around an upright box; after PNet that is where the box goes, whatever the share."""
    faces = Faces(np.array([[10, 5, 16, 15]], np.float32), np.array([0.9], np.float32))
    for net, points in (("rnet", False), ("onet", True)):
        stage = NetRefiner(Even([3.0], Scoring(detector_offsets=share), points), net, behind_detector=behind)
        own = np.array([8, 5, 18, 15])
        expected = own if not behind else share * own + (1 - share) * faces.boxes[0]
        assert stage(noise(20, 60, 3), faces).boxes == pytest.approx(expected[None], abs=1e-5)


@pytest.mark.parametrize("behind", [False, True])
def test_a_net_sees_what_is_around_the_box(behind: bool) -> None:
    """The crop is wider than the square around the box; offsets of 0 and points of 0.5 belong to the crop."""
    faces = Faces(np.array([[10, 5, 16, 15]], np.float32), np.array([0.9], np.float32))
    stage = NetRefiner(Even([3.0], Scoring(context=1.4), True), "onet", behind_detector=behind)
    found = stage(noise(20, 60, 3), faces)
    assert found.boxes == pytest.approx(np.array([[6.0, 3, 20, 17]]), abs=1e-5)
    assert found.landmarks == pytest.approx(np.full((1, 5, 2), (13, 10)), abs=1e-5)


def test_nms_of_rnet_compares_squares_without_the_context() -> None:
    """Squares of 10 whose IoU is .5 stay at an NMS of .6, though crops of 15 have an IoU of .64."""
    faces = candidates((10, 0.9), (13 + 1 / 3, 0.8))
    for context in (1.0, 1.5):
        stage = NetRefiner(Even([2.0, 1.0], Scoring(context=context), False), "rnet", nms_iou=0.6)
        seen = stage.candidates(noise(20, 60, 3), faces)
        assert seen.faces().boxes[:, 0] == pytest.approx(np.array([10, 13 + 1 / 3]) - 5 * (context - 1), abs=1e-5)
        assert seen.rivals(seen.steps[-1]) == pytest.approx(faces.boxes)


@pytest.mark.parametrize(("net", "points"), [("rnet", False), ("onet", True)])
def test_thresholds_and_nms_use_the_fused_score(net: str, points: bool) -> None:
    """With own scores the first passes and suppresses the second, and the third passes; fused, only the second does."""
    logits = [2.0, 1.0, 2.0]
    faces = candidates((10, 0.2), (11, 0.9), (40, 0.02))
    alone = NetRefiner(Even(logits, Scoring(), points), net, 0.7)(noise(20, 60, 3), faces)
    fused = NetRefiner(Even(logits, Scoring(1.0), points), net, 0.7)(noise(20, 60, 3), faces)
    assert sorted(alone.boxes[:, 0].tolist()) == [10, 40]
    assert fused.boxes[:, 0].tolist() == [11]


# ---- weights that carry it


def test_a_net_has_the_scoring_of_its_file(models: Path) -> None:
    for name, scoring in FUSED.items():
        assert read(weights_path(models, name)).scoring == scoring
        assert scoring_of(load_net(weights_path(models, name), name)) == scoring


def test_a_file_without_scoring_has_the_default(random_models: Path, tmp_path: Path) -> None:
    path, state = tmp_path / "weights-onet.pt", read(weights_path(random_models, "onet")).tensors()
    torch.save({"format": 1, "net": "onet", "state": state, "colour": "rgb", "scaling": [127.5, 128.0]}, path)
    assert read(path).scoring == Scoring()
    assert scoring_of(load_net(path, "onet")) == Scoring()


# ---- every path


@pytest.mark.parametrize(("stage1", "refine"), [("pnet", None), ("retinaface", "rnet,onet"), ("retinaface", "rnet")])
def test_compiled_nets_and_torch_agree(
    models: Path, monkeypatch: pytest.MonkeyPatch, stage1: str, refine: str | None
) -> None:
    thresholds = (0.3, 0.2) if refine == "rnet" else (0.3, 0.2, 0.2)
    found = Detector(models, thresholds=thresholds, stage1=stage1, refine=refine)
    stages = [stage for stage in found.refiners if isinstance(stage, NetRefiner)]
    assert {stage.behind_detector for stage in stages} == {stage1 != "pnet"}
    fast = found.detect(noise(90, 120, 3))
    monkeypatch.setattr("mtcnn.proposer.map_runner", lambda net, device: TorchPNet(module_of(net), device))
    monkeypatch.setattr("mtcnn.refiner.crop_runner", lambda net, device, engine: TorchRefiner(module_of(net), device))
    slow = found.detect(noise(90, 120, 3))
    assert len(fast) == len(slow) > 3
    np.testing.assert_allclose(fast.scores, slow.scores, atol=1e-4)
    np.testing.assert_allclose(fast.boxes, slow.boxes, atol=0.05)


def test_onnx_and_torch_agree(models: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    settings: dict[str, Any] = {"thresholds": (0.3, 0.2, 0.2), "stage1": "retinaface", "refine": "rnet,onet"}
    one, other = (Detector(models, engine=engine, **settings).detect(noise(90, 120, 3)) for engine in ("torch", "onnx"))
    assert len(one) == len(other) > 3
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)


def test_an_exported_net_records_its_scoring(models: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    path = export_onnx("rnet", tmp_path / "rnet.onnx", models).path
    facts = ort.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert Scoring(**json.loads(facts["scoring"])) == FUSED["rnet"]
