"""Single-stage detectors as the first stage: with and without refiners, and as a command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from run_command import run

from mtcnn.cascade import Detector
from mtcnn.checkpoint import Checkpoint, weights_path, write
from mtcnn.detectors.load import build
from mtcnn.errors import CheckpointError
from mtcnn.refiner import NetRefiner
from mtcnn.types import Faces
from mtcnn.weights import MEAN_COLOUR


@pytest.fixture(scope="module")
def models(random_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cascade's nets and a narrow RetinaFace, all of random weights."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(random_models, folder, dirs_exist_ok=True)
    torch.manual_seed(0)
    net: Any = build("retinaface", {"width": 0.125})
    write(weights_path(folder, "retinaface"), Checkpoint("retinaface", net.state_dict(), scaling=MEAN_COLOUR))
    return folder


def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)


def test_alone_it_is_a_detector(models: Path) -> None:
    found = Detector(models, thresholds=0.3, stage1="retinaface")
    assert found.refiners == []
    faces, proposals = found.detect(noise()), found.proposer(noise())
    assert 0 < len(faces) <= len(proposals)
    assert faces.landmarks is not None
    assert (faces.boxes >= 0).all()
    assert (faces.boxes[:, 2:] <= (120, 90)).all()


@pytest.mark.parametrize(("refine", "names"), [("none", []), ("rnet", ["rnet"]), ("rnet,onet", ["rnet", "onet"])])
def test_nets_behind_it(models: Path, refine: str, names: list[str]) -> None:
    thresholds = (0.3, 0.2, 0.1)[: 1 + len(names)]
    found = Detector(models, thresholds=thresholds, stage1="retinaface", refine=refine)
    stages = [stage for stage in found.refiners if isinstance(stage, NetRefiner)]
    assert [(stage.name, stage.threshold) for stage in stages] == list(zip(names, (0.2, 0.1), strict=False))
    assert found.detect(noise()).landmarks is not None


def test_landmarks_survive_a_net_without_any(models: Path) -> None:
    """RNet drops faces, moves boxes and changes the order; each face keeps its own points, where they were."""
    detector = Detector(models, thresholds=(0.3, 0.2), stage1="retinaface", refine="rnet")
    proposals, (refine,) = detector.proposer(noise()), detector.refiners
    points = np.random.default_rng(1).uniform(0, 90, (len(proposals), 5, 2)).astype(np.float32)
    given = Faces(proposals.boxes, proposals.scores, points)
    faces = refine(noise(), given)
    assert faces.landmarks is not None
    assert 3 < len(faces) < len(given)
    for box, kept in zip(faces.boxes, faces.landmarks, strict=True):
        (own,) = np.flatnonzero((given.landmarks == kept).all(axis=(1, 2)))
        assert np.allclose(refine(noise(), proposals[[own]]).boxes, box, atol=1e-3)
        assert not np.allclose(proposals.boxes[own], box, atol=0.01), "which moved"
    assert refine(noise(), Faces(proposals.boxes, proposals.scores)).landmarks is None


def test_pnet_alone(models: Path) -> None:
    """Proposals without refinement."""
    found = Detector(models, thresholds=0, refine="none")
    assert len(found.detect(noise())) > 0


def test_invalid_stages(models: Path) -> None:
    with pytest.raises(ValueError, match="stage1 is 'yolo'; expected one of pnet, retinaface"):
        Detector(models, stage1="yolo")
    with pytest.raises(ValueError, match="refine is 'onet'; expected 'rnet,onet', 'rnet', 'none'"):
        Detector(models, refine="onet")
    with pytest.raises(ValueError, match="engine is 'onnx'; expected none for pnet"):
        Detector(models, engine="onnx")
    with pytest.raises(CheckpointError, match=r"no weights at .*ssh/weights\.safetensors"):
        Detector(models, stage1="ssh")


def test_the_command(models: Path, tmp_path: Path) -> None:
    from mtcnn.pictures.draw import save_image

    save_image(tmp_path / "noise.png", noise())
    arguments = ["--json", "--models", models, "--thresholds", "0.3", "0.7", "0.7"]
    result = run("detect", tmp_path / "noise.png", "--stage1", "retinaface", *arguments)
    (line,) = result.stdout.splitlines()
    expected = Detector(models, thresholds=0.3, stage1="retinaface").detect(noise())
    assert [face["box"] for face in json.loads(line)["faces"]] == [face["box"] for face in expected.to_dicts()]
