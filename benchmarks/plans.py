"""Times detectors that run by a plan beside onnxruntime on their bare graphs, in turns, on one core.

    python benchmarks/plans.py [NAME ...] [--models FOLDER] [--sizes 640x480 1920x1080] [--rounds 20] [--bf16]

Ours is the whole detection: the net, decoding and NMS; onnxruntime's is the graph alone, exported for the size of the
image. Milliseconds of CPU time: others may use the machine. A ratio is the median over rounds of the ratio in a round:
of onnxruntime to ours, and, with --bf16, of ours in float32 to ours in bfloat16, for processors that have it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
from scenes import Sources

from mtcnn.detectors.load import load_detector
from mtcnn.machine import describe
from mtcnn.metrics.tables import markdown_table
from mtcnn.onnx_export import export_onnx
from mtcnn.runtimes import sparse_outputs

NAMES = ("yunet-n", "scrfd-0.5g", "slim", "rfb", "retinaface")
FACES, WARM_UP = 9, 3


def session(name: str, models: Path | None, shape: tuple[int, int]) -> onnxruntime.InferenceSession:
    """The graph of a net for images of one shape, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with TemporaryDirectory() as folder:
        path = export_onnx(name, Path(folder) / f"{name}.onnx", models, shape).path
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def times(runs: dict[str, Any], rounds: int) -> dict[str, np.ndarray[Any, Any]]:
    """Milliseconds of CPU time of each round; another run is the first in each round."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    order = [*runs]
    for number in range(WARM_UP + rounds):
        order = order[1:] + order[:1]
        for name in order:
            start = time.process_time()
            runs[name]()
            if number >= WARM_UP:
                spent[name].append(1000 * (time.process_time() - start))
    return {name: np.array(values) for name, values in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"detectors; default: {' '.join(NAMES)}")
    parser.add_argument("--models", type=Path, help="folder with weights; default: the packaged ones")
    parser.add_argument("--data", type=Path, default=os.environ.get("MTCNN_DATA"), help="default: MTCNN_DATA")
    parser.add_argument("--sizes", nargs="+", default=["640x480", "1920x1080"], help="default: 640x480 1920x1080")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--bf16", action="store_true", help="also detections in bfloat16")
    given = parser.parse_args()
    rows = []
    for name in given.names:
        for size in given.sizes:
            width, height = map(int, size.split("x"))
            image = Sources(given.data).compose(width, height, FACES)
            detector = load_detector(name, given.models, coarse=False)
            multiple = detector.spec.multiple
            shape = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
            graph = session(name, given.models, shape)
            padded = np.zeros((*shape, 3), np.uint8)
            padded[:height, :width] = image
            pixels = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32)
            feed = {graph.get_inputs()[0].name: pixels}
            runs = {
                "graph": lambda graph=graph, feed=feed: graph.run(None, feed),
                "detection": lambda detector=detector, image=image: detector(image),
                "net": lambda detector=detector, padded=padded: sparse_outputs(detector.runtime, padded),
            }
            if given.bf16:
                fast = load_detector(name, given.models, coarse=False, precision="bf16")
                runs["bf16"] = lambda fast=fast, image=image: fast(image)
            spent = times(runs, given.rounds)
            middle = [f"{np.median(spent[each]):.2f}" for each in runs]
            pairs = [("graph", "detection"), *([("detection", "bf16")] if given.bf16 else [])]
            ratios = [f"{np.median(spent[one] / spent[other]):.2f}" for one, other in pairs]
            rows.append([f"{name} {size}", *middle, *ratios])
    print(f"{given.rounds} rounds; {describe()}\n")
    more = [["in bfloat16"], ["bfloat16's ratio"]] if given.bf16 else [[], []]
    print(markdown_table(["", "onnxruntime, graph", "detection by plan", "its net", *more[0], "ratio", *more[1]], rows))


if __name__ == "__main__":
    main()
