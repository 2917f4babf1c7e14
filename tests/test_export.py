"""Exported nets in onnxruntime equal torch, for any number of images of any size, from unscaled pixels."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from run_command import run
from small_detectors import small_nets, write_nets

from mtcnn import onnx_export
from mtcnn.checkpoint import Checkpoint, read, weights_path, write
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import load_module
from mtcnn.errors import CheckpointError, MtcnnError
from mtcnn.nets import NETS, load_net, to_input
from mtcnn.onnx_export import export_onnx
from mtcnn.weights import SIZES

pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

Array = NDArray[Any]


@pytest.fixture(scope="module")
def models(random_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All nets with random weights: those of the cascade, in which some slopes are negative, and narrow detectors."""
    folder = tmp_path_factory.mktemp("to-export")
    for name in NETS:
        state = read(weights_path(random_models, name)).tensors()
        first = next(key for key in state if key.endswith("prelu.weight"))
        state[first] = torch.linspace(-0.2, 0.4, len(state[first]))
        write(weights_path(folder, name), Checkpoint(name, state))
    return write_nets(small_nets(), folder)


def images(name: str, seed: int) -> list[NDArray[np.uint8]]:
    """Batches that the check of the export does not use."""
    rng, side = np.random.default_rng(seed), SIZES.get(name, 0)
    shapes = (
        [(1, side, side), (4, side, side)] if name in ("rnet", "onet") else [(1, 50, 75), (3, 81, 64), (2, 40, 200)]
    )
    return [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]


def of_torch(name: str, models: Path, batch: NDArray[np.uint8]) -> list[Array]:
    path = weights_path(models, name)
    with torch.inference_mode():
        if name in SIZES:
            parts = list(load_net(path, name)(to_input(batch)))
        else:
            net = load_module(path, name)
            compute: Any = getattr(net, "deployed", net)
            parts = list(compute(to_input(batch, scaling=DETECTORS[name].scaling)).values())
    return [part.numpy() for part in parts if part is not None]


@pytest.mark.parametrize("name", [*NETS, *DETECTORS])
def test_equal_to_torch(models: Path, tmp_path: Path, name: str) -> None:
    made = export_onnx(name, tmp_path / "new" / "net.onnx", models)
    session = ort.InferenceSession(str(made.path), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["images"]
    assert tuple(value.name for value in session.get_outputs()) == made.outputs
    for batch in images(name, seed=1):
        x = batch.transpose(0, 3, 1, 2).astype(np.float32)
        found = session.run(None, {"images": (x - 127.5) / 128 if name.startswith("scrfd") else x})
        wanted = of_torch(name, models, batch)
        assert len(found) == len(wanted) == len(made.outputs)
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
    assert [path.name for path in made.path.parent.iterdir()] == ["net.onnx"]


def test_metadata_suffices_to_decode(models: Path, tmp_path: Path) -> None:
    path = export_onnx("s3fd", tmp_path / "s3fd.onnx", models).path
    facts = ort.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert facts["net"] == "s3fd" and "RGB" in facts["images"]
    assert json.loads(facts["anchors"])[-1] == {"stride": 128, "sizes": [512.0]}
    assert json.loads(facts["variances"]) == [0.1, 0.2]


def test_a_wrong_export_is_rejected(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the exporter had misinterpreted the net."""

    def described(whole: Any, path: Path, name: str) -> None:
        whole.mean += 1

    monkeypatch.setattr(onnx_export, "_describe", described)
    with pytest.raises(MtcnnError, match=r"pnet exported to ONNX differs from torch by .*; expected less than 0.001"):
        export_onnx("pnet", tmp_path / "pnet.onnx", models)
    assert not list(tmp_path.iterdir())


def test_rejected_exports(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"net is 'yolo'; expected one of pnet, rnet, onet, cnet, retinaface"):
        export_onnx("yolo", tmp_path / "x.onnx", models)
    with pytest.raises(CheckpointError, match="no such file"):
        export_onnx("ssh", tmp_path / "x.onnx", tmp_path)
    (tmp_path / "models").mkdir()
    with pytest.raises(MtcnnError, match=r"models cannot be written .*; name another file"):
        export_onnx("pnet", tmp_path / "models", models)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MtcnnError, match=r"no package onnx; .*mtcnn-cascade\[export\]"):
        export_onnx("pnet", tmp_path / "x.onnx", models)
    assert not list(tmp_path.glob("*.onnx"))


def test_command(models: Path, tmp_path: Path) -> None:
    done = run("export", "--net", "pnet", "onnx", tmp_path / "pnet.onnx", "--models", models)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'pnet.onnx'}: face_logits, offsets; equal to torch within ")
    assert done.stdout.rstrip().endswith("1x64x96, 2x97x131, 3x160x33")
    assert run("export", "--net", "pnet", "tflite", tmp_path / "x").exit_code == 2
