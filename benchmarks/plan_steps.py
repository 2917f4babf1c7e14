"""Where the time of a plan goes: milliseconds of each step of a net, and the share of the core's peak.

    python benchmarks/plan_steps.py [NAME ...] [--models FOLDER] [--size 640x480] [--rounds 60] [--each]

Times are the least of all rounds, since others may use the machine, by the processor's clock, read before and after
each call of a kernel. A step's operations are those that the net asks for, two for each product; what a kernel adds to
fill its vectors does not count. The peak is measured: products of registers alone.

--each  a line for each step, not only for each kind of step.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import hashlib
import inspect
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from scenes import Sources

from mtcnn.detectors.load import load_detector
from mtcnn.detectors.single_stage import pad
from mtcnn.engine import compiled_steps, kernel_cache
from mtcnn.engine import steps as at
from mtcnn.engine.plan import PlannedNet
from mtcnn.engine.plan_goals import MAP, goals
from mtcnn.engine.plan_layout import PlanTables
from mtcnn.engine.registers import LANES, REGISTERS
from mtcnn.engine.vectors import LONG, VECTOR, fma, intrinsic, loop, slot
from mtcnn.machine import describe
from mtcnn.metrics.tables import markdown_table

NAMES = ("yunet-n", "slim", "rfb", "scrfd-0.5g")
FACES, PRODUCTS = 9, 4_000_000
CHAINS = 3 * REGISTERS // 4  # enough to hide the latency of a product; more would not fit into the registers


class Timed(NamedTuple):
    """A step: its kind, its shape in words, seconds, and operations."""

    kind: str
    shape: str
    seconds: float
    operations: float


@intrinsic
def ticks(context):  # type: ignore[no-untyped-def]
    """The processor's clock."""

    def code(_context: Any, b: Any, _signature: Any, _args: Any) -> Any:
        insert: Any = cgutils.get_or_insert_function
        return b.call(insert(b.module, ir.FunctionType(LONG, []), "llvm.readcyclecounter"), [])

    return types.int64(), code


@intrinsic
def multiply(context, count):  # type: ignore[no-untyped-def]
    """`count` times CHAINS products of vectors, each chain of which waits for itself alone."""

    def code(_context: Any, b: Any, _signature: Any, args: Any) -> Any:
        sums = [slot(b, VECTOR) for _ in range(CHAINS)]
        factor = ir.Constant(VECTOR, [0.5] * LANES)
        for number, total in enumerate(sums):
            b.store(ir.Constant(VECTOR, [float(number)] * LANES), total)

        def one(_index: Any) -> None:
            for total in sums:
                b.store(fma(b, b.load(total), factor, factor), total)

        loop(b, args[0], one)
        every = b.load(sums[0])
        for total in sums[1:]:
            every = b.fadd(every, b.load(total))
        return b.fptosi(b.extract_element(every, ir.Constant(ir.IntType(32), 0)), LONG)

    return types.int64(types.int64), code


CHANGES = {
    "def _advance(at: int, ": "def _advance(at: int, sums: Any, ",
    "def run_steps(at)": "def run_timed(at, sums_at)",
    "            _advance(at, ": "            _advance(at, sums, ",
    "    for k in range(many):\n": "    sums = array_at(sums_at, (count,), np.int64)\n    for k in range(many):\n",
    "            call_step(": "            before = ticks()\n            call_step(",
    "            step[NEXT] = ": "            sums[number] += ticks() - before\n            step[NEXT] = ",
}
OTHERS = "\n\ndef clock(at):\n    return ticks()\n\n\ndef peak(count):\n    return multiply(count)\n"


def add_kernels() -> dict[str, str]:
    """The names of this benchmark's kernels: `run_timed`, which is `run_steps` with a clock, `clock` and `peak`."""
    source = inspect.getsource(compiled_steps)
    text = source[source.index("@inner()\ndef _advance(") :]
    for old, new in CHANGES.items():
        assert text.count(old) == 1, f"{old!r} is not once in compiled_steps"
        text = text.replace(old, new)
    name = "mtcnn.engine.compiled_timed"
    module = ModuleType(name)
    vars(module).update({**vars(compiled_steps), "__name__": name, "ticks": ticks, "multiply": multiply})
    exec(compile(text + OTHERS, name, "exec"), vars(module))
    sys.modules[name] = module
    made = {}
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]  # compiled code is kept
    for kernel, letters in (("run_timed", "ii"), ("clock", "i"), ("peak", "i")):
        made[kernel] = f"{kernel}_{digest}"
        setattr(module, made[kernel], getattr(module, kernel))
        kernel_cache.KERNELS[made[kernel]] = ("compiled_timed", letters)
    return made


def ticks_per_second(clock: Any) -> float:
    start, before = time.perf_counter(), clock(0)
    time.sleep(0.2)
    return float((clock(0) - before) / (time.perf_counter() - start))


def peak_operations(clock: Any, peak: Any, rate: float) -> float:
    """Operations a second of products of registers alone."""
    least = float("inf")
    for _ in range(20):
        before = clock(0)
        peak(PRODUCTS // CHAINS)
        least = min(least, clock(0) - before)
    return 2 * LANES * CHAINS * (PRODUCTS // CHAINS) * rate / least


def steps_of(net: PlannedNet, layout: PlanTables) -> Iterator[tuple[str, str, float]]:
    """Kind, shape and operations of each step, in the order of the table."""
    for goal in goals(layout.nodes, layout.places):
        if goal.kind != MAP:
            yield goal.kind, "", 0.0
            continue
        for number in layout._chain(goal.node):
            node, (rows, columns) = layout.nodes[number], layout.sizes[number]
            inputs = sum(part.count for part in node.inputs[0]) if node.inputs else 0
            kind = node.kind
            if kind == "conv":
                kind = "pointwise" if node.kernel == 1 else f"{node.kernel} x {node.kernel}"
            products = node.kernel**2 * {"conv": inputs, "depthwise": 1}.get(node.kind, 0)
            if number in layout.pooled:  # four products' sums become one
                kind, products = "depthwise and pool", 4 * layout.nodes[layout.pooled[number]].kernel ** 2
            stride = f", stride {node.stride}" if node.stride > 1 else ""
            shape = f"{inputs} → {node.channels}, {rows} x {columns}{stride}"
            yield kind, shape, 2.0 * products * node.channels * rows * columns


def measure(name: str, given: argparse.Namespace, timed: Any, rate: float) -> tuple[list[Timed], float]:
    """The steps of a net, and the seconds of all of a run."""
    width, height = map(int, given.size.split("x"))
    detector = load_detector(name, given.models, coarse=False)
    image = Sources(given.data).compose(width, height, FACES)
    padded = pad(image, detector.spec.multiple, detector.spec.padding)
    net: Any = getattr(detector.runtime, "runtime", detector.runtime)
    net(padded)
    layout: PlanTables = net._layout(*padded.shape[:2])
    ((table,),) = layout.stages
    sums = np.zeros((given.rounds, int(table.table[at.COUNT])), np.int64)
    whole = []
    for line in sums:
        before = time.perf_counter()
        layout.run(padded)
        whole.append(time.perf_counter() - before)
        timed(table.address, line.ctypes.data)
    seconds = sums.min(axis=0) / rate
    shapes = list(steps_of(net, layout))
    assert len(shapes) == len(seconds)
    return [Timed(kind, shape, each, count) for (kind, shape, count), each in zip(shapes, seconds, strict=True)], min(
        whole
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"detectors; default: {' '.join(NAMES)}")
    parser.add_argument("--models", type=Path, help="folder with weights; default: the packaged ones")
    parser.add_argument("--data", type=Path, default=os.environ.get("MTCNN_DATA"), help="default: MTCNN_DATA")
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--each", action="store_true")
    given = parser.parse_args()
    timed, clock, peak_of = (kernel_cache.kernel(name) for name in add_kernels().values())
    rate = ticks_per_second(clock)
    peak = peak_operations(clock, peak_of, rate)
    print(f"{given.rounds} rounds; peak {peak / 1e9:.0f} GFLOP a second; {describe()}\n")
    for name in given.names:
        steps, whole = measure(name, given, timed, rate)
        if given.each:
            groups = [[step] for step in steps]
        else:
            groups = [[step for step in steps if step.kind == kind] for kind in dict.fromkeys(s.kind for s in steps)]
        rows = []
        for group in groups:
            spent, count = (
                sum(values) for values in zip(*((step.seconds, step.operations) for step in group), strict=True)
            )
            share = f"{100 * count / spent / peak:.0f} %" if count else ""
            rows.append([f"{group[0].kind} {group[0].shape if given.each else ''}", f"{1e3 * spent:.3f}", share])
        total = sum(step.seconds for step in steps)
        rows += [["all steps", f"{1e3 * total:.3f}", ""], ["a run", f"{1e3 * whole:.3f}", ""]]
        print(markdown_table([f"{name} {given.size}", "ms", "of the peak"], rows), "\n")


if __name__ == "__main__":
    main()
