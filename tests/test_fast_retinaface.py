"""RetinaFace compiled for the CPU equals torch, for any weights, size and number of threads."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from mtcnn import Detector
from mtcnn.checkpoint import Checkpoint, weights_path, write
from mtcnn.detectors.load import build, load_detector
from mtcnn.detectors.retinaface import RetinaFace
from mtcnn.engine import mobilenet
from mtcnn.engine import retinaface as engine
from mtcnn.engine.planes import Plane, floats_of, plane
from mtcnn.runtimes import Runtime
from mtcnn.runtimes.compiled import compiled_runtime
from mtcnn.runtimes.torch import TorchRuntime
from mtcnn.weights import MEAN_COLOUR
from prepare.synthetic import draw_scene

COMPILED = "retinaface:FastRetinaFace"


def random_net(seed: int = 0, leak: float = 0.1) -> RetinaFace:
    """With weights and norms of every kind, and maps of about one size in all layers."""
    torch.manual_seed(seed)
    net = RetinaFace(leak=leak).eval()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.weight.data.uniform_(0.8, 1.6)
            layer.bias.data.normal_(std=0.5)
            layer.running_mean.normal_(std=0.3)
            layer.running_var.uniform_(0.2, 1.0)
    return net


def state_of(net: nn.Module) -> dict[str, NDArray[np.float32]]:
    return {name: value.numpy() for name, value in net.state_dict().items()}


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


Outputs = dict[str, NDArray[np.float32]]


def assert_alike(found: Outputs, wanted: Outputs) -> None:
    assert list(found) == list(wanted) == ["logits", "boxes", "landmarks"]
    for one, other in zip(found.values(), wanted.values(), strict=True):
        assert one.shape == other.shape
        assert one.dtype == np.float32
        assert np.abs(other).max() > 0.05
        assert np.abs(one - other).max() < 1e-4 * max(np.abs(other).max(), 1)


@pytest.fixture(scope="module")
def nets() -> tuple[Runtime, TorchRuntime]:
    net = random_net()
    compiled = compiled_runtime(COMPILED, state_of(net))
    assert compiled is not None
    return compiled, TorchRuntime(net, MEAN_COLOUR)


# 3 x 5 cells at the coarsest level: an odd number of rows and columns; and the smallest there is.
@pytest.mark.parametrize(("height", "width"), [(96, 160), (32, 32), (64, 32), (32, 96), (160, 96), (256, 352)])
def test_equal_to_torch(nets: tuple[Runtime, TorchRuntime], height: int, width: int) -> None:
    fast, slow = nets
    image = noise(height, width)
    assert_alike(fast(image), slow(image))


def test_other_slopes() -> None:
    """retinaface-small has ReLU: the same shapes, and another net."""
    net, image = random_net(leak=0.0), noise(96, 160)
    state, slow = state_of(net), TorchRuntime(net, MEAN_COLOUR)
    fast, other = (compiled_runtime(COMPILED, state, model) for model in ({"leak": 0.0, "trunk": "mobilenet"}, None))
    assert fast is not None and other is not None
    assert_alike(fast(image), slow(image))
    assert np.abs(other(image)["logits"] - slow(image)["logits"]).max() > 0.01


def test_reused_memory_does_not_matter(nets: tuple[Runtime, TorchRuntime]) -> None:
    fast = nets[0]
    first = fast(noise(96, 160))
    for size in ((224, 96), (96, 160), (32, 32), (96, 160)):
        image = noise(*size, seed=1)
        assert np.isfinite(fast(image)["logits"]).all()
    again = fast(noise(96, 160))
    assert all(np.array_equal(one, other) for one, other in zip(first.values(), again.values(), strict=True))


def test_bands_and_threads_do_not_matter(nets: tuple[Runtime, TorchRuntime], monkeypatch: pytest.MonkeyPatch) -> None:
    fast, image = nets[0], noise(288, 128)
    whole = fast(image)
    for band, threads in ((1, 1), (48, 1), (10_000, 1), (32, 2), (320, 3)):
        monkeypatch.setattr(mobilenet, "BAND", band)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            found = fast(image)
        finally:
            torch.set_num_threads(before)
        for one, other in zip(found.values(), whole.values(), strict=True):
            assert np.abs(one - other).max() < 1e-5


def test_large_maps_are_released(nets: tuple[Runtime, TorchRuntime], monkeypatch: pytest.MonkeyPatch) -> None:
    fast = nets[0]
    fast(noise(64, 64))
    assert engine._local.workspaces
    monkeypatch.setattr(engine, "KEPT", 1000)
    fast(noise(96, 96))
    assert not engine._local.workspaces


def test_maps_of_two_sizes_are_kept(nets: tuple[Runtime, TorchRuntime], monkeypatch: pytest.MonkeyPatch) -> None:
    """Results do not depend on earlier images; a third size replaces the least recently used one."""
    fast, images = nets[0], [noise(*size) for size in ((64, 96), (32, 32), (96, 64))]
    monkeypatch.setattr(engine._local, "workspaces", [], raising=False)
    alone = [fast(image) for image in images]
    for number in (0, 1, 0, 1, 2, 0, 2, 1, 1):
        found = fast(images[number])
        for name in found:
            np.testing.assert_array_equal(found[name], alone[number][name])
        latest = engine._local.workspaces[0]
        assert (latest.height, latest.width) == images[number].shape[:2]
        assert len(engine._local.workspaces) == 2


@pytest.mark.parametrize("shape", [(480, 640 + 8, 3), (33, 32, 3), (0, 32, 3)])
def test_other_sizes_are_rejected(nets: tuple[Runtime, TorchRuntime], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"image is {shape[1]} x {shape[0]}; expected sides that are multiples of 32"):
        nets[0](np.zeros(shape, np.uint8))


def test_a_plane_is_framed() -> None:
    buffer = np.full(floats_of(3, 5, 8), np.nan, np.float32)
    framed: Plane = plane(buffer, 3, 5, 8)
    inside = framed.data[1:4, 1:6]
    assert np.isnan(inside).all()
    inside[:] = 0
    assert not framed.data.any()
    assert framed.first - framed.corner == 4 * (7 * 8 + 8)
    framed.data[4], framed.data[:, 6] = 1, 1
    framed.seal()
    assert not framed.data.any()


def test_which_nets_are_compiled() -> None:
    state = state_of(random_net())
    assert compiled_runtime(COMPILED, state) is not None
    assert (
        compiled_runtime(COMPILED, {name: value for name, value in state.items() if name != "boxes.levels.2.bias"})
        is None
    )
    assert compiled_runtime(COMPILED, {**state, "more": np.zeros(3, np.float32)}) is None
    for other in (build("retinaface", {"width": 0.5}), build("retinaface-r50", {"width": 0.125})):
        assert compiled_runtime(COMPILED, state_of(other)) is None


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_checkpoints_of_either_colour_order(tmp_path: Path, colour: str) -> None:
    path = weights_path(tmp_path, "retinaface")
    write(path, Checkpoint("retinaface", random_net().state_dict(), colour=colour, scaling=MEAN_COLOUR))
    image = noise(64, 96)
    fast, slow = (load_detector("retinaface", tmp_path, engine=name) for name in (None, "torch"))
    assert_alike(fast.runtime(image), slow.runtime(image))


def test_a_narrower_net_runs_in_torch(tmp_path: Path) -> None:
    state = build("retinaface", {"width": 0.25}).state_dict()
    write(weights_path(tmp_path, "retinaface"), Checkpoint("retinaface", state, scaling=MEAN_COLOUR))
    assert isinstance(load_detector("retinaface", tmp_path).runtime, TorchRuntime)


def test_a_detector_uses_it() -> None:
    image = draw_scene(3, 0)[0]
    detectors = [Detector(stage1="retinaface", thresholds=(0.1, 0.5, 0.5), engine=name) for name in (None, "torch")]
    kinds = [type(detector.proposer.runtime) for detector in detectors]  # type: ignore[attr-defined]
    assert kinds == [engine.FastRetinaFace, TorchRuntime]
    found, wanted = (detector.detect(image) for detector in detectors)
    assert len(found) == len(wanted) > 0
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.01)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)


PROGRAM = """
import sys
import numpy as np, torch
from mtcnn.engine.registers import LANES
from mtcnn.detectors.load import load_detector
image = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
fast, slow = (load_detector("retinaface", engine=name).runtime(image) for name in (None, "torch"))
assert all(np.abs(a - b).max() < 1e-4 * max(np.abs(b).max(), 1) for a, b in zip(fast.values(), slow.values()))
print(LANES)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names features of x86 processors")
def test_processors_with_narrower_vectors(tmp_path: Path) -> None:
    settings = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+sse4.2", "NUMBA_CACHE_DIR": str(tmp_path)}
    path = str(Path(__file__).parents[1])
    kept = []
    for _ in range(2):  # the second time nothing is compiled
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM], env={**os.environ, **settings, "PYTHONPATH": path}, capture_output=True
        )
        assert run.returncode == 0, run.stderr.decode()
        assert run.stdout.strip() == b"4"
        kept.append({file.name for file in tmp_path.rglob("*") if file.is_file()})
    assert kept[0] == kept[1]
