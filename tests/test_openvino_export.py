"""`mtcnn export --format openvino`: IR files that give what torch and `Detector` give."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from run_command import run

import mtcnn
from mtcnn import Detector, Faces
from mtcnn.errors import MtcnnError, SettingsError
from mtcnn.onnx_graph import whole
from mtcnn.onnx_graph.formats import stored


@pytest.fixture
def openvino() -> Any:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    return pytest.importorskip("openvino")


@pytest.mark.parametrize("net", ["pnet", "retinaface", "mtcnn"])
def test_a_missing_package(net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MtcnnError, match=r"no package openvino; expected it: pip install 'mtcnn-cascade\[openvino\]'"):
        mtcnn.export(net, tmp_path / "x.xml", format="openvino")
    assert not list(tmp_path.iterdir())


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO says nothing of it but that a stream failed, and leaves what it has written so far."""

    class FullDisk:
        model = None

        def __init__(self, *given: Any, **named: Any) -> None: ...

        def save_model(self, model: Any, path: Path, **named: Any) -> None:
            path.with_suffix(".bin").write_bytes(b"half")
            raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr("mtcnn.runtimes.openvino.OpenVinoGraph", FullDisk)
    monkeypatch.setattr("mtcnn.runtimes.openvino.openvino_package", FullDisk)
    with pytest.raises(MtcnnError, match=r"x\.xml cannot be written \(the disk may be full\); name another file"):
        stored(b"", tmp_path / "x.xml", "openvino")
    assert not list(tmp_path.iterdir())


def test_names() -> None:
    with pytest.raises(SettingsError, match=r"a\.onnx is no name for an OpenVINO file; expected a suffix \.xml"):
        mtcnn.export("pnet", "a.onnx", format="openvino")
    with pytest.raises(SettingsError, match=r"a\.xml is no name for an ONNX file; expected a suffix \.onnx"):
        mtcnn.export("pnet", "a.xml")
    with pytest.raises(SettingsError, match="format is 'tflite'; expected one of onnx, openvino"):
        mtcnn.export("pnet", "a.xml", format="tflite")  # type: ignore[arg-type]


def computed(openvino: Any, path: Path, value: Any) -> list[Any]:
    return list(openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([value]).values())


@pytest.mark.parametrize("settings", [{"detector": "mtcnn"}, {"detector": "best", "coarse": False}])
def test_a_whole_detector(openvino: Any, settings: dict[str, Any], photos: Any, tmp_path: Path) -> None:
    path = tmp_path / "whole.xml"
    done = run("export", settings["detector"], path, "--format", "openvino")
    assert done.exit_code == 0, done.stderr
    assert "boxes, scores, landmarks; equal to Detector within" in done.stdout
    assert sorted(each.name for each in tmp_path.iterdir()) == ["whole.bin", "whole.xml"]
    image = np.ascontiguousarray(photos["astronaut"][:250, 90:400])
    found, wanted = Faces(*computed(openvino, path, image)), Detector(**settings).detect(image)
    assert len(wanted) >= 1
    assert whole.difference(found, wanted, 310) < 3e-3
    assert len(computed(openvino, path, image[:9, :13])[0]) == 0  # what the call before left is no result


def test_a_net(openvino: Any, random_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = mtcnn.export("onet", models=random_models, format="openvino")
    assert made.path == Path("onet.xml") and made.difference < 1e-4
    assert len(computed(openvino, made.path, np.zeros((2, 3, 48, 48), np.float32))) == 3


def test_an_ir_runs_in_the_engine(openvino: Any, photos: Any, tmp_path: Path) -> None:
    """In int8, too."""
    from mtcnn.runtimes.openvino import OpenVinoRuntime

    face = np.ascontiguousarray(photos["astronaut"][20:244, 120:344])
    for k in range(2):
        Image.fromarray(face[k:, 2 * k :]).save(tmp_path / f"{k}.png")
    made = mtcnn.export("retinaface", tmp_path / "r.xml", format="openvino", int8=tmp_path)
    assert made.agreement is not None
    assert (made.agreement.faces, made.agreement.found, made.agreement.more) == (1, 1, 0)
    runtime = OpenVinoRuntime(made.path)
    assert runtime.has_landmarks
    assert runtime(face)["logits"].max() > 0
