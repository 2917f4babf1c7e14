"""Running a single-stage detector, with nets of fixed outputs: its inputs and its results in pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference import plain_nms
from small_detectors import small_model, small_nets, write_nets
from torch import Tensor, nn

from mtcnn.boxes import iou
from mtcnn.checkpoint import Checkpoint, packaged_weights, read, weights_path, write
from mtcnn.detectors import DETECTORS, Spec
from mtcnn.detectors.anchors import RETINAFACE, anchors, encode_box_codes, encode_landmark_codes
from mtcnn.detectors.decoders import SsdCodes
from mtcnn.detectors.load import build, load_detector, load_module
from mtcnn.detectors.single_stage import SingleStage, select
from mtcnn.errors import CheckpointError, MtcnnError
from mtcnn.nets import to_input
from mtcnn.onnx_export import export_onnx
from mtcnn.runtimes.onnx import OnnxRuntime
from mtcnn.runtimes.torch import TorchRuntime, fold_norms
from mtcnn.scoring import sigmoid
from mtcnn.types import Faces, ImageSize
from mtcnn.weights import MEAN_COLOUR, SCALING

Array = NDArray[Any]

POINTS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])  # of a box's sides
BOXES = np.array([[20.5, 30, 50, 70.25], [60, 8, 75, 30], [-4, 50, 20, 90]], np.float32)


class Says(nn.Module):
    """A net that returns BOXES for any input, and records the input. Other anchors have low logits."""

    def __init__(self, logits: tuple[float, ...] = (3.0, 2.0, 1.0), landmarks: bool = True) -> None:
        super().__init__()
        self.logits, self.landmarks = logits, landmarks

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.saw = x
        anchor = anchors(x.shape[2], x.shape[3], RETINAFACE)
        scores = np.full(len(anchor), -18, np.float32)
        codes, points = np.zeros((len(anchor), 4), np.float32), np.zeros((len(anchor), 10), np.float32)
        for number, (box, logit) in enumerate(zip(BOXES, self.logits, strict=True)):
            row = slice(40 + number, 41 + number)  # any anchor can say any box
            scores[row] = logit
            codes[row] = encode_box_codes(anchor[row], box[None])
            points[row] = encode_landmark_codes(anchor[row], (box[:2] + POINTS * (box[2:] - box[:2]))[None])
        named = {"logits": scores, "boxes": codes} | ({"landmarks": points} if self.landmarks else {})
        return {name: torch.from_numpy(values)[None] for name, values in named.items()}


SPEC = DETECTORS["retinaface"]


def at_work(net: nn.Module, spec: Spec = SPEC, **settings: Any) -> SingleStage:
    return SingleStage(TorchRuntime(net, spec.scaling), spec, **settings)


IMAGE = np.random.default_rng(0).integers(0, 256, (90, 100, 3), np.uint8)


def test_faces_are_in_pixels_of_the_image() -> None:
    found = at_work(Says())(IMAGE)
    np.testing.assert_allclose(found.boxes, BOXES, atol=1e-4)
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp([-3.0, -2, -1])), rtol=1e-6)
    sides = BOXES[:, None, 2:] - BOXES[:, None, :2]
    assert found.landmarks is not None
    np.testing.assert_allclose(found.landmarks, BOXES[:, None, :2] + POINTS * sides, atol=1e-4)


def test_faces_are_sorted_whatever_the_order_of_anchors() -> None:
    found = at_work(Says((1.0, 3.0, 2.0)))(IMAGE)
    np.testing.assert_allclose(found.boxes, BOXES[[1, 2, 0]], atol=1e-4)


def test_without_landmarks() -> None:
    assert (
        at_work(Says(landmarks=False), replace(SPEC, decoder=SsdCodes(RETINAFACE, has_landmarks=False)))(
            IMAGE
        ).landmarks
        is None
    )


def test_input_of_the_net() -> None:
    """RGB less its mean colour, in the upper left of an input whose sides are multiples of 32; the rest is 0."""
    net = Says()
    at_work(net)(IMAGE)
    assert net.saw.shape == (1, 3, 96, 128)
    wanted = IMAGE.astype(np.float32) - np.array([123, 117, 104], np.float32)
    np.testing.assert_array_equal(net.saw[0, :, :90, :100].permute(1, 2, 0).numpy(), wanted)
    assert not net.saw[0, :, 90:].any() and not net.saw[0, :, :, 100:].any()
    at_work(net)(np.zeros((64, 32, 3), np.uint8))
    assert net.saw.shape == (1, 3, 64, 32)


def test_scaling_by_one_number() -> None:
    wanted = (IMAGE.astype(np.float32) - 127.5) / 128
    np.testing.assert_array_equal(to_input(IMAGE[None])[0].permute(1, 2, 0).numpy(), wanted)


def test_threshold_is_inclusive() -> None:
    """Exactly, in float32: logit 0 is a score of 0.5."""
    net = Says((0.0, -1e-6, 1.0))
    assert len(at_work(net, threshold=0.5)(IMAGE)) == 2
    assert len(at_work(net, replace(SPEC, nms_iou=1.0), threshold=0.0, max_faces=10**6)(IMAGE)) == len(
        anchors(96, 128, RETINAFACE)
    )
    nothing = at_work(net, threshold=1.0)(IMAGE)
    assert len(nothing) == 0 and nothing.landmarks is not None
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="expected a number from 0 to 1"):
            at_work(net, threshold=wrong)


def plain_select(logits: Array, boxes: Array, threshold: float, overlap: float, most: int, kept: int) -> Array:
    chosen = [i for i in range(len(logits)) if 1 / (1 + np.exp(-float(logits[i]))) >= threshold]
    ordered = sorted(chosen, key=lambda i: (-logits[i], i))
    chosen = [i for rank, i in enumerate(ordered) if rank < most or logits[i] >= 0]
    left = [chosen[j] for j in plain_nms(boxes[chosen].tolist(), logits[chosen].tolist(), overlap)]
    return boxes[[i for rank, i in enumerate(left) if rank < kept or logits[i] >= 0]]


@pytest.mark.parametrize(
    ("threshold", "most", "kept"),
    [(0.3, 10**6, 10**6), (0.3, 30, 10**6), (0.1, 200, 7), (0.1, 7, 10), (0.6, 7, 7), (0.1, 10**6, 50)],
)
def test_select_equals_a_plain_loop(threshold: float, most: int, kept: int) -> None:
    rng = np.random.default_rng(1)
    anchor = anchors(64, 64, RETINAFACE)
    logits = rng.normal(size=len(anchor)).round(1).astype(np.float32)  # rounded: many are equal
    codes = rng.normal(size=(len(anchor), 4)).astype(np.float32)
    found = select(
        SsdCodes(RETINAFACE, has_landmarks=False),
        {"logits": logits, "boxes": codes},
        ImageSize(64, 64),
        threshold,
        0.4,
        most,
        kept,
    ).faces()
    centres, sides = (anchor[:, :2] + anchor[:, 2:]) / 2, anchor[:, 2:] - anchor[:, :2]
    middle, size = centres + codes[:, :2] * np.float32(0.1) * sides, sides * np.exp(codes[:, 2:] * np.float32(0.2))
    boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1)
    wanted = plain_select(logits, boxes, threshold, 0.4, most, kept)
    assert 5 < len(wanted) == len(found)
    assert len(found) >= min(kept, 10)
    np.testing.assert_allclose(found.boxes, wanted, rtol=1e-4, atol=1e-3)


# ---- weights


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Single-stage detectors of random weights, an eighth as wide, that have seen some noise."""
    return write_nets(small_nets(), tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("name", list(DETECTORS))
def test_load_detector(models: Path, name: str) -> None:
    """It returns the net's boxes after threshold and NMS: here the better half, without overlaps."""
    spec, net = DETECTORS[name], build(name, small_model(name))
    image = np.random.default_rng(2).integers(0, 256, (64, 128, 3), np.uint8)
    net.load_state_dict(read(weights_path(models, name)).tensors())
    with torch.inference_mode():
        outputs = net.eval()(to_input(image[None], scaling=spec.scaling))
    boxes, logits, _ = spec.decoder.decode({key: part[0].numpy() for key, part in outputs.items()}, ImageSize(64, 128))
    found = load_detector(name, models, threshold=float(sigmoid(np.median(logits))))(image)
    assert isinstance(found, Faces) and 1 < len(found) <= len(logits) // 2 + 1
    assert found.scores[0] == pytest.approx(float(sigmoid(logits.max())), rel=1e-4)
    np.testing.assert_allclose(found.boxes[0], boxes[logits.argmax()], atol=0.01)
    assert (found.landmarks is not None) is ("landmarks" in outputs)
    assert iou(found.boxes, found.boxes)[~np.eye(len(found), dtype=bool)].max() <= spec.nms_iou
    better = logits >= np.median(logits)
    kept = plain_nms(boxes[better], logits[better], spec.nms_iou)
    assert len(found) == pytest.approx(len(kept), rel=0.05)  # folded norms may swap neighbours of equal scores


@pytest.mark.parametrize("name", ["retinaface", "s3fd"])
def test_engines_find_the_same_faces(models: Path, name: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    image = np.random.default_rng(3).integers(0, 256, (75, 50, 3), np.uint8)
    torch_faces, onnx_faces = (load_detector(name, models, 0.3, engine=engine)(image) for engine in ("torch", "onnx"))
    assert len(torch_faces) == len(onnx_faces) > 0
    np.testing.assert_allclose(onnx_faces.scores, torch_faces.scores, atol=1e-5)
    np.testing.assert_allclose(onnx_faces.boxes, torch_faces.boxes, atol=0.01)


def test_rejected_onnx_files(models: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(CheckpointError, match=r"text.onnx is no detector for ONNX; expected a file that"):
        OnnxRuntime(tmp_path / "text.onnx")
    with pytest.raises(CheckpointError, match="cannot be read"):
        OnnxRuntime(tmp_path / "missing.onnx")
    export_onnx("pnet", tmp_path / "pnet.onnx", packaged_weights())
    with pytest.raises(CheckpointError, match="is no detector"):
        OnnxRuntime(tmp_path / "pnet.onnx")


@pytest.mark.parametrize("name", list(DETECTORS))
def test_folded_norms_change_nothing(models: Path, name: str) -> None:
    net = load_module(weights_path(models, name), name)
    x = torch.randn(1, 3, 64, 64) * 64
    with torch.inference_mode():
        before = net(x)
        left = sum(isinstance(layer, nn.BatchNorm2d) for layer in fold_norms(net).modules())
        after = net(x)
    for key, wanted in before.items():
        torch.testing.assert_close(after[key], wanted, atol=1e-5 * float(wanted.abs().max()), rtol=0)
    apart = (".norms.", "trunk." if DETECTORS[name].package else ".norms.")  # of shared heads, and in blocks of timm
    unfolded = sum(isinstance(layer, nn.BatchNorm2d) and any(part in f".{where}" for part in apart)
                   for where, layer in net.named_modules())  # fmt: skip
    assert left == unfolded + (49 if name == "retinaface-r50" else 0)  # the blocks of ResNet are no nn.Sequential


def test_load_detector_errors(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"detector is 'yolo'; expected one of retinaface, .*s3fd"):
        load_detector("yolo", models)
    with pytest.raises(ValueError, match="threshold is 2"):
        load_detector("ssh", models, threshold=2)
    for engine, device in (("tensorrt", "cpu"), ("onnx", "cuda")):
        with pytest.raises(
            ValueError, match=f"engine is '{engine}' on {device}; expected torch, or onnx or openvino on cpu"
        ):
            load_detector("ssh", models, device=device, engine=engine)
    with pytest.raises(CheckpointError, match=r"ssh/weights.safetensors: no such file"):
        load_detector("ssh", tmp_path)
    with pytest.raises(MtcnnError, match="nowhere"):
        load_detector("ssh", models, device="nowhere")


def test_checkpoint_keeps_three_means(models: Path) -> None:
    assert read(weights_path(models, "ssh")).scaling == ((123.0, 117.0, 104.0), 1.0)


def test_other_scaling_is_rejected(models: Path, tmp_path: Path) -> None:
    state = read(weights_path(models, "retinaface")).tensors()
    write(tmp_path / "w.pt", Checkpoint("retinaface", state, scaling=SCALING))
    with pytest.raises(CheckpointError, match=r"by \(127.5, 128.0\); expected .*\(\(123.0, 117.0, 104.0\), 1.0\)"):
        load_module(tmp_path / "w.pt", "retinaface")


def test_weights_of_another_net_are_rejected(models: Path, tmp_path: Path) -> None:
    state = read(weights_path(models, "ssh")).tensors()
    write(tmp_path / "w.pt", Checkpoint("retinaface", state, scaling=MEAN_COLOUR))
    with pytest.raises(CheckpointError, match=r"w.pt does not fit retinaface: lacks trunk.stages.0.0.0.weight"):
        load_module(tmp_path / "w.pt", "retinaface")
    with pytest.raises(CheckpointError, match=r"holds weights of retinaface; expected ssh"):
        load_module(tmp_path / "w.pt", "ssh")
