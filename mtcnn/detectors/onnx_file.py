"""Turns an ONNX file into a working detector: a net or a whole detector that this project exported, SCRFD or YuNet."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from ..resample import resample
from ..runtimes.onnx import OnnxRuntime, OnnxSession
from ..runtimes.onnx_forms import OtherRuntime, input_size
from ..types import Faces, ImageSize
from . import DETECTORS
from .single_stage import SingleStage

__all__ = ["FittedStage", "OnnxDetector", "WholeFile", "load_onnx_file"]


@dataclass(frozen=True)
class FittedStage:
    """A detector whose net takes images of one size: larger images are shrunk to fit into it, smaller ones padded.

    stage  the detector.    size  of the net's input.
    """

    stage: SingleStage
    size: ImageSize

    def __call__(self, image: NDArray[np.uint8]) -> Faces:
        """As `SingleStage`; faces are in pixels of the image."""
        if not image.size:
            return self.stage(image)
        height, width = image.shape[:2]
        factor = min(1.0, self.size.height / height, self.size.width / width)
        seen = ImageSize(max(1, round(height * factor)), max(1, round(width * factor)))
        pixels = image if factor == 1 else resample(image, *seen)
        padded = np.empty((*self.size, 3), np.uint8)
        padded[:] = np.array(self.stage.spec.padding, np.uint8)
        padded[: seen.height, : seen.width] = pixels
        faces, step = self.stage(padded), np.array([width / seen.width, height / seen.height], np.float32)
        points = None if faces.landmarks is None else faces.landmarks * step
        return Faces(faces.boxes * np.tile(step, 2), faces.scores, points)


class WholeFile(OnnxSession):
    """A whole detector, see `onnx_graph.whole`: from an image, uint8 RGB (H, W, 3), to Faces.

    threshold  minimum score of every stage, for a file that takes thresholds as inputs and holds one stage; others have
               their own, `lowest`.
    """

    def __init__(self, path: Path, threshold: float | None = None) -> None:
        super().__init__(path)
        if not {"boxes", "scores"} <= set(self.outputs):
            raise CheckpointError(f"{path} gives {', '.join(self.outputs)}; expected boxes and scores: export it again")
        try:
            own = json.loads(self.facts.get("settings") or self.facts["defaults"])
            thresholds = [float(value) for value in np.atleast_1d(own["thresholds"])]
        except (KeyError, TypeError, ValueError):
            raise CheckpointError(f"{path} lacks its settings; expected them: export it again") from None
        taken = [each.name for each in self.session.get_inputs() if each.name != "image"]
        if threshold is not None and "thresholds" in taken and len(thresholds) == 1:
            thresholds = [threshold]
        given = {**own, "thresholds": thresholds}
        self.lowest = thresholds[-1]
        self.settings = {name: np.asarray(given[name], np.float64) for name in taken if name in given}

    def __call__(self, image: NDArray[np.uint8]) -> Faces:
        found = self.run({"image": np.ascontiguousarray(image), **self.settings})
        return Faces(found["boxes"], found["scores"], found.get("landmarks"))


OnnxDetector = SingleStage | FittedStage | WholeFile


def load_onnx_file(path: Path, threshold: float | None = None) -> OnnxDetector:
    """The detector in the ONNX file at `path`: what `mtcnn export` wrote, or a net in a form of `runtimes.onnx_forms`.

    threshold  minimum score of a face; None: that of the file, or of its kind of detector. The threshold of a whole
               detector stays unless it is an input of the file.

    An image is processed at one size, its own, unless the file takes another. Raises CheckpointError for a file that is
    damaged or has another form, MtcnnError without the package onnxruntime.
    """
    opened = OnnxSession(path)
    if "detector" in opened.facts:
        return WholeFile(path, threshold)
    net = opened.facts.get("net")
    if net is not None and net not in DETECTORS:
        raise CheckpointError(
            f"{path} holds {net}, a part of the cascade; expected a detector: mtcnn export writes one"
        )
    size = input_size(opened)
    runtime: Any = OtherRuntime(path) if net is None else OnnxRuntime(path)
    spec = DETECTORS[runtime.detector if net is None else net]
    if threshold is None:
        threshold = float(json.loads(opened.facts.get("threshold", str(spec.threshold))))
    stage = SingleStage(runtime, spec, threshold, coarse=False)
    if size is None:
        return stage
    if any(side % spec.multiple for side in size):
        raise CheckpointError(
            f"{path} takes {size.height} x {size.width} pixels; expected multiples of {spec.multiple}"
        )
    return FittedStage(stage, size)
