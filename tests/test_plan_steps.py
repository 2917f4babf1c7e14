"""Each step of a plan equals a slow loop, for numbers of every kind, and touches nothing beyond its rows."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mtcnn.engine import steps
from mtcnn.engine.kernel_cache import kernel
from mtcnn.engine.packing import TILES, pack, scratch, turned
from mtcnn.engine.plan_packing import COLUMNS as USUAL
from mtcnn.engine.plan_packing import _pack_each, shared
from mtcnn.engine.registers import LANES, TileShape, padded, tile_shape
from mtcnn.engine.steps import LINEAR, RELU, SIZE, SLOPES, TO

Array = NDArray[Any]
PAGE = mmap.PAGESIZE
WIDTHS = (1, 2, 3, 5, 8, 17, 40)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect")


class Guarded:
    """Arrays whose last byte is the last of a page, behind which the next page may not be touched."""

    def __init__(self) -> None:
        self.open: list[Any] = []

    def __call__(self, values: Array) -> Array:
        size = -(-max(values.nbytes, 1) // PAGE) * PAGE
        memory = mmap.mmap(-1, size + PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        assert ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(start + size), PAGE, 0) == 0
        found = np.frombuffer(memory, values.dtype, values.size, size - values.nbytes).reshape(values.shape)
        found[...] = values
        self.open.append(memory)
        return found


def odd_values(rng: np.random.Generator, *shape: int) -> Array:
    """Mostly ordinary numbers, and a few that are none."""
    values = rng.standard_normal(shape).astype(np.float32)
    places = rng.random(shape)
    values[places < 0.01], values[places > 0.99] = np.nan, np.inf
    values[(places > 0.5) & (places < 0.51)] = -np.inf
    return values


def call(
    name: str,
    constants: tuple[int, ...],
    rows: list[Array],
    target: Array,
    arguments: Array | None = None,
    **values: Any,
) -> None:
    arguments = np.zeros(SIZE, np.int64) if arguments is None else arguments
    for place, row in enumerate(rows):
        arguments[place] = row.ctypes.data
    arguments[TO] = target.ctypes.data
    for key, value in values.items():
        arguments[getattr(steps, key)] = value.ctypes.data if isinstance(value, np.ndarray) else value
    kernel(name, *constants)(arguments.ctypes.data)


def bent(value: Array, mode: int, slope: Array) -> Array:
    if mode == LINEAR:
        return value
    negative = value < 0
    return np.where(negative, 0 if mode == RELU else value * slope, value)


def near(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


# kernel, stride, dilation, channels in and out, activation; floats between cells are those of a wider map.
CONVOLUTIONS = [
    (3, 2, 1, 3, 5, RELU), (1, 1, 1, 24, 72, SLOPES), (3, 1, 2, 7, 16, LINEAR), (5, 3, 1, 2, 150, RELU),
    (1, 1, 1, 16, 40, RELU), (1, 1, 1, 9, 149, SLOPES), (3, 1, 1, 5, 21, SLOPES),
]  # fmt: skip


@pytest.mark.parametrize(("size", "stride", "dilation", "inputs", "outputs", "mode"), CONVOLUTIONS)
def test_convolution(size: int, stride: int, dilation: int, inputs: int, outputs: int, mode: int) -> None:
    rng, out_step = np.random.default_rng(0), outputs + 3
    weights, bias, slope = (rng.standard_normal(shape) for shape in ((size, size, inputs, outputs), outputs, outputs))
    guard = Guarded()
    tile = tile_shape(outputs, USUAL, size * size * inputs, True)
    made = pack(shared(weights.reshape(-1, outputs)), shared(bias), shared(slope), USUAL, tile)
    packed = [guard(array) for array in made]
    for columns in WIDTHS:
        wide = (columns - 1) * stride + (size - 1) * dilation + 1
        rows = [guard(odd_values(rng, wide, inputs)) for _ in range(size)]
        target = guard(np.full((columns - 1) * out_step + outputs, 7, np.float32))
        together = dilation == 1
        constants = (stride * inputs, outputs, out_step, mode, *tile, columns % 2)
        call("conv", constants, rows, target, COLUMNS=columns, WEIGHTS=packed[0], BIAS=packed[1], SLOPE=packed[2],
             KERNEL_ROWS=size, TAPS=1 if together else size, TAP=dilation * inputs,
             RUN=inputs * (size if together else 1))  # fmt: skip
        with np.errstate(invalid="ignore"):
            for column in range(columns):
                places = column * stride + dilation * np.arange(size)
                cell = np.stack([row[places] for row in rows]).astype(np.float64)
                total = bias + sum(cell[y, x, c] * weights[y, x, c] for y in range(size) for x in range(size)
                                   for c in range(inputs))  # fmt: skip
                near(target[column * out_step :][:outputs], bent(total, mode, slope))
                if column:
                    assert (target[column * out_step - 3 : column * out_step] == 7).all()


@pytest.mark.parametrize(
    ("stride", "dilation", "inputs", "outputs", "mode"),
    [(1, 1, 3, 16, RELU), (2, 1, 7, 5, SLOPES), (1, 5, 4, 12, LINEAR), (2, 3, 2, 1, RELU), (3, 1, 1, 2, LINEAR)],
)
def test_inputs_loaded_once_for_all_taps(stride: int, dilation: int, inputs: int, outputs: int, mode: int) -> None:
    outputs = min(outputs, LANES)
    rng, step, out_step = np.random.default_rng(9), inputs + 2, outputs + 3
    weights, bias, slope = (rng.standard_normal(shape) for shape in ((3, inputs, 3, outputs), outputs, outputs))
    guard, positions = Guarded(), 20
    packed = [guard(array) for array in pack(weights.reshape(-1, outputs), bias, slope, USUAL, TileShape(1, positions))]
    for columns in WIDTHS:
        wide = (columns - 1) * stride + 2 * dilation + 1
        rows = [guard(odd_values(rng, (wide - 1) * step + inputs)) for _ in range(3)]
        target = guard(np.full((columns - 1) * out_step + outputs, 7, np.float32))
        call("taps", (step, outputs, out_step, mode, positions, stride, dilation), rows, target, COLUMNS=columns,
             WEIGHTS=packed[0], BIAS=packed[1], SLOPE=packed[2], RUN=inputs)  # fmt: skip
        with np.errstate(invalid="ignore"):
            for column in range(columns):
                total = bias.copy()
                for y, x in np.ndindex(3, 3):
                    cell = rows[y][(column * stride + x * dilation) * step :][:inputs].astype(np.float64)
                    total += (cell[:, None] * weights[y, :, x]).sum(axis=0)
                near(target[column * out_step :][:outputs], bent(total, mode, slope))
                assert column == 0 or (target[column * out_step - 3 : column * out_step] == 7).all()


def test_the_last_half_of_a_vector_is_there_twice() -> None:
    values = np.arange(2 * (LANES + 3)).reshape(2, -1)
    found, half = shared(values), LANES // 2
    assert found.shape == (2, 2 * LANES)
    np.testing.assert_array_equal(found[:, : LANES + 3], values)
    np.testing.assert_array_equal(found[:, LANES + half :], found[:, LANES : LANES + half])
    assert (found[:, LANES + 3 : LANES + half] == 0).all()
    for outputs in (3, LANES, LANES + half + 1):
        assert shared(values[:, :outputs] if outputs < LANES else np.ones((2, outputs))).shape == (2, outputs)


@pytest.mark.parametrize(("size", "stride", "outputs", "mode"), [(3, 1, 2, LINEAR), (3, 2, 3, SLOPES), (1, 1, 1, RELU)])
def test_convolution_of_few_outputs(size: int, stride: int, outputs: int, mode: int) -> None:
    rng, inputs, out_step = np.random.default_rng(6), 2 * LANES, outputs + 3
    weights, bias, slope = (rng.standard_normal(shape) for shape in ((outputs, size, size, inputs), outputs, outputs))
    guard, behind = Guarded(), (0, LANES - outputs)
    steps = weights.reshape(outputs, -1, LANES).transpose(1, 0, 2)
    packed = [
        guard(np.ascontiguousarray(each, np.float32)) for each in (steps, np.pad(bias, behind), np.pad(slope, behind))
    ]
    for columns in WIDTHS:
        wide = (columns - 1) * stride + size
        rows = [guard(odd_values(rng, wide, inputs)) for _ in range(size)]
        target = guard(np.full((columns - 1) * out_step + outputs, 7, np.float32))
        call("dot", (stride * inputs, outputs, out_step, mode, 4), rows, target, COLUMNS=columns, WEIGHTS=packed[0],
             BIAS=packed[1], SLOPE=packed[2], KERNEL_ROWS=size, TAPS=1, TAP=inputs, RUN=size * inputs)  # fmt: skip
        with np.errstate(invalid="ignore"):
            for column in range(columns):
                cell = np.stack([row[column * stride :][:size] for row in rows]).astype(np.float64)
                near(
                    target[column * out_step :][:outputs],
                    bent((cell * weights).sum(axis=(1, 2, 3)) + bias, mode, slope),
                )
                assert column == 0 or (target[column * out_step - 3 : column * out_step] == 7).all()


@pytest.mark.parametrize(("inputs", "outputs", "mode"), [(16, 16, RELU), (24, 20, SLOPES), (3, 37, LINEAR)])
def test_convolution_of_two_rows(inputs: int, outputs: int, mode: int) -> None:
    """By Winograd's tiles. Of the cells that it reads beyond the padding, none has an influence."""
    rng, step, out_step = np.random.default_rng(7), inputs + 2, outputs + 3
    weights, bias, slope = (rng.standard_normal(shape) for shape in ((outputs, inputs, 3, 3), outputs, outputs))
    guard, behind = Guarded(), (0, padded(outputs) - outputs)
    wide = np.pad(weights, (behind, (0, 0), (0, 0), (0, 0)))
    packed = [guard(array) for array in turned(wide, np.pad(bias, behind), np.pad(slope, behind), TILES)]
    room = guard(np.zeros(scratch(inputs, padded(outputs)), np.float32))
    for columns in (*WIDTHS, 2 * TILES + 1, 4 * TILES + 6):
        reach = columns + 2 + columns % 2
        rows = [guard(rng.standard_normal((reach - 1) * step + inputs).astype(np.float32)) for _ in range(4)]
        cells = np.stack([np.pad(row, (0, 2)).reshape(reach, step)[:, :inputs] for row in rows]).astype(np.float64)
        for row in rows:
            row[(columns + 2) * step :] = np.nan
        for many in (2, 1):
            rows[3][:] = rows[3] if many == 2 else np.nan
            size = (columns - 1) * out_step + outputs
            targets = [guard(np.full(size, 7, np.float32)) for _ in range(many)]
            call("winograd", (inputs, outputs, step, out_step, mode), rows, targets[0], BELOW=targets[-1],
                 COLUMNS=columns, WEIGHTS=packed[0], BIAS=packed[1], SLOPE=packed[2], ROOM=room)  # fmt: skip
            for y, target in enumerate(targets):
                for x in range(columns):
                    total = bias + np.einsum("yxi,oiyx->o", cells[y : y + 3, x : x + 3], weights)
                    near(target[x * out_step :][:outputs], bent(total, mode, slope))
                    assert x == 0 or (target[x * out_step - 3 : x * out_step] == 7).all()


def test_a_number_that_is_none_stays_near() -> None:
    """In Winograd's tiles it reaches the outputs of the tiles that read it, no others."""
    rng, inputs, columns, guard = np.random.default_rng(8), 16, 11, Guarded()
    packed = [guard(array) for array in turned(rng.standard_normal((16, 16, 3, 3)), np.zeros(16), np.zeros(16), TILES)]
    room, results = guard(np.zeros(scratch(16, 16), np.float32)), []
    rows = [guard(rng.standard_normal((columns + 3, inputs)).astype(np.float32)) for _ in range(4)]
    for value in (1, np.nan, np.inf):
        rows[1][5, 3] = value
        targets = [guard(np.zeros((columns, 16), np.float32)) for _ in range(2)]
        call("winograd", (16, 16, 16, 16, LINEAR), rows, targets[0], BELOW=targets[1], COLUMNS=columns,
             WEIGHTS=packed[0], BIAS=packed[1], SLOPE=packed[2], ROOM=room)  # fmt: skip
        results.append(np.stack(targets))
    for found in results[1:]:
        assert not np.isfinite(found[0, 3:6]).any()
        np.testing.assert_array_equal(found[:, [0, 1, *range(6, 11)]], results[0][:, [0, 1, *range(6, 11)]])


@pytest.mark.parametrize(("channels", "stride", "mode"), [(3, 1, RELU), (16, 2, LINEAR), (40, 1, SLOPES)])
def test_depthwise_convolution(channels: int, stride: int, mode: int) -> None:
    rng, step, out_step = np.random.default_rng(1), channels + 2, channels + 1
    weights, bias, slope = (rng.standard_normal(shape) for shape in ((channels, 3, 3), channels, channels))
    guard = Guarded()
    packed = guard(_pack_each(weights, bias, slope))
    for columns in WIDTHS:
        wide = (columns - 1) * stride + 3
        rows = [guard(odd_values(rng, (wide - 1) * step + channels)) for _ in range(3 + stride)]
        for many, different in ((1, 1), (2, 2), (2, 1)):
            size = (columns - 1) * out_step + channels
            targets = [guard(np.full(size, 7, np.float32)) for _ in range(different)]
            call("depthwise", (channels, stride, step, out_step, mode, many), rows[: 3 + stride * (many - 1)],
                 targets[0], BELOW=targets[-1], COLUMNS=columns, WEIGHTS=packed)  # fmt: skip
            for first, target in enumerate(targets):
                for column in range(columns):
                    total = bias.copy()
                    with np.errstate(invalid="ignore"):
                        for y in range(3):
                            for x in range(3):
                                cell = (column * stride + x) * step
                                total += weights[:, y, x] * rows[first * stride + y][cell:][:channels]
                        near(target[column * out_step :][:channels], bent(total, mode, slope))
                    assert column == 0 or target[column * out_step - 1] == 7


@pytest.mark.parametrize(("channels", "mode"), [(3, LINEAR), (16, RELU), (40, SLOPES)])
def test_depthwise_convolution_and_pooling(channels: int, mode: int) -> None:
    """As the two steps, to the bit."""
    rng, guard, step, out_step = np.random.default_rng(10), Guarded(), channels + 2, channels + 1
    packed = guard(_pack_each(*(rng.standard_normal(shape) for shape in ((channels, 3, 3), channels, channels))))
    for columns in (2, 4, 6, 8, 18, 40):
        rows = [guard(odd_values(rng, (columns + 1) * step + channels)) for _ in range(4)]
        between = [np.zeros((columns, channels), np.float32) for _ in range(2)]
        call("depthwise", (channels, 1, step, channels, mode, 2), rows, between[0], BELOW=between[1], COLUMNS=columns,
             WEIGHTS=packed)  # fmt: skip
        expected = np.zeros((columns // 2, channels), np.float32)
        call("pool", (channels, channels, channels), between, expected, COLUMNS=columns // 2, WIDE=columns)
        target = guard(np.full((columns // 2 - 1) * out_step + channels, 7, np.float32))
        call("depthwise_pool", (channels, step, out_step, mode), rows, target, COLUMNS=columns, WEIGHTS=packed)
        for column, cell in enumerate(expected):
            np.testing.assert_array_equal(target[column * out_step :][:channels], cell)
            assert column == 0 or target[column * out_step - 1] == 7


@pytest.mark.parametrize("channels", [3, 16, 40])
def test_pooling(channels: int) -> None:
    rng, guard = np.random.default_rng(2), Guarded()
    for wide in WIDTHS:
        rows = [guard(odd_values(rng, wide, channels)) for _ in range(2)]
        columns = -(-wide // 2)
        target = guard(np.zeros((columns, channels), np.float32))
        call("pool", (channels, channels, channels), rows, target, COLUMNS=columns, WIDE=wide)
        for column in range(columns):
            expected = np.concatenate([row[2 * column : 2 * column + 2] for row in rows]).max(axis=0)  # NaN stays NaN
            np.testing.assert_array_equal(target[column], expected)


@pytest.mark.parametrize(("channels", "twice", "mode"), [(3, 0, RELU), (20, 1, LINEAR)])
def test_sum(channels: int, twice: int, mode: int) -> None:
    rng, guard = np.random.default_rng(3), Guarded()
    for wide in (2, 4, 6, 40):
        one, other = guard(odd_values(rng, wide, channels)), guard(odd_values(rng, wide // (1 + twice), channels))
        target = guard(np.zeros((wide, channels), np.float32))
        call("add", (channels, channels, channels, channels, twice, mode), [one, other], target, COLUMNS=wide)
        with np.errstate(invalid="ignore"):
            expected = bent(one + np.repeat(other, 1 + twice, axis=0), mode, np.ones(channels))
        np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize("channels", [3, 40])
def test_moments_and_what_is_done_with_them(channels: int) -> None:
    rng, guard, size = np.random.default_rng(4), Guarded(), padded(channels)
    for wide in WIDTHS:
        source = guard(odd_values(rng, wide, channels))
        totals = guard(np.full((2, size), 7, np.float32))
        call("moments", (channels, channels), [source], totals, COLUMNS=wide)
        with np.errstate(invalid="ignore"):
            near(totals[0, :channels], source.sum(axis=0))
            near(totals[1, :channels], (source**2).sum(axis=0))
        factors, target = guard(rng.standard_normal((2, size)).astype(np.float32)), guard(np.zeros_like(source))
        call("affine", (channels, channels, channels, RELU), [source], target, COLUMNS=wide, WEIGHTS=factors)
        with np.errstate(invalid="ignore"):
            near(target, bent(source * factors[0, :channels] + factors[1, :channels], RELU, factors[0]))


def test_factors_of_group_norm() -> None:
    rng, guard, rows, channels, groups = np.random.default_rng(7), Guarded(), 5, 24, 3
    size, cells = padded(channels), 40
    totals = guard(rng.uniform(1, 2, (rows, 2, size)).astype(np.float32))
    weight, bias = (guard(rng.standard_normal(channels).astype(np.float32)) for _ in range(2))
    target = guard(np.zeros((2, size), np.float32))
    room, epsilon = guard(np.full((2, size), np.nan)), guard(np.full(1, 1e-5))
    call("factors", (), [totals], target, KERNEL_ROWS=rows, TAPS=channels, TAP=groups, COLUMNS=cells, WEIGHTS=weight,
         BIAS=bias, SLOPE=epsilon, ROOM=room)  # fmt: skip
    mean, square = totals[:, :, :channels].sum(axis=0).reshape(2, groups, -1).sum(axis=2) / (cells * channels / groups)
    scale = weight / np.repeat(np.sqrt(np.maximum(square - mean**2, 0) + 1e-5), channels // groups)
    near(target[0, :channels], scale)
    near(target[1, :channels], bias - np.repeat(mean, channels // groups) * scale)


def test_pixels() -> None:
    rng, guard = np.random.default_rng(5), Guarded()
    for wide in (1, 2, 15, 16, 17, 33, 40):
        source = guard(rng.integers(0, 256, 3 * wide, dtype=np.uint8))
        target = guard(np.zeros(3 * wide, np.float32))
        call("pixels", (), [source], target, COLUMNS=3 * wide)
        np.testing.assert_array_equal(target, source)


def test_the_guard_guards() -> None:
    """A read beyond the buffer ends the process."""
    code = (
        "import sys; sys.path.insert(0, 'tests'); import ctypes, numpy as np; from test_plan_steps import Guarded\n"
        "values = Guarded()(np.zeros(3, np.float32)); print('ready', flush=True)\n"
        "ctypes.string_at(values.ctypes.data + 12, 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False
    )
    assert done.stdout == "ready\n", done.stderr
    assert done.returncode == -11
