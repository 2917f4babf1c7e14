"""Convolutions in bfloat16, by the matrix unit AMX or by AVX-512, equal a slow loop over rounded numbers; where both
are missing, one line says so."""

from __future__ import annotations

import copy
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from run_command import run
from test_plan import NETS, noise, random_net, saved
from test_plan_steps import WIDTHS, Guarded, bent, call, odd_values

from mtcnn import Detector
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import load_detector
from mtcnn.engine import amx, bf16
from mtcnn.engine.graph import Channels, NetGraph, PlanNode
from mtcnn.engine.plan import PlannedNet
from mtcnn.engine.plan_matrix import bfloat, fill, matrix_shape, pack_matrix, rooms, rounded, tile_shapes
from mtcnn.engine.steps import LINEAR, RELU, SIZE, SLOPES
from mtcnn.errors import LibraryError, SettingsError
from mtcnn.runtimes.tracing import graph_of

Array = NDArray[Any]

needs_bf16 = pytest.mark.skipif(bf16.why_not() is not None, reason=bf16.why_not() or "")
KERNELS = [
    pytest.param("matrix", marks=pytest.mark.skipif(amx.why_not() is not None, reason=amx.why_not() or "")),
    pytest.param("dots", marks=needs_bf16),
]


def test_rounding() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.standard_normal(1000), [0.0, -0.0, 1.00390625, 1.01171875, 255.0, 3e38, -7.0]])
    expected = torch.tensor(values, dtype=torch.float32).to(torch.bfloat16)
    np.testing.assert_array_equal(rounded(values), expected.double().numpy())
    np.testing.assert_array_equal(bfloat(values), expected.view(torch.int16).numpy().view(np.uint16))


def seen(values: Array) -> Array:
    """Inputs as the kernel rounds them, NaN and infinities as they are."""
    finite = np.isfinite(values)
    return np.where(finite, rounded(np.where(finite, values, 0)), values)


# kernel, stride, dilation, channels in and out, activation
CONVOLUTIONS = [
    (1, 1, 1, 64, 64, LINEAR), (1, 1, 1, 40, 72, RELU), (1, 1, 1, 152, 16, SLOPES), (1, 1, 1, 9, 33, LINEAR),
    (3, 2, 1, 3, 16, RELU), (3, 1, 1, 16, 2, LINEAR), (3, 1, 2, 24, 7, RELU), (3, 2, 1, 5, 20, SLOPES),
    (5, 3, 1, 2, 150, RELU),
]  # fmt: skip


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(("size", "stride", "dilation", "inputs", "outputs", "mode"), CONVOLUTIONS)
@pytest.mark.parametrize("beside", [0, 3])  # channels of the map that the convolution does not read
def test_convolution(
    name: str, size: int, stride: int, dilation: int, inputs: int, outputs: int, mode: int, beside: int
) -> None:
    rng, step, out_step = np.random.default_rng(0), inputs + beside, outputs + beside
    weights, bias, slope = (rng.standard_normal(shape) for shape in ((outputs, inputs, size, size), outputs, outputs))
    source = (Channels(1, 0, inputs),)
    node = PlanNode("conv", (source,), outputs, kernel=size, stride=stride, dilation=dilation)
    guard, shape = Guarded(), matrix_shape(node, inputs)
    assert shape is not None
    packed = [guard(array) for array in pack_matrix(weights, bias, slope, shape).arrays]
    shapes, room = guard(tile_shapes(shape.pairs)), guard(np.full(rooms(node, shape)[1], 0xFF, np.uint8))  # NaN
    factors = rounded(weights)
    for columns in WIDTHS:
        cells = (columns - 1) * stride + (size - 1) * dilation + 1
        rows = [guard(odd_values(rng, (cells - 1) * step + inputs)) for _ in range(size)]
        target = guard(np.full((columns - 1) * out_step + outputs, 7, np.float32))
        arguments = np.zeros(SIZE, np.int64)
        fill(arguments, node, shape, shapes.ctypes.data, (step, out_step), inputs)
        call(name, (mode,), rows, target, arguments, COLUMNS=columns, WEIGHTS=packed[0], BIAS=packed[1],
             SLOPE=packed[2], ROOM=room)  # fmt: skip
        wide = [np.pad(row, (0, beside)).reshape(-1, step)[:, :inputs] for row in rows]
        with np.errstate(invalid="ignore"):
            for column in range(columns):
                places = column * stride + dilation * np.arange(size)
                cell = seen(np.stack([row[places] for row in wide]))  # (y, x, in)
                total = bias + np.einsum("yxi,oiyx->o", cell, factors)
                np.testing.assert_allclose(
                    target[column * out_step :][:outputs], bent(total, mode, slope), rtol=1e-4, atol=1e-4
                )
                if column and beside:
                    assert (target[column * out_step - beside : column * out_step] == 7).all()


def runtimes(name: str, seed: int = 0) -> tuple[PlannedNet, PlannedNet]:
    """A random net in float32, and in bfloat16."""
    net, spec = random_net(name, NETS[name], seed), DETECTORS[name]
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    graph = NetGraph.from_json(graph_of(net).to_json())
    one, other = (PlannedNet(graph, state, spec.scaling, spec.multiple, bf16=bf16) for bf16 in (False, True))
    return one, other


@needs_bf16
@pytest.mark.parametrize("name", ["rfb", "scrfd-0.5g"])  # with dilation; with group norm
def test_nets_change_by_rounding(name: str) -> None:
    exact, fast = runtimes(name)
    assert fast.engine == "compiled code, by a plan, in bfloat16"
    side = exact.multiple
    for height, width in ((side, 3 * side), (4 * side, 3 * side)):
        image = noise(height, width)
        for key, value in exact(image).items():
            error = np.abs(fast(image)[key] - value)
            assert 0 < error.max() < 0.1 * max(np.ptp(value), 1) and error.mean() < 0.02 * max(np.ptp(value), 1), key


@needs_bf16
def test_some_rows_threads_and_copies_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = runtimes("scrfd-0.5g")[1]
    image = noise(4 * fast.multiple, 3 * fast.multiple)
    whole = fast(image)
    rows = np.random.default_rng(0).integers(0, len(whole["distances"]), 20)
    some = fast.sparse(image)
    for name, values in whole.items():
        np.testing.assert_array_equal(np.asarray(some[name][rows]), values[rows])
    for each in (copy.deepcopy(fast), fast):
        for name, values in each(image).items():
            np.testing.assert_array_equal(values, whole[name])
        monkeypatch.setattr("mtcnn.engine.plan.threads", lambda: 2)


@needs_bf16
def test_the_command(tmp_path: Path) -> None:
    saved(tmp_path, "yunet-n", random_net("yunet-n", NETS["yunet-n"]), NETS["yunet-n"])
    Image.fromarray(noise(64, 64)).save(tmp_path / "one.png")
    done = run("detect", str(tmp_path / "one.png"), "--detector", "yunet-n", "--models", str(tmp_path), "--verbose",
               "--precision", "bf16")  # fmt: skip
    assert done.exit_code == 0 and "yunet-n: compiled code, by a plan, in bfloat16" in done.stderr


@needs_bf16
def test_retinaface_runs_by_a_plan_then() -> None:
    detector = Detector(detector="retinaface", precision="bf16")
    assert detector.engines == {"retinaface": "compiled code, by a plan, in bfloat16"}
    assert detector.settings.to_dict()["precision"] == "bf16"


def test_settings() -> None:
    with pytest.raises(SettingsError, match="precision is 'fp16'; expected one of float32, bf16"):
        Detector(detector="retinaface", precision="fp16")
    with pytest.raises(SettingsError, match="precision is 'bf16' with pnet; expected a single-stage detector"):
        Detector(precision="bf16")
    with pytest.raises(SettingsError, match="precision is 'bf16' with engine 'torch' on cpu; expected a single-stage"):
        Detector(detector="retinaface", precision="bf16", engine="torch")
    with pytest.raises(SettingsError, match="precision is 'bf16' with engine 'onnx' on cpu; expected compiled code"):
        load_detector("retinaface", precision="bf16", engine="onnx")
    usual = Detector(detector="retinaface", precision="float32")
    assert usual.engines == Detector(detector="retinaface").engines and "precision" not in usual.settings.to_dict()


def refused(patch: pytest.MonkeyPatch, asked: Any, reason: str, name: str, value: Any) -> None:
    with patch.context() as inside:
        inside.setattr(name, value)
        assert asked.__wrapped__() == reason


def test_processors_without_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = partial(refused, monkeypatch, amx.why_not)
    if sys.platform == "linux":
        if amx.why_not() is None:
            ask("this processor lacks amx-bf16", "mtcnn.engine.amx.has_feature", lambda name: name != "amx-bf16")
            ask("this processor lacks AVX-512", "mtcnn.engine.amx.LANES", 8)
        ask("nothing is compiled without llvmlite", "mtcnn.engine.amx.llvm", None)
    ask("AMX is used on Linux, on x86-64", "mtcnn.engine.amx.platform.machine", lambda: "aarch64")


def test_processors_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "why_not", lambda: "no AMX")
    ask = partial(refused, monkeypatch, bf16.why_not)
    assert bf16.products.__wrapped__() == "dots"
    ask("bfloat16 is used on x86-64", "mtcnn.engine.bf16.platform.machine", lambda: "aarch64")
    ask("nothing is compiled without llvmlite", "mtcnn.engine.bf16.llvm", None)
    ask("this processor lacks bfloat16 in AVX-512", "mtcnn.engine.bf16.LANES", 8)
    ask("this processor lacks bfloat16 in AVX-512", "mtcnn.engine.bf16.has_feature", lambda name: False)
    monkeypatch.setattr(amx, "why_not", lambda: None)
    assert bf16.products.__wrapped__() == "matrix" and bf16.why_not.__wrapped__() is None
    monkeypatch.setattr(bf16, "why_not", lambda: "this processor lacks bfloat16 in AVX-512")
    with pytest.raises(LibraryError, match="'bf16' and this processor lacks bfloat16 in AVX-512; expected 'float32'"):
        Detector(detector="retinaface", precision="bf16")
