"""Costs of a detector: parameters, multiply-adds, milliseconds and memory."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.checkpoint import read, weights_path
from mtcnn.workers.processes import unseen_interrupts

from .entries import Entry
from .files import FileEntry

__all__ = ["FRAME", "arithmetic", "frames", "memory", "speed"]

RGB = NDArray[np.uint8]

FRAME = (480, 640)
"""Height and width of the image that is timed."""

COUNTED = {"mflops_320x240": (240, 320), "mflops_640x480": FRAME}
_STATUS = Path("/proc/self/status")


def arithmetic(entry: Entry) -> dict[str, float]:
    """`parameters` of all nets, and for a single-stage detector alone millions of multiply-adds at two image sizes.

    For the cascade, and for RNet and ONet, they depend on the image: on its faces. Those of a file are what it holds:
    its batch norms are part of the convolutions.
    """
    import torch

    from mtcnn.detectors.load import build
    from mtcnn.flops import cost
    from mtcnn.nets import CLASSES, parameter_count
    from mtcnn.onnx_graph.counts import counted

    counts: dict[str, float] = {"parameters": 0}
    if isinstance(entry, FileEntry):
        counts = counted(entry.file, COUNTED if len(entry.nets) == 1 else {})
    for net in (*entry.weights, *entry.second):
        with torch.device("meta"):
            made = CLASSES[net]() if net in CLASSES else build(net, read(weights_path(entry.folder(net), net)).model)
            counts["parameters"] += parameter_count(made)
            if net not in CLASSES and len(entry.nets) == 1:
                counts |= {name: cost(made, *size).multiply_adds / 1e6 for name, size in COUNTED.items()}
    return counts


def frames(photos: Sequence[RGB]) -> list[RGB]:
    """The middle of each photo with the shape of a frame, scaled to it: uint8 (480, 640, 3)."""
    from mtcnn.resample import resample

    found = []
    for photo in photos:
        height, width = photo.shape[:2]
        side = min(height / FRAME[0], width / FRAME[1])
        tall, wide = (max(1, int(side * length)) for length in FRAME)
        top, left = (height - tall) // 2, (width - wide) // 2
        found.append(resample(np.ascontiguousarray(photo[top : top + tall, left : left + wide]), *FRAME))
    return found


def speed(
    detectors: Mapping[str, Callable[[RGB], Any]], images: Sequence[RGB], rounds: int, bar: Any
) -> dict[str, float]:
    """Median milliseconds of CPU time per image, by detector, in this process.

    The detectors alternate on each image, so that a slow machine affects all of them. An image's time is its minimum
    over the rounds; the median is over the images. The times of all threads are added.
    """
    times = {name: np.full((rounds, len(images)), np.inf) for name in detectors}
    for i, image in enumerate(images):
        for number in range(rounds):
            for name, detect in detectors.items():
                if not number and not i:
                    detect(image)  # compiles, allocates
                start = time.process_time()
                detect(image)
                times[name][number, i] = 1000 * (time.process_time() - start)
                bar.update()
    return {name: float(np.median(values.min(axis=0))) for name, values in times.items()}


def memory(entry: Entry) -> float | None:
    """Peak memory in MiB of a fresh process that detects faces in one frame, including Python and NumPy.

    None if the system does not report it, or the process failed.
    """
    if not _STATUS.is_file():
        return None
    here, there = (context := multiprocessing.get_context("spawn")).Pipe(duplex=False)
    process = context.Process(target=_peak, args=(entry, there), daemon=True)
    with unseen_interrupts():
        process.start()
    there.close()
    try:
        return float(here.recv())
    except (EOFError, OSError):  # killed before it sent anything, or all of it
        return None
    except KeyboardInterrupt:
        process.kill()
        raise
    finally:
        process.join()


def _peak(entry: Entry, answer: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*FRAME, 3), np.uint8)
    entry.detector(measured=False)(noise)
    # Not getrusage: its peak includes what the parent had when this process was started.
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    answer.send(int(line.split()[1]) / 1024)
