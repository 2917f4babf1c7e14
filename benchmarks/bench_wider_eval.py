"""Times the WIDER evaluation against the same protocol as a plain Python loop, in one run.

    python benchmarks/bench_wider_eval.py DATA [--rounds 5]

DATA holds wider/ground_truth and eval/wider/retinaface_mnet025_val.tar.xz: 3,226 images. Compilation is warmed up
before; the plain loop (tests/reference.py, the oracle of the tests) runs once, between two halves of the rounds, for
it takes a minute. Both must give the same AP and the same curves, or the script fails. Prints a markdown row; times in
seconds, median (min to max).
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from reference import plain_wider  # noqa: E402

from mtcnn.metrics import wider  # noqa: E402
from mtcnn.metrics.problems import Problems  # noqa: E402
from mtcnn.metrics.tables import markdown_table  # noqa: E402

ARCHIVE = "eval/wider/retinaface_mnet025_val.tar.xz"
LIMIT, FACTOR = 15.0, 20.0  # seconds with reading, and times the plain loop: what the project promises


def timed(work: Callable[..., Any], *values: Any) -> tuple[float, Any]:
    """(seconds, result) of work(*values)."""
    start = time.perf_counter()
    result = work(*values)
    return time.perf_counter() - start, result


def machine() -> str:
    """The processor by name, its cores, and the versions that matter."""
    name = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}"
    return f"{name}, {os.cpu_count()} cores; {versions}"


def run_plain(truth: wider.GroundTruth, found: dict[str, Any]) -> dict[str, tuple[float, list[float], list[float]]]:
    """AP, precision and recall by setting, from lists of Python floats: arrays would slow a plain loop down."""
    boxes = {name: rows.tolist() for name, rows in truth.boxes.items()}
    lists = {name: rows.tolist() for name, rows in found.items()}
    keep = {setting: {name: mask.tolist() for name, mask in of.items()} for setting, of in truth.counted.items()}
    return {setting: plain_wider(boxes, keep[setting], lists) for setting in truth.settings}


def check_equal(result: wider.WiderResult, plain: dict[str, tuple[float, list[float], list[float]]]) -> None:
    """Raises AssertionError unless curves are the same and AP agrees to 1e-12 (the order of a sum)."""
    for setting, (ap, precision, recall) in plain.items():
        curve = result.curves[setting]
        np.testing.assert_array_equal(curve.precision, precision)
        np.testing.assert_array_equal(curve.recall, recall)
        np.testing.assert_allclose(curve.ap, ap, rtol=0, atol=1e-12)


def spread(times: list[float]) -> str:
    return f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"


def read(data: Path) -> tuple[wider.GroundTruth, dict[str, Any]]:
    found = wider.load_detections(data / ARCHIVE, Problems(strict=True))
    return wider.GroundTruth.load_mat(data / "wider/ground_truth"), found


def measure(data: Path, rounds: int) -> tuple[list[float], list[float], float, wider.WiderResult]:
    """Seconds of each reading, of each evaluation, and of the plain loop; the result, checked."""
    truth, found = read(data)
    result = wider.evaluate(truth, found)  # compiles, or loads what was compiled before
    reading, evaluating, plain_time = [], [], 0.0
    for number in range(rounds):
        if number == rounds // 2:
            plain_time, plain = timed(run_plain, truth, found)
            check_equal(result, plain)
        seconds, (truth, found) = timed(read, data)
        reading.append(seconds)
        seconds, result = timed(wider.evaluate, truth, found)
        evaluating.append(seconds)
    return reading, evaluating, plain_time, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("MTCNN_DATA"))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data folder, or set MTCNN_DATA")
    reading, evaluating, plain, result = measure(Path(options.data), options.rounds)
    read_time, fast = statistics.median(reading), statistics.median(evaluating)
    ratio, ratio_read = plain / fast, (plain + read_time) / (fast + read_time)
    header = ["machine", "images", "detections", "reading", "evaluating", "plain loop", "times", "times with reading"]
    row = [machine(), str(result.images), str(result.detections), spread(reading), spread(evaluating)]
    print(markdown_table(header, [[*row, f"{plain:.1f}", f"{ratio:.0f}", f"{ratio_read:.0f}"]]))
    assert read_time + fast <= LIMIT, f"{read_time + fast:.1f} s with reading; at most {LIMIT:g} s are promised"
    assert min(ratio, ratio_read) >= FACTOR, f"{ratio_read:.1f} times the plain loop; {FACTOR:g} are promised"


if __name__ == "__main__":
    main()
