"""Compares the engines of single-stage detectors: ours, OpenVINO, onnxruntime and torch, on one core, in turns.

    python benchmarks/engines.py yunet-n scrfd-0.5g [--models FOLDER] [--data FOLDER] [--rounds 11] [--size 640x480]

Whole detections on one scene at one size, and the bare graphs of OpenVINO (compiled for that size) and onnxruntime,
which neither pad, decode nor suppress. Medians of processor time: others may use the machine. The ratio, other / ours,
is the median of the ratios within a round. docs/performance.md has the table. Needs the extra `openvino`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scenes import Sources

from mtcnn import Detector
from mtcnn.detectors.single_stage import SingleStage, pad
from mtcnn.machine import describe
from mtcnn.metrics.tables import markdown_table
from mtcnn.runtimes import BoxesAlone, openvino
from mtcnn.runtimes.openvino import openvino_package

ENGINES = (None, "openvino", "onnx", "torch")
WARM = 2  # detections of each before the measured ones

Image = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detectors", nargs="+")
    parser.add_argument("--models", type=Path, help="default: the packaged weights")
    parser.add_argument("--data", type=Path, default=os.environ.get("MTCNN_DATA"), help="default: MTCNN_DATA")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--size", action="append", help="default: 640x480 and 1920x1080")
    given = parser.parse_args()
    torch.set_num_threads(1)
    openvino.STEADY = 1  # a graph for the size from the first image on
    sources = Sources(given.data and Path(given.data))
    rows = []
    for name in given.detectors:
        detectors = {
            engine or "ours": Detector(given.models, detector=name, engine=engine, coarse=False) for engine in ENGINES
        }
        for size in given.size or ("640x480", "1920x1080"):
            width, height = map(int, size.split("x"))
            spent = times(detectors, sources.compose(width, height, 9), given.rounds)
            ratios = {each: np.median(np.divide(spent[each], spent["ours"])) for each in spent}
            cells = [f"{np.median(spent[each]):.1f} ({ratios[each]:.2f})" for each in spent if each != "ours"]
            rows.append([f"{name} {size}", f"{np.median(spent['ours']):.1f}", *cells])
    version = openvino_package().__version__.partition("-")[0]
    print(f"{sources.label}; {given.rounds} rounds; OpenVINO {version}; {describe()}\n")
    titles = ["ours", "OpenVINO", "onnxruntime", "torch", "OpenVINO, graph", "onnxruntime, graph"]
    print(markdown_table(["ms (ratio to ours)", *titles], rows))


def times(detectors: dict[str, Detector], image: Image, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each round, by engine and graph; each round starts with another."""
    runs: dict[str, Callable[[], Any]] = {
        engine: lambda detector=detector: detector.detect(image)  # type: ignore[misc]
        for engine, detector in detectors.items()
    }
    runs |= {f"{engine}, graph": bare(detectors[engine], image) for engine in ("openvino", "onnx")}
    spent: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds + WARM):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            before = time.process_time()
            runs[name]()
            spent[name].append(1000 * (time.process_time() - before))
    return {name: values[WARM:] for name, values in spent.items()}


def bare(detector: Detector, image: Image) -> Callable[[], Any]:
    """The graph of an exported net on an image that is ready for it."""
    stage = detector.proposer
    assert isinstance(stage, SingleStage)
    runtime: Any = stage.runtime.runtime if isinstance(stage.runtime, BoxesAlone) else stage.runtime
    padded = pad(image, stage.spec.multiple, stage.spec.padding)
    if isinstance(runtime, openvino.OpenVinoRuntime):
        batch = padded[None]
        return lambda: runtime._graph(batch)
    x = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32)  # (H, W, 3) -> (1, 3, H, W)
    return lambda: runtime.session.run(None, {"images": x})


if __name__ == "__main__":
    main()
