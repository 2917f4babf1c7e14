"""Benchmarks the parts of a detection: time, operations per second, and a check of the result.

    python benchmarks/kernels.py [--data FOLDER] [--threads 1] [--rounds 30]

Inputs are those of a 640x480 scene with 90 faces. Every part is first compared with a slow version: those of
tests/reference.py, on a smaller input where they would take minutes, and for the nets torch on the same input; the
script fails when they differ. Prints a markdown table: milliseconds, median (quartiles) after a warm-up, of processor
time for one thread.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scenes import Sources

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from reference import plain_iou, plain_nms, plain_resample  # noqa: E402

from mtcnn.boxes import iou, square  # noqa: E402
from mtcnn.cascade import Detector  # noqa: E402
from mtcnn.crops import cut  # noqa: E402
from mtcnn.detectors.load import load_detector  # noqa: E402
from mtcnn.errors import MtcnnError  # noqa: E402
from mtcnn.machine import describe  # noqa: E402
from mtcnn.metrics.tables import markdown_table  # noqa: E402
from mtcnn.nets import module_of, to_input  # noqa: E402
from mtcnn.nms import nms  # noqa: E402
from mtcnn.proposer import PNetProposer  # noqa: E402
from mtcnn.pyramid import LevelImage, levels  # noqa: E402
from mtcnn.refiner import NetRefiner  # noqa: E402
from mtcnn.runtimes.cascade import Net  # noqa: E402
from mtcnn.weights import MEAN_COLOUR, Weights  # noqa: E402

Array = NDArray[Any]

WIDTH, HEIGHT, FACES = 640, 480, 90
MIN_FACE, FACTOR = 20.0, 0.709
ROUNDING = 0.501  # of a mean to uint8; the rest for sums in another order
CLOSE = 1e-4  # logits and offsets: float32 sums in another order
SEEN = -20.0  # a logit that every cell reaches, so that whole maps are compared


class Kernel(NamedTuple):
    """A part to time.

    check  raises AssertionError when `work` is wrong.      flops  multiplications and additions of one call.
    """

    name: str
    work: Callable[[], Any]
    check: Callable[[], None]
    flops: float = 0.0


def as_module(net: Net) -> torch.nn.Module:
    return module_of(net) if isinstance(net, Weights) else net


def convolution_flops(net: torch.nn.Module, pixels: torch.Tensor) -> float:
    """Operations of a net's convolutions and dense layers on an input: two for each product."""
    total = 0.0

    def count(layer: Any, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += 2.0 * output.numel() * layer.weight[0].numel()

    layers = [layer for layer in net.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        net(pixels)
    for hook in hooks:
        hook.remove()
    return total


def check_resampled(image: Array, box: Array, found: Array, zero_outside: bool) -> None:
    """`found` (h, w, 3) is `box` of image, by the slow oracle."""
    wanted = plain_resample(image.tolist(), box.tolist(), found.shape[0], found.shape[1], zero_outside)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=ROUNDING)


def geometry(image: Array, boxes: Array, scores: Array) -> Iterator[Kernel]:
    """The pyramid, crops, suppression and overlaps; boxes (N, 4) are what PNet proposes in the image."""
    small = np.ascontiguousarray(image[100:148, 200:264])
    some = np.array([[-5.0, 3.0, 30.0, 38.0], [20.0, 10.0, 33.5, 23.5]])

    def pyramid() -> list[LevelImage]:
        return list(levels(image, MIN_FACE, FACTOR))

    def check_pyramid() -> None:
        for level in levels(small, MIN_FACE, FACTOR):
            check_resampled(small, np.array([0, 0, small.shape[1], small.shape[0]]), level.image, False)

    def check_crops(size: int) -> None:
        for box, crop in zip(some, cut(small, some, size), strict=True):
            check_resampled(small, box, crop, True)

    def check_nms() -> None:
        for overlap in ("iou", "ios"):
            wanted = plain_nms(boxes[:500].tolist(), scores[:500].tolist(), 0.5, overlap == "ios")
            np.testing.assert_array_equal(nms(boxes[:500], scores[:500], 0.5, overlap), wanted)

    def check_iou() -> None:
        wanted = [[plain_iou(a, b) for b in boxes[:100].tolist()] for a in boxes[:500].tolist()]
        np.testing.assert_allclose(iou(boxes[:500], boxes[:100]), wanted, rtol=0, atol=1e-6)

    squares = square(boxes)
    yield Kernel(f"pyramid, {len(pyramid())} levels", pyramid, check_pyramid)
    yield Kernel(f"crops of 24, {len(boxes)}", lambda: cut(image, squares, 24), lambda: check_crops(24))
    yield Kernel("crops of 48, 100", lambda: cut(image, squares[:100], 48), lambda: check_crops(48))
    yield Kernel(f"NMS, {len(boxes)} boxes", lambda: nms(boxes, scores, 0.5), check_nms)
    yield Kernel("IoU, 500 × 100 boxes", lambda: iou(boxes[:500], boxes[:100]), check_iou)


def pnet(proposer: PNetProposer, image: Array) -> Kernel:
    """All levels of the pyramid, with the cascade's threshold."""
    pyramid, net = [level.image for level in levels(image, MIN_FACE, FACTOR)], as_module(proposer.net)

    def check() -> None:
        for level in pyramid:
            found = proposer.cells(level, SEEN)
            with torch.inference_mode():
                wanted = net(to_input(level[None]))
            logits = wanted.face_logits[0].numpy()
            offsets = wanted.offsets[0].numpy().transpose(1, 2, 0)  # (4, h, w) -> (h, w, 4)
            assert len(found.logits) == logits.size, "cells are missing"
            np.testing.assert_allclose(found.logits, logits[found.rows, found.columns], rtol=0, atol=CLOSE)
            np.testing.assert_allclose(found.offsets, offsets[found.rows, found.columns], rtol=0, atol=CLOSE)

    flops = sum(convolution_flops(net, to_input(level[None])) for level in pyramid)
    return Kernel("PNet, all levels", lambda: [proposer.cells(level, 0.4) for level in pyramid], check, flops)


def refiner(stage: NetRefiner, image: Array, squares: Array) -> Iterator[Kernel]:
    """Crops and net together, as the cascade runs them; and torch alone on the same crops, for comparison."""
    crops = stage.crops(image, squares, {"rnet": 24, "onet": 48}[stage.name])
    pixels, net = to_input(crops), as_module(stage.net)

    def check() -> None:
        logits, offsets, points = stage.raw(image, squares)
        with torch.inference_mode():
            wanted = net(pixels)
        pairs = [(logits, wanted.face_logits), (offsets, wanted.offsets), (points, wanted.landmarks)]
        for found, expected in pairs:
            if expected is not None:
                np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=CLOSE)

    def by_torch() -> None:
        with torch.inference_mode():
            net(pixels)

    flops = convolution_flops(net, pixels)
    name = {"rnet": "RNet", "onet": "ONet"}[stage.name]
    yield Kernel(f"{name} with its crops, {len(squares)}", lambda: stage.raw(image, squares), check, flops)
    yield Kernel(f"{name} alone, by torch", by_torch, lambda: None, flops)


def retinaface(image: Array) -> Iterator[Kernel]:
    """The single-stage detector, net alone: compiled here, by torch, and by onnxruntime if it is there."""
    runtimes: dict[str, Any] = {}
    for name, engine in {
        "RetinaFace": None,
        "RetinaFace, by torch": "torch",
        "RetinaFace, by onnxruntime": "onnx",
    }.items():
        with suppress(MtcnnError):  # onnxruntime is an extra
            runtimes[name] = load_detector("retinaface", engine=engine).runtime
    in_torch = runtimes["RetinaFace, by torch"]
    wanted = in_torch(image)

    def check(runtime: Any) -> None:
        found = runtime(image)
        for name, expected in wanted.items():
            np.testing.assert_allclose(found[name], expected, rtol=CLOSE, atol=CLOSE)

    flops = convolution_flops(in_torch.net, to_input(image[None], scaling=MEAN_COLOUR))
    for name, runtime in runtimes.items():
        yield Kernel(name, partial(runtime, image), partial(check, runtime), flops)


def products() -> Iterator[Kernel]:
    """What the machine can do: the product of two square matrices, by the two libraries that are there."""
    side = 1024
    one, other = (np.full((side, side), value, np.float32) for value in (0.5, 2.0))
    first, second = torch.from_numpy(one), torch.from_numpy(other)
    for name, work in (("torch", lambda: first @ second), ("NumPy", lambda: one @ other)):
        yield Kernel(f"{side} × {side} matrices, by {name}", work, partial(_check_product, work), 2.0 * side**3)


def _check_product(work: Callable[[], Any]) -> None:
    found = np.asarray(work())
    np.testing.assert_array_equal(found, np.full_like(found, len(found)))


def kernels(image: Array, detector: Detector) -> Iterator[Kernel]:
    proposer, (rnet, onet) = detector.proposer, detector.refiners
    assert isinstance(proposer, PNetProposer) and isinstance(rnet, NetRefiner) and isinstance(onet, NetRefiner)
    proposals = proposer(image)
    boxes, scores = proposals.boxes.astype(np.float64), proposals.scores.astype(np.float64)
    yield from geometry(image, boxes, scores)
    yield pnet(proposer, image)
    yield from refiner(rnet, image, square(boxes))
    yield from refiner(onet, image, square(rnet(image, proposals).boxes.astype(np.float64)))
    yield from retinaface(image)
    yield from products()


def milliseconds(work: Callable[[], Any], rounds: int, clock: Callable[[], float]) -> Array:
    """Of each of `rounds` calls, after three that warm up."""
    for _ in range(3):
        work()
    found = []
    for _ in range(rounds):
        start = clock()
        work()
        found.append(1000 * (clock() - start))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MTCNN_DATA"), help="default: MTCNN_DATA")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    clock = time.process_time if given.threads == 1 else time.perf_counter
    torch.set_num_threads(given.threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-given.threads :])
    image = Sources(given.data).compose(WIDTH, HEIGHT, FACES)
    rows = []
    for kernel in kernels(image, Detector(min_face=MIN_FACE, scale_factor=FACTOR)):
        kernel.check()
        low, middle, high = np.percentile(milliseconds(kernel.work, given.rounds, clock), [25, 50, 75])
        operations = [f"{kernel.flops / 1e6:.0f}", f"{kernel.flops / middle / 1e6:.0f}"] if kernel.flops else ["", ""]
        rows.append([kernel.name, f"{middle:.3f} ({low:.3f}–{high:.3f})", *operations])
    print(f"{WIDTH}×{HEIGHT} with {FACES} faces, {given.threads} thread(s), {given.rounds} rounds; {describe()}\n")
    print(markdown_table(["kernel", "ms", "MFLOP", "GFLOP/s"], rows))


if __name__ == "__main__":
    main()
