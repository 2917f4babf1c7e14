"""RetinaFace by its plan equals torch, in its full width; see test_plan.py for small nets of every kind."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from mtcnn import Detector
from mtcnn.checkpoint import Checkpoint, packaged_weights, read, weights_path, write
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build, load_detector, model_of
from mtcnn.detectors.retinaface import RetinaFace
from mtcnn.engine.plan import PlannedNet
from mtcnn.runtimes import Runtime
from mtcnn.runtimes.plans import _packaged, _traced, planned_runtime
from mtcnn.runtimes.torch import TorchRuntime
from mtcnn.weights import MEAN_COLOUR
from prepare.synthetic import draw_scene


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


def planned(net: nn.Module, model: dict[str, Any] | None = None, name: str = "retinaface") -> PlannedNet | None:
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    found = Checkpoint(name, state, scaling=MEAN_COLOUR, model=model_of(name, model))
    return planned_runtime(name, found, DETECTORS[name])


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
    fast = planned(net)
    assert fast is not None
    return fast, TorchRuntime(net, MEAN_COLOUR)


# 3 x 5 cells at the coarsest level: an odd number of rows and columns; and the smallest there is.
@pytest.mark.parametrize(("height", "width"), [(96, 160), (32, 32), (64, 32), (32, 96), (160, 96), (256, 352)])
def test_equal_to_torch(nets: tuple[Runtime, TorchRuntime], height: int, width: int) -> None:
    fast, slow = nets
    image = noise(height, width)
    assert_alike(fast(image), slow(image))


def test_other_slopes() -> None:
    """retinaface-small has ReLU: the same shapes, and another net."""
    net, image = random_net(leak=0.0), noise(96, 160)
    slow = TorchRuntime(net, MEAN_COLOUR)
    fast, other = planned(net, name="retinaface-small"), planned(net)
    assert fast is not None and other is not None
    assert_alike(fast(image), slow(image))
    assert np.abs(other(image)["logits"] - slow(image)["logits"]).max() > 0.01


def test_threads_do_not_matter(nets: tuple[Runtime, TorchRuntime]) -> None:
    """Each begins with an even row, where Winograd's tiles begin."""
    fast, image = nets[0], noise(288, 128)
    whole, before = fast(image), torch.get_num_threads()
    for threads in (2, 3, 4):
        torch.set_num_threads(threads)
        try:
            found = fast(image)
        finally:
            torch.set_num_threads(before)
        for name, values in whole.items():
            np.testing.assert_array_equal(found[name], values)


def test_maps_of_two_sizes_are_kept() -> None:
    """Results do not depend on earlier images; a third size replaces the least recently used one."""
    fast, images = planned(random_net()), [noise(*size) for size in ((64, 96), (32, 32), (96, 64))]
    assert fast is not None
    alone = [fast(image) for image in images]
    for number in (0, 1, 0, 1, 2, 0, 2, 1, 1):
        found = fast(images[number])
        for name in found:
            np.testing.assert_array_equal(found[name], alone[number][name])
        assert fast._local.layouts[0].key[:2] == images[number].shape[:2]
        assert len(fast._local.layouts) == 2


def test_which_checkpoints_run_by_a_plan() -> None:
    """Those of other shapes than their settings say run in torch, which says what is wrong; old ones lack settings."""
    net = random_net()
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    spec, model = DETECTORS["retinaface"], model_of("retinaface")

    def runs(state: dict[str, Any], model: dict[str, Any] | None) -> bool:
        return planned_runtime("retinaface", Checkpoint("retinaface", state, model=model), spec) is not None

    assert runs(state, model) and runs(state, None)
    assert not runs({name: value for name, value in state.items() if name != "boxes.levels.2.bias"}, model)
    assert not runs({**state, "more": np.zeros(3, np.float32)}, model)
    assert not runs({**state, "boxes.levels.2.bias": np.zeros(3, np.float32)}, model)
    assert not runs(state, {**model, "width": 0.5})


def test_a_file_that_does_not_fit_changes_nothing_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both lack settings, so they have the same key in the cache; the first is of another width."""
    for folder in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(folder, str(tmp_path))
    spec = DETECTORS["retinaface"]
    for width, planned in ((0.5, False), (1.0, True)):
        net: Any = build("retinaface", {"width": width})
        state = {key: value.numpy() for key, value in net.state_dict().items()}
        assert (planned_runtime("retinaface", Checkpoint("retinaface", state), spec) is not None) == planned


def test_packaged_graphs_are_those_of_the_nets() -> None:
    """Kernels trust them."""
    paths = [*packaged_weights().glob("models-full/*/graph.json")]
    assert len(paths) >= 2
    for path in paths:
        name = path.parent.name
        found = read(path.with_name("weights.safetensors"))
        assert found.model is not None
        model = {**DETECTORS[name].model, **found.model}
        packaged, traced = _packaged(name, model), _traced(name, model)
        assert packaged is not None and traced["graph"] is not None
        assert json.loads(json.dumps(packaged)) == json.loads(json.dumps(traced))


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_checkpoints_of_either_colour_order(tmp_path: Path, colour: str) -> None:
    path = weights_path(tmp_path, "retinaface")
    write(path, Checkpoint("retinaface", random_net().state_dict(), colour=colour, scaling=MEAN_COLOUR))
    image = noise(64, 96)
    fast, slow = (load_detector("retinaface", tmp_path, engine=name) for name in (None, "torch"))
    assert_alike(fast.runtime(image), slow.runtime(image))


def test_a_narrower_net_of_an_old_file_runs_in_torch(tmp_path: Path) -> None:
    state = build("retinaface", {"width": 0.25}).state_dict()
    write(weights_path(tmp_path, "retinaface"), Checkpoint("retinaface", state, scaling=MEAN_COLOUR))
    assert isinstance(load_detector("retinaface", tmp_path).runtime, TorchRuntime)


def test_a_detector_uses_it() -> None:
    image = draw_scene(3, 0)[0]
    detectors = [Detector(stage1="retinaface", thresholds=0.1, engine=name) for name in (None, "torch")]
    kinds = [type(detector.proposer.runtime) for detector in detectors]  # type: ignore[attr-defined]
    assert kinds == [PlannedNet, TorchRuntime]
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
