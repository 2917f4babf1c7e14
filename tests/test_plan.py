"""Nets that run by a plan equal torch, for any weights, size and number of threads; others run in torch."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from run_command import run
from torch import Tensor, nn
from torch.nn import functional

from mtcnn.checkpoint import Checkpoint, weights_path, write
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build, load_detector, model_of
from mtcnn.detectors.looks import views
from mtcnn.detectors.single_stage import SingleStage, pad
from mtcnn.engine.graph import NetGraph
from mtcnn.engine.plan import PlannedNet
from mtcnn.engine.plan_rows import PlanRows
from mtcnn.engine.threads import Aside
from mtcnn.runtimes import BoxesAlone
from mtcnn.runtimes.torch import TorchRuntime
from mtcnn.runtimes.tracing import NotPlanned, graph_of
from mtcnn.types import ImageSize

# Small nets with every step: channels that do and do not fill vectors, group norm, concatenations, sums of maps.
NETS: dict[str, dict[str, Any]] = {
    "yunet-n": {"channels": (5, 16, 16, 20, 20, 20)},
    "slim-landmarks": {"width": 0.25},
    "rfb": {"width": 0.25},
    "scrfd-0.5g": {"stem": (5, 8), "blocks": (1, 1, 1, 1), "widths": (8, 16, 20, 20), "neck": 8, "head": 16,
                   "norm_groups": 4, "landmarks": True},
    "scrfd-0.5g, yunet": {"block": "yunet", "stem": (5, 8), "blocks": (2, 1, 1, 3), "widths": (16, 16, 20, 20),
                          "neck": 8, "head": 16, "norm": "bn", "shared": False},
    "scrfd-0.5g, yunet's neck and head": {
        "block": "yunet", "stem": (5, 8), "blocks": (2, 1, 2, 1), "widths": (16, 20, 20, 20), "neck": 20,
        "neck_block": "yunet", "head": 16, "head_block": "yunet", "norm": "bn", "shared": False, "landmarks": True,
    },
    "retinaface": {"width": 0.25},
}  # fmt: skip


def random_net(name: str, model: dict[str, Any], seed: int = 0) -> nn.Module:
    """With norms of every kind, and maps of about one size in all layers."""
    torch.manual_seed(seed)
    net = build(name, model).eval()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None and layer.running_var is not None
            layer.weight.data.uniform_(0.8, 1.6)
            layer.bias.data.normal_(std=0.5)
            layer.running_mean.normal_(std=0.3)
            layer.running_var.uniform_(0.2, 1.0)
        elif isinstance(layer, nn.GroupNorm):
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.normal_(std=0.5)
        elif isinstance(layer, nn.Conv2d) and layer.bias is not None:
            layer.bias.data.normal_(std=0.2)
    return net


def planned(net: nn.Module, name: str) -> PlannedNet:
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    spec = DETECTORS[name]
    return PlannedNet(NetGraph.from_json(graph_of(net).to_json()), state, spec.scaling, spec.multiple)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_alike(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert list(found) == list(wanted)
    for one, other in zip(found.values(), wanted.values(), strict=True):
        assert (one.shape, one.dtype) == (other.shape, np.float32)
        assert np.ptp(other) > 0.01
        assert np.abs(one - other).max() < 1e-4 * max(np.abs(other).max(), 1)


@pytest.fixture(scope="module", params=NETS)
def pair(request: pytest.FixtureRequest) -> tuple[PlannedNet, TorchRuntime]:
    name = request.param.partition(",")[0]
    net = random_net(name, NETS[request.param])
    return planned(net, name), TorchRuntime(net, DETECTORS[name].scaling)


def test_equal_to_torch(pair: tuple[PlannedNet, TorchRuntime]) -> None:
    """Odd numbers of cells, the smallest image, a size again, and one whose memory is larger than another's."""
    fast, slow = pair
    for height, width in ((64, 64), (192, 320), (64, 64), (128, 64), (192, 320)):
        image = noise(height, width, seed=height + width)
        assert_alike(fast(image), slow(image))


def test_threads_and_copies_do_not_matter(pair: tuple[PlannedNet, TorchRuntime]) -> None:
    fast, image = pair[0], noise(256, 192)
    whole, before = fast(image), torch.get_num_threads()
    copy = pickle.loads(pickle.dumps(fast))
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            found = copy(image)
        finally:
            torch.set_num_threads(before)
        for name, values in whole.items():
            np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("cost", [0.0, 0.05, 0.3, 5.0])
def test_rows_of_the_first_stage_for_threads_do_not_matter(pair: tuple[PlannedNet, TorchRuntime], cost: float) -> None:
    """The last thread has fewer where it does something else first, down to none."""
    fast, image = pair[0], noise(256, 192)
    whole, before = fast(image), torch.get_num_threads()
    for threads in (2, 3):
        torch.set_num_threads(threads)
        try:
            with Aside(lambda: None, cost):
                found = fast(image)
            rows = len(fast._local.layouts[0].stages[0])
        finally:
            torch.set_num_threads(before)
        assert rows <= threads - (cost == 5.0)
        for name, values in whole.items():
            np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("every", [False, True])
def test_a_smaller_look_beside_the_first(every: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In two threads one does it while the other begins; the faces are the same."""
    net, image = random_net("yunet-n", NETS["yunet-n"]), noise(900, 1000)
    detector = SingleStage(planned(net, "yunet-n"), DETECTORS["yunet-n"], 0.3)
    found, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            found.append(detector.candidates(image).faces() if every else detector(image))
        finally:
            torch.set_num_threads(before)
    assert len(found[0]) and len(views(ImageSize(900, 1000), DETECTORS["yunet-n"].decoder.max_face)) > 1
    for name in ("boxes", "scores", "landmarks"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))


def test_some_rows_are_those_of_all(pair: tuple[PlannedNet, TorchRuntime]) -> None:
    """In any order, repeated, in all levels and at their edges, none, and for neighbours."""
    fast, image = pair[0], noise(192, 320)
    whole, rng, lazy = fast(image), np.random.default_rng(0), 0
    for name, values in fast.sparse(image).items():
        wanted = whole[name]
        last = len(wanted) - 1
        for rows in ([last, 0, 0, 7, 6, 5, last - 1], [], np.arange(len(wanted))[::-1], rng.integers(0, last, 50)):
            index = np.array(rows, np.int64)
            found = values[index]
            assert found.shape == wanted[index].shape
            np.testing.assert_allclose(found, wanted[index], rtol=1e-5, atol=1e-5)
        assert len(values) == len(wanted)
        assert values.shape == wanted.shape
        lazy += isinstance(values, PlanRows)
    assert lazy


def test_heads_of_boxes_are_computed_for_some_cells_alone() -> None:
    fast = planned(random_net("slim-landmarks", NETS["slim-landmarks"]), "slim-landmarks")
    heads = {last for chain in fast.places.later.values() for last in chain[-1:]}
    assert len(heads) == 8  # of boxes and points, on four maps
    fast(noise(64, 64))
    (layout,) = fast._local.layouts
    assert not heads & {*layout.maps}


def test_two_logits_are_one_where_their_difference_is_asked_for() -> None:
    fast = planned(random_net("slim-landmarks", NETS["slim-landmarks"]), "slim-landmarks")
    levels = fast.graph.outputs["logits"]
    assert [fast.graph.nodes[level.parts[0].node].channels for level in levels] == [3, 2, 2, 3]
    assert not any(level.difference for level in levels)


def test_the_tables_of_one_thread_are_one(pair: tuple[PlannedNet, TorchRuntime]) -> None:
    fast, before = pair[0], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fast(noise(64, 64))
    finally:
        torch.set_num_threads(before)
    layout = fast._local.layouts[0]
    assert [len(tables) for tables in layout.stages] == [1]


def test_outputs_are_not_overwritten(pair: tuple[PlannedNet, TorchRuntime]) -> None:
    fast = pair[0]
    first = fast(noise(64, 128))
    before = {name: values.copy() for name, values in first.items()}
    fast(noise(64, 128, seed=1))
    for name, values in first.items():
        np.testing.assert_array_equal(values, before[name])


@pytest.mark.parametrize("shape", [(64, 72, 3), (33, 64, 3), (0, 64, 3)])
def test_other_sizes_are_rejected(pair: tuple[PlannedNet, TorchRuntime], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"image is {shape[1]} x {shape[0]}; expected sides that are multiples of"):
        pair[0](np.zeros(shape, np.uint8))


def test_smaller_images_are_padded(pair: tuple[PlannedNet, TorchRuntime]) -> None:
    """As `pad` does, whatever the image before; of one column, and without a multiple at either side."""
    fast, before = pair[0], torch.get_num_threads()
    padding = copy.copy(fast)
    padding.padding = (10, 200, 128)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            for height, width in ((128, 128), (100, 128), (65, 127), (128, 128), (127, 65), (64, 1), (100, 128)):
                image = noise(height, width, seed=height + width)
                found, wanted = padding(image), fast(pad(image, fast.multiple, padding.padding))
                for name, values in wanted.items():
                    np.testing.assert_array_equal(found[name], values)
        finally:
            torch.set_num_threads(before)


def test_large_maps_are_released(pair: tuple[PlannedNet, TorchRuntime], monkeypatch: pytest.MonkeyPatch) -> None:
    """The net does not keep them, but its outputs do, which are computed from them later."""
    fast = pair[0]
    fast(noise(64, 64))
    assert fast._local.layouts
    wanted = fast(noise(128, 128))
    monkeypatch.setattr("mtcnn.engine.plan.KEPT", 1000)
    found = fast.sparse(noise(128, 128))
    assert not fast._local.layouts
    owners = [weakref.ref(array) for each in found.values() if isinstance(each, PlanRows) for array in each.owner]
    assert owners and all(owner() is not None for owner in owners)
    for name in wanted:
        np.testing.assert_array_equal(np.asarray(found[name]), wanted[name])
    del found
    assert not any(owner() for owner in owners)


def test_memory_grows_with_whole_maps_alone() -> None:
    """The maps of the trunk's first stages are rings of a few rows."""
    fast = planned(random_net("yunet-n", NETS["yunet-n"]), "yunet-n")
    fast(noise(640, 64))
    (tall,) = fast._local.layouts
    floats = sum(each.ring * each.row for each in tall.maps.values())
    assert tall.bytes / 4 < 1.5 * floats + 100_000
    assert floats < 640 // 8 * (64 // 8 + 2) * 20 * 8


# ---- which engine


class Squared(nn.Module):
    """A net with something that no plan expresses."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": functional.sigmoid(self.layer(x)).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4)}


class TwoReaders(Squared):
    """The activation changes a map that something else reads as it was."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.layer(x)
        x = functional.relu(x) + x
        return {"logits": x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4)}


class ByValue(Squared):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": x if x.sum() > 0 else -x}


class Valid(Squared):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)


@pytest.mark.parametrize("kind", [Squared, TwoReaders, ByValue, Valid])
def test_what_a_plan_cannot_express(kind: type[nn.Module]) -> None:
    with pytest.raises(NotPlanned):
        graph_of(kind().eval())


def saved(folder: Path, name: str, net: nn.Module, model: dict[str, Any], has_landmarks: bool = True) -> Path:
    path = weights_path(folder, name)
    path.parent.mkdir(parents=True)
    spec = DETECTORS[name]
    write(path, Checkpoint(name, net.state_dict(), scaling=spec.scaling, model=model_of(name, model),
                           has_landmarks=has_landmarks))  # fmt: skip
    return folder


def test_chosen_where_a_plan_expresses_the_net(tmp_path: Path) -> None:
    name, image = "yunet-n", noise(90, 117)
    folder = saved(tmp_path, name, random_net(name, NETS[name]), NETS[name])
    fast, slow = (load_detector(name, folder, 0.3, engine=engine) for engine in (None, "torch"))
    assert isinstance(fast.runtime, PlannedNet) and fast.runtime.engine == "compiled code, by a plan"
    assert isinstance(slow.runtime, TorchRuntime) and slow.runtime.engine == "torch on cpu"
    found, wanted = fast(image), slow(image)
    assert len(found) == len(wanted) > 0
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    np.testing.assert_allclose(found.boxes, wanted.boxes, rtol=1e-4, atol=1e-2)


def test_untrained_landmarks_are_left_out(tmp_path: Path) -> None:
    name = "yunet-n"
    folder = saved(tmp_path, name, random_net(name, NETS[name]), NETS[name], has_landmarks=False)
    runtime = load_detector(name, folder).runtime
    assert isinstance(runtime, BoxesAlone) and "landmarks" not in runtime(noise(64, 64))
    assert runtime.engine == "compiled code, by a plan"


def test_nets_of_many_parameters_run_in_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "yunet-n"
    folder = saved(tmp_path, name, random_net(name, NETS[name]), NETS[name])
    monkeypatch.setattr("mtcnn.runtimes.plans.LARGEST", 1000)
    assert isinstance(load_detector(name, folder).runtime, TorchRuntime)


FRESH = """
import sys
import weakref
import numpy as np
from pathlib import Path
from mtcnn.detectors.load import load_detector
detector = load_detector("yunet-n", Path(sys.argv[1]), 0.3)
faces = detector(np.full((90, 117, 3), 90, np.uint8))
print(detector.runtime.engine, len(faces.scores) > 0, "torch" in sys.modules, "numba" in sys.modules)
"""


def test_later_processes_load_neither_torch_nor_numba(tmp_path: Path) -> None:
    name = "yunet-n"
    folder = saved(tmp_path, name, random_net(name, NETS[name]), NETS[name])
    load_detector(name, folder)(noise(64, 64))
    done = subprocess.run([sys.executable, "-c", FRESH, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout == "compiled code, by a plan True False False\n"


def test_the_command_reports_engines(tmp_path: Path) -> None:
    name, photo = "yunet-n", tmp_path / "photo.png"
    folder = saved(tmp_path, name, random_net(name, NETS[name]), NETS[name])
    Image.fromarray(noise(64, 64)).save(photo)
    done = run("detect", photo, "--models", folder, "--detector", name, "--verbose", "--quiet")
    assert (done.exit_code, done.stderr) == (0, f"mtcnn: {name}: compiled code, by a plan\n")
    done = run("detect", photo, "--verbose", "--quiet")
    assert done.stderr == "".join(f"mtcnn: {net}: compiled code\n" for net in ("pnet", "rnet", "onet"))
