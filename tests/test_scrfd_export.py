"""SCRFD's files: every size, with landmarks or without, for any shape and for one, as programs of others read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from published_detectors import random_state
from run_command import run
from small_detectors import small_model

from mtcnn.checkpoint import Checkpoint, weights_path, write
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build, model_of
from mtcnn.errors import SettingsError
from mtcnn.onnx_export import export_onnx
from mtcnn.runtimes.onnx import OnnxRuntime
from mtcnn.runtimes.torch import TorchRuntime

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

Array = NDArray[Any]
SIZES = [name for name in DETECTORS if name.startswith("scrfd")]
POINTS = {"landmarks": True, "norm": "bn", "shared": False}


def written(folder: Path, name: str, model: dict[str, Any]) -> Any:
    """A net of this size, written below `folder`; its norms have seen some noise."""
    torch.manual_seed(0)
    net = build(name, model).train()
    with torch.no_grad():
        net(torch.randn(2, 3, 64, 64))
    state, scaling = net.state_dict(), DETECTORS[name].scaling
    write(weights_path(folder, name), Checkpoint(name, state, scaling=scaling, model=model_of(name, model)))
    return net.eval()


def compared(path: Path, net: Any, shapes: list[tuple[int, int, int]]) -> list[str]:
    """Run the file as its readers do. Returns the names of its outputs, in order."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for batch, height, width in shapes:
        pixels = np.random.default_rng(batch).integers(0, 256, (batch, height, width, 3), np.uint8)
        x = (pixels.astype(np.float32).transpose(0, 3, 1, 2) - 127.5) / 128
        with torch.inference_mode():
            wanted = net.deployed(torch.from_numpy(x))
        for name, found in zip(names, session.run(names, {session.get_inputs()[0].name: x}), strict=True):
            stride = int(name.split("_")[1])
            assert found.shape[:2] == (batch, height // stride * (width // stride) * 2)
            np.testing.assert_allclose(found, wanted[name].numpy(), atol=1e-4)
    return names


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("points", [False, True])
def test_every_size_for_free_and_fixed_shapes(name: str, points: bool, tmp_path: Path) -> None:
    """Narrow, but for the smallest: no step of an export depends on a width."""
    narrow = {} if name == "scrfd-0.5g" else {**small_model(name), "landmarks": False}
    net = written(tmp_path, name, {**narrow, **(POINTS if points else {})})
    kinds = ("score", "bbox", "kps")[: 3 if points else 2]
    wanted = [f"{kind}_{stride}" for kind in kinds for stride in (8, 16, 32)]
    path = export_onnx(name, tmp_path / "free.onnx", tmp_path).path
    assert compared(path, net, [(1, 64, 96), (3, 96, 32)]) == wanted
    path = export_onnx(name, tmp_path / "fixed.onnx", tmp_path, (64, 96), batch=3).path
    assert compared(path, net, [(3, 64, 96)]) == wanted


def test_a_fixed_file_has_no_computation_of_shapes(tmp_path: Path) -> None:
    """And says all its shapes; a free one names what varies."""
    net = written(tmp_path, "scrfd-0.5g", small_model("scrfd-0.5g"))
    done = run("export", "scrfd-0.5g", tmp_path / "fixed.onnx", "--models", tmp_path, "--shape", 640, 640)
    assert done.exit_code == 0 and "equal to torch" in done.stdout, done.stderr
    compared(tmp_path / "fixed.onnx", net, [(1, 640, 640)])
    graph = onnx.load(tmp_path / "fixed.onnx").graph
    kinds = {node.op_type for node in graph.node}
    assert not kinds & {"Shape", "Gather", "Slice", "Concat", "Unsqueeze", "Cast", "Constant", "Identity"}
    assert {node.domain for node in graph.node} == {""}
    assert [dims(value) for value in (*graph.input, *graph.output)] == [
        [1, 3, 640, 640], [1, 12800, 1], [1, 3200, 1], [1, 800, 1], [1, 12800, 4], [1, 3200, 4], [1, 800, 4],
    ]  # fmt: skip
    export_onnx("scrfd-0.5g", tmp_path / "free.onnx", tmp_path)
    graph = onnx.load(tmp_path / "free.onnx").graph
    assert dims(graph.input[0]) == ["batch", 3, "height", "width"]
    assert [dims(value)[:2] for value in graph.output[:3]] == [["batch", f"anchors_{s}"] for s in (8, 16, 32)]


def dims(value: Any) -> list[int | str]:
    return [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]


def test_our_reader_gives_what_the_net_does(tmp_path: Path) -> None:
    """Logits again, and one row of levels; sure scores are rounded to 16.6."""
    net = written(tmp_path, "scrfd-0.5g", {**small_model("scrfd-0.5g"), "landmarks": True})
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    wanted = TorchRuntime(net, DETECTORS["scrfd-0.5g"].scaling)(image)
    runtime = OnnxRuntime(export_onnx("scrfd-0.5g", tmp_path / "net.onnx", tmp_path).path)
    found = runtime(image)
    assert runtime.has_landmarks and list(found) == list(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, atol=1e-4)
    decoder: Any = DETECTORS["scrfd-0.5g"].decoder
    sure = {f"score_{stride}": np.array([[1.0], [0.0]], np.float32) for stride in (8, 16, 32)}
    given = {**sure, **{f"bbox_{stride}": np.zeros((2, 4)) for stride in (8, 16, 32)}}
    np.testing.assert_allclose(decoder.logits(decoder.from_file(given)), [16.6, -16.6] * 3, atol=0.1)


@pytest.mark.parametrize(
    ("net", "shape", "batch", "why"),
    [
        ("scrfd-0.5g", (640, 650), 1, r"shape is \(640, 650\); expected multiples of 32 for scrfd-0.5g"),
        ("scrfd-0.5g", (0, 640), 1, "shape is"),
        ("scrfd-0.5g", (64, 1 << 20), 1, "shape is .*from 32 to 8192"),
        ("scrfd-0.5g", (64, 64), 0, "batch is 0; expected a whole number from 1 to 1024"),
        ("rnet", (64, 64), 1, r"shape is \(64, 64\); expected 24 24 for rnet"),
    ],
)
def test_shapes_that_are_refused(net: str, shape: tuple[int, int], batch: int, why: str, tmp_path: Path) -> None:
    models = None if net == "rnet" else tmp_path
    if models is not None:
        state = random_state(build(net, small_model(net)))
        model, scaling = model_of(net, small_model(net)), DETECTORS[net].scaling
        write(weights_path(tmp_path, net), Checkpoint(net, state, scaling=scaling, model=model))
    with pytest.raises(SettingsError, match=why):
        export_onnx(net, tmp_path / "net.onnx", models, shape, batch)
    assert not (tmp_path / "net.onnx").exists()


def test_a_batch_needs_a_shape() -> None:
    done = run("export", "retinaface", "--batch", 3)
    assert done.exit_code == 2
    assert "--batch is for a file with --shape" in done.stderr
