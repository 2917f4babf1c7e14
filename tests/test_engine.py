"""The compiled nets compared with torch: random weights, slopes of either sign, odd sizes, parts and threads."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from factories import environment
from numba import njit
from numpy.typing import NDArray
from processes import succeeds_forked
from torch import Tensor, nn

from mtcnn.cascade import Detector
from mtcnn.engine import notice, registers
from mtcnn.engine.notice import LINE, compiling_announced
from mtcnn.engine.packing import pack_winograd, scratch
from mtcnn.engine.pnet import FastPNet
from mtcnn.engine.refine import FastRefiner
from mtcnn.engine.registers import padded, tile_shape
from mtcnn.engine.threads import Aside, aside_cost, spread, threads
from mtcnn.engine.winograd import winograd
from mtcnn.nets import CLASSES, module_of, to_input, weights_of
from mtcnn.proposer import PNetProposer
from mtcnn.pyramid import map_size
from mtcnn.runtimes.cascade import crop_runner, map_runner
from mtcnn.runtimes.torch import TorchPNet, TorchRefiner
from mtcnn.types import ImageSize
from mtcnn.weights import SECOND, SIDES, Layer


def assert_near(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)  # logits of random nets reach some tens


def random_net(name: str, seed: int = 0) -> Any:
    """Slopes of both signs and above 1, as in published weights, and large biases."""
    torch.manual_seed(seed)
    net = CLASSES[name]()
    for layer in net.modules():
        if isinstance(layer, nn.PReLU):
            nn.init.uniform_(layer.weight, -1.2, 1.2)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.bias, std=0.3)  # type: ignore[arg-type]
    return net.eval()


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def whole_map(net: Any, level: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Logits (h, w) and offsets (h, w, 4) by torch, in one pass."""
    with torch.inference_mode():
        output = net(to_input(level[None]))
    return output.face_logits[0].numpy(), output.offsets[0].numpy().transpose(1, 2, 0)


# ---- PNet

# The least that has a cell, odd and even sides, rows fewer and more than a band, columns fewer than a tile and more.
LEVELS = [
    (12, 12),
    (12, 13),
    (13, 12),
    (13, 13),
    (14, 15),
    (25, 12),
    (12, 200),
    (31, 77),
    (64, 90),
    (87, 41),
    (120, 33),
]


@pytest.mark.parametrize("shape", LEVELS)
def test_pnet_equals_torch(shape: tuple[int, int]) -> None:
    net, level = random_net("pnet"), noise(*shape, 3)
    logits, offsets = whole_map(net, level)
    assert logits.shape == map_size(ImageSize(*shape))
    cells = FastPNet(weights_of(net)).cells(level, -np.inf, 0, len(logits))
    rows, columns = np.indices(logits.shape).reshape(2, -1)
    np.testing.assert_array_equal(cells.rows, rows)
    np.testing.assert_array_equal(cells.columns, columns)
    assert_near(cells.logits, logits.ravel())
    assert_near(cells.offsets, offsets.reshape(-1, 4))


@pytest.mark.parametrize("runner", [lambda net: FastPNet(weights_of(net)), lambda net: TorchPNet(net, "cpu")])
def test_only_cells_with_the_minimum_logit_are_returned(runner: Any) -> None:
    net, level = random_net("pnet"), noise(61, 83, 3)
    logits, offsets = whole_map(net, level)
    least = float(np.median(logits)) + 0.01
    near = np.abs(logits - least) < 1e-3
    cells = runner(net).cells(level, least, 0, len(logits))
    found = np.zeros(logits.shape, bool)
    found[cells.rows, cells.columns] = True
    assert (found == (logits >= least))[~near].all()
    assert 0 < len(cells.rows) < logits.size
    assert_near(cells.offsets, offsets[cells.rows, cells.columns])
    nothing = runner(net).cells(level, 1e9, 0, len(logits))
    assert (len(nothing.rows), nothing.offsets.shape) == (0, (0, 4))


@pytest.mark.parametrize("runner", [lambda net: FastPNet(weights_of(net)), lambda net: TorchPNet(net, "cpu")])
def test_rows_of_a_map_are_computed_apart(runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtcnn.runtimes.torch.STRIP", 1)  # torch's strips then have their least height
    net, level = random_net("pnet"), noise(80, 45, 3)
    logits, _ = whole_map(net, level)
    for first, last in ((0, 9), (9, 10), (10, 27), (27, len(logits))):
        cells = runner(net).cells(level, -np.inf, first, last)
        assert set(cells.rows) == set(range(first, last))
        assert_near(cells.logits, logits[first:last].ravel())


@pytest.mark.parametrize("least", [-np.inf, 0.0, 1e9])
def test_a_pyramid_goes_to_the_device_at_once(least: float) -> None:
    net = random_net("pnet")
    levels = [noise(*shape, 3, seed=i) for i, shape in enumerate([(41, 60), (29, 43), (12, 17), (12, 12)])]
    run = TorchPNet(net, "cpu")
    for cells, level in zip(run.pyramid(levels, least), levels, strict=True):
        alone = run.cells(level, least, 0, map_size(ImageSize(*level.shape[:2])).height)
        for found, expected in zip(cells, alone, strict=True):
            assert_near(found, expected)


def test_levels_of_floats() -> None:
    """Older arithmetic does not round its levels; the given array is left as it is."""
    net, rng = random_net("pnet"), np.random.default_rng(3)
    level = rng.uniform(0, 255, (40, 50, 3)).astype(np.float32)
    before, rows = level.copy(), map_size(ImageSize(40, 50)).height
    fast, slow = (run.cells(level, -np.inf, 0, rows) for run in (FastPNet(weights_of(net)), TorchPNet(net, "cpu")))
    assert_near(fast.logits, slow.logits)
    np.testing.assert_array_equal(level, before)


# ---- Winograd's convolution


@pytest.mark.parametrize("tile", [2, 3, 4])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 32), (28, 48), (5, 16)])
@pytest.mark.parametrize("shape", [(3, 3), (4, 5), (9, 4), (11, 30)])
def test_winograd_is_a_convolution(inputs: int, outputs: int, shape: tuple[int, int], tile: int) -> None:
    """Values beyond the map do not affect the valid outputs of tiles of 2 x 2; those of others by rounding alone."""
    torch.manual_seed(0)
    layer, bent = nn.Conv2d(inputs, outputs, 3), nn.PReLU(outputs)
    nn.init.uniform_(bent.weight, -1, 2)
    height, width = shape
    rows, columns, step = height - 2, width - 2, inputs + 3
    numbers = Layer(*(value.detach().numpy() for value in (layer.weight, cast(Tensor, layer.bias), bent.weight)))
    image = np.random.default_rng(0).standard_normal((height, width, inputs)).astype(np.float32)
    source = np.full((height + tile + 1, width + tile, step), np.nan if tile == 2 else 1.0, np.float32)
    source[:height, :width, :inputs] = image
    source[..., inputs:] = np.nan
    whole = np.zeros((-(-rows // tile) * tile, -(-columns // tile) * tile, outputs), np.float32)
    many = 20 if tile == 2 else 6
    packed = pack_winograd(numbers, many, tile)
    work = np.full(scratch(inputs, outputs, many, tile), np.nan, np.float32)
    run = winograd(inputs, outputs, many, tile, step)  # which kernels alone can call

    @njit
    def call(source, stride, weights, bias, slope, target, out_stride, rows, columns, work):  # type: ignore[no-untyped-def]
        run(source, stride, weights, bias, slope, target, out_stride, rows, columns, work)

    call(
        source.ctypes.data, source.shape[1] * step, *(array.ctypes.data for array in packed), whole.ctypes.data,
        whole.shape[1] * outputs, rows, columns, work.ctypes.data,
    )  # fmt: skip
    with torch.inference_mode():
        expected = bent(layer(torch.from_numpy(image).permute(2, 0, 1)[None]))[0].permute(1, 2, 0)
    close = 1e-5 if tile == 2 else 3e-5
    np.testing.assert_allclose(whole[:rows, :columns], expected, rtol=close, atol=close)


# ---- RNet, ONet and the net of its second pass


@pytest.mark.parametrize("name", ["rnet", "onet", SECOND])
@pytest.mark.parametrize("count", [1, 2, 5, 17])
def test_refiners_equal_torch(name: str, count: int) -> None:
    net, crops = random_net(name, count), noise(count, SIDES[name], SIDES[name], 3, seed=count)
    for given in (crops, crops.astype(np.float32)):
        fast, slow = FastRefiner(weights_of(net))(given), TorchRefiner(net, "cpu")(given)
        for found, expected in zip(fast, slow, strict=True):
            assert (found is None) == (expected is None)
            if found is not None and expected is not None:
                assert found.shape == expected.shape
                assert_near(found, expected)


@pytest.mark.parametrize("name", ["rnet", "onet", SECOND])
def test_no_crops(name: str) -> None:
    size = SIDES[name]
    found = FastRefiner(weights_of(random_net(name)))(np.zeros((0, size, size, 3), np.uint8))
    assert (found.logits.shape, found.offsets.shape) == ((0,), (0, 4))
    assert (found.landmarks.shape if found.landmarks is not None else None) == (None if name == "rnet" else (0, 5, 2))


# ---- which runner


def test_other_nets_and_devices_run_in_torch() -> None:
    class Other(nn.Module):
        pass

    assert isinstance(map_runner(random_net("pnet"), "cpu"), FastPNet)
    assert isinstance(map_runner(random_net("pnet"), "meta"), TorchPNet)
    assert isinstance(map_runner(Other(), "cpu"), TorchPNet)
    assert isinstance(crop_runner(random_net("onet"), "cpu"), FastRefiner)
    assert isinstance(crop_runner(random_net(SECOND), "cpu"), FastRefiner)
    assert isinstance(crop_runner(Other(), "cpu"), TorchRefiner)


def test_weights_are_packed_once_and_again_when_they_change() -> None:
    net, crops = random_net("rnet"), noise(3, 24, 24, 3)
    run = crop_runner(net, "cpu")
    assert crop_runner(net, "cpu") is run
    with torch.no_grad():
        net.face.bias += 1
        net.offsets.bias += 2
    changed = crop_runner(net, "cpu")
    assert changed is not run
    assert_near(changed(crops).offsets, run(crops).offsets + 2)


@pytest.mark.parametrize("min_face", [20, 31.7])
def test_detections_equal_torch(
    photos: dict[str, NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch, min_face: float
) -> None:
    """The packaged weights on photos of odd and even sizes, on one pixel, and on a strip that is too low for a face."""
    images = [photo[odd:350, : 400 - odd] for odd, photo in enumerate(photos.values())]
    images += [np.zeros((1, 1, 3), np.uint8), noise(20, 300, 3)]
    detector = Detector(min_face=min_face, thresholds=(0.4, 0.1, 0.01))
    fast = [detector.detect(image) for image in images]
    monkeypatch.setattr("mtcnn.proposer.map_runner", lambda net, device: TorchPNet(module_of(net), device))
    monkeypatch.setattr("mtcnn.refiner.crop_runner", lambda net, device, engine: TorchRefiner(module_of(net), device))
    slow = [detector.detect(image) for image in images]
    assert sum(map(len, slow)) > 5
    for found, expected in zip(fast, slow, strict=True):
        assert len(found) == len(expected)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.05)
        assert found.landmarks is not None and expected.landmarks is not None
        np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=0.05)


# ---- tiles and threads


@pytest.mark.parametrize("channels", [5, 10, 16, 28, 48, 64, 128, 256])
@pytest.mark.parametrize("columns", [1, 3, 9, 22, 500])
def test_tiles_fit_the_registers(channels: int, columns: int) -> None:
    shape = tile_shape(channels, columns)
    assert 1 <= shape.positions <= columns
    assert padded(channels) % (shape.vectors * registers.LANES) == 0
    assert shape.vectors * (shape.positions + 1) + 1 <= registers.REGISTERS


def test_spread_keeps_the_order_and_does_not_nest(two_threads: None) -> None:
    assert threads() == 2
    assert spread(lambda i: i * i, range(9)) == [i * i for i in range(9)]
    assert spread(lambda i: threads(), range(4)) == [1] * 4
    assert spread(lambda i: spread(lambda k: i + k, range(3)), range(3)) == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert threads() == 2


def test_spread_raises_what_the_work_raises(two_threads: None) -> None:
    with pytest.raises(ZeroDivisionError):
        spread(lambda i: 1 // i, [1, 0])
    with pytest.raises(IndexError):  # not what a thread sees that finds nothing to do
        spread(lambda i: "a"[i], [0, 1, 2, 3])
    assert threads() == 2


def test_the_calling_thread_works_too(two_threads: None) -> None:
    both = threading.Barrier(2, timeout=60)

    def work(_: int) -> int:
        both.wait()  # so that each thread does one
        return threading.get_ident()

    found = spread(work, range(2))
    assert threading.get_ident() in found and len({*found}) == 2


def test_work_beside_that_of_a_spread(two_threads: None) -> None:
    """The next spread does it, once, as its own work; nothing within it does."""
    done: list[int] = []

    def beside() -> str:
        done.append(threads())
        return "done"

    with Aside(beside, 0.5) as aside:
        assert aside_cost() == 0.5
        assert spread(lambda i: (i, aside_cost()), range(3)) == [(0, 0.0), (1, 0.0), (2, 0.0)]
        assert done == [1] and aside_cost() == 0
        assert spread(abs, [-1]) == [1]
    assert aside.result() == aside.result() == "done" and done == [1]
    with Aside(beside, 0.5) as aside:
        assert spread(abs, [-1]) == [1]  # even of one item
    assert aside.result() == "done" and done == [1, 1]
    with Aside(beside, 0.5) as later:
        pass
    assert aside_cost() == 0 and spread(abs, [-1, -2]) == [1, 2] and done == [1, 1]
    assert later.result() == "done" and done == [1, 1, 2]
    with pytest.raises(ZeroDivisionError), Aside(lambda: 1 // 0, 0.5):
        spread(abs, [-1, -2])
    torch.set_num_threads(1)
    with Aside(beside, 0.5) as alone:
        assert aside_cost() == 0 and spread(abs, [-1, -2]) == [1, 2]
    assert len(done) == 3 and alone.result() == "done"


def test_a_system_that_starts_no_more_threads(two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calling thread does what the others would."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    torch.set_num_threads(3)  # a pool of its own
    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", refuse)
        for _ in range(2):
            assert spread(lambda i: (i, threads(), threading.get_ident()), range(3)) == [
                (i, 1, threading.get_ident()) for i in range(3)
            ]
        with pytest.raises(ZeroDivisionError):
            spread(lambda i: 1 // i, [1, 0])
    test_the_calling_thread_works_too(two_threads)


LATE = """
import threading
import mtcnn
def work():
    threading.main_thread().join()
    from mtcnn.engine.threads import spread
    print(spread(abs, [-1, -2, -3]), flush=True)
threading.Thread(target=work).start()
"""


def test_a_thread_that_outlives_the_main_one() -> None:
    """Python refuses new work of thread pools as soon as the main thread has ended."""
    ended = subprocess.run([sys.executable, "-c", LATE], env=environment(OMP_NUM_THREADS="2"), capture_output=True)
    assert (ended.stdout, ended.stderr) == (b"[1, 2, 3]\n", b"")


def test_threads_do_not_matter(random_models: Path, two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Detector(random_models, thresholds=(0.5, 0.3, 0.3))
    images = [noise(150, 180, 3), noise(90, 70, 3, seed=1)]
    two = [found.detect(image) for image in images]
    together = found.detect(images)
    torch.set_num_threads(1)
    for image, *others in zip(images, two, together, strict=True):
        faces = found.detect(image)
        for other in others:
            np.testing.assert_array_equal(other.boxes, faces.boxes)
            np.testing.assert_array_equal(other.scores, faces.scores)
    assert any(len(faces) for faces in two)


def test_bands_of_a_level_are_the_whole_level(two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtcnn.proposer.BAND_CELLS", 100)
    propose, image = PNetProposer(random_net("pnet"), threshold=0.3), noise(150, 180, 3)
    bands = propose(image)
    torch.set_num_threads(1)
    np.testing.assert_array_equal(bands.boxes, propose(image).boxes)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking with threads, which is what is tested
def test_a_forked_process_has_threads_of_its_own(two_threads: None) -> None:
    assert spread(abs, [-1, -2]) == [1, 2]
    assert succeeds_forked(lambda: spread(abs, [-3, -4]) == [3, 4])  # and does not wait for threads that are not there


def test_compiling_is_announced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notice, "PATIENCE", -1.0)
    double, triple = njit(lambda x: 2 * x), njit(lambda x: 3 * x)
    said: list[str] = []
    with compiling_announced(said.append):
        assert (double(1), triple(1)) == (2, 3)
        assert said == [LINE]
        assert double(1.5) == 3
    assert said == [LINE]
    with compiling_announced(said.append):
        assert double(1) == 2  # compiled already
    assert triple(1.5) == 4.5  # nobody listens
    assert said == [LINE]


def test_short_compiling_is_not_announced() -> None:
    said: list[str] = []
    with compiling_announced(said.append):
        assert njit(lambda x: 5 * x)(1) == 5
    assert said == []


# ---- other processors

NARROW = """
import numpy as np, torch
from test_engine import assert_near, noise, random_net, whole_map
from mtcnn.engine.notice import LINE, compiling_announced
from mtcnn.engine.pnet import FastPNet
from mtcnn.engine.registers import LANES
from mtcnn.nets import weights_of
net, level = random_net("pnet"), noise(41, 53, 3)
logits, _ = whole_map(net, level)
assert_near(FastPNet(weights_of(net)).cells(level, -np.inf, 0, len(logits)).logits, logits.ravel())
print(LANES)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names features of x86 processors")
def test_processors_with_narrower_vectors(tmp_path: Path) -> None:
    here = Path(__file__).parent
    settings = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+sse4.2", "NUMBA_CACHE_DIR": str(tmp_path)}
    path = os.pathsep.join([str(here), str(here.parent)])
    run = subprocess.run(
        [sys.executable, "-c", NARROW], env={**os.environ, **settings, "PYTHONPATH": path}, capture_output=True
    )
    assert run.returncode == 0, run.stderr.decode()
    assert run.stdout.strip() == b"4"
