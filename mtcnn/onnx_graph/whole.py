"""A whole detector as an ONNX file, compared with `Detector` before it is written.

The file takes `image`, uint8 (height, width, 3), RGB of any size, as `Detector` does, and returns `boxes` float32
(N, 4) xyxy in pixels, `scores` float32 (N,), and `landmarks` float32 (N, 5, 2), by descending score.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import boxes as box
from ..cascade import Detector
from ..checkpoint import load_weights, packaged_weights, weights_path
from ..detector_settings import DetectorSettings
from ..errors import MtcnnError
from ..files.atomic_write import atomic_write
from ..settings import require
from ..types import Faces
from .builder import Graph, Value
from .cascade import StageFaces, finished, proposed, refined
from .exported import Exported, Shape, needed

__all__ = ["WHOLE", "export_whole", "whole_model"]

WHOLE = ("mtcnn",)
"""Detectors, by their names for `Detector`, of which a file holds all stages."""

TOLERANCE = 1e-3  # of scores, and of coordinates as a share of the longer side of the image
SAME = 0.9  # IoU of boxes that are the same face
DIFFERENT = 0.05  # share of the faces that may be found by one alone: those within rounding of a threshold
CHECKED: tuple[Shape, ...] = ((1, 48, 64), (1, 97, 131), (1, 160, 40), (1, 9, 13))
LOW = 0.05  # threshold of the comparison, so that noise has faces

Run = Callable[[NDArray[np.uint8], Any], list[NDArray[Any]]]


def whole_model(settings: DetectorSettings, as_inputs: bool = False) -> Any:
    """The ModelProto of a detector.

    as_inputs  the settings are inputs of the graph, all of which must be given: `min_face` and `scale_factor`, float64
               scalars, and `thresholds` float64 (3,). Otherwise they are constants.
    """
    g = Graph()
    image = g.input("image", np.uint8, ["height", "width", 3])

    def setting(name: str, shape: Sequence[int]) -> Value:
        value = np.asarray(getattr(settings, name), np.float64)
        return g.input(name, np.float64, shape) if as_inputs else value

    thresholds = setting("thresholds", [len(settings.stages)])
    limits = [g.op("Gather", thresholds, at, axis=0) for at in range(len(settings.stages))]
    folder = packaged_weights() if settings.models is None else Path(settings.models)
    first, *others = [load_weights(weights_path(folder, name), name) for name in settings.stages]
    found = proposed(g, first, image, setting("min_face", []), setting("scale_factor", []), limits[0])
    for net, limit in zip(others, limits[1:], strict=True):
        found = refined(g, net, image, found, limit)
    return g.model(_outputs(finished(g, image, found)), _facts(settings, as_inputs))


def _outputs(found: StageFaces) -> list[tuple[str, Value, Any, Sequence[int | str]]]:
    shapes: dict[str, list[int | str]] = {
        "boxes": ["faces", 4], "scores": ["faces"], "landmarks": ["faces", 5, 2]
    }  # fmt: skip
    values = found._asdict().items()
    return [(name, value, np.float32, shapes[name]) for name, value in values if value is not None]


def _facts(settings: DetectorSettings, as_inputs: bool) -> dict[str, str]:
    others = ("models", "device")
    chosen = {name: value for name, value in settings.to_dict().items() if value is not None and name not in others}
    return {
        "detector": "mtcnn",
        "image": "uint8 RGB (height, width, 3)",
        "boxes": "xyxy in pixels, half-open",
        "defaults" if as_inputs else "settings": json.dumps(chosen),
    }


def export_whole(path: Path, settings: DetectorSettings, as_inputs: bool = False) -> Exported:
    """Write a detector with these settings to `path`, see `whole_model`.

    Raises SettingsError for a `min_face` below 1; CheckpointError if the weights are missing or do not fit; MtcnnError
    if a package of the extra `export` is missing, the file cannot be written, or it finds other faces than `Detector`.
    """
    onnx = needed("onnx")
    needed("onnxruntime")
    if settings.min_face is not None:
        require(settings.min_face >= 1, "min_face", settings.min_face, "1 pixel or more in an ONNX file")
    model = whole_model(settings, as_inputs)
    difference = _compared(settings)
    try:
        with atomic_write(path) as draft:
            onnx.save(model, str(draft))
            _session(draft.read_bytes())  # raises if it cannot be loaded
    except OSError as error:
        raise MtcnnError(f"{path} cannot be written ({error.strerror}); name another file") from None
    return Exported(path, tuple(output.name for output in model.graph.output), CHECKED, difference, "Detector")


# ---- the comparison


def _session(content: bytes) -> Any:
    onnxruntime = needed("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _compared(settings: DetectorSettings) -> float:
    """The largest difference on images of noise, at low thresholds. Raises MtcnnError if it is above TOLERANCE."""
    low = {"min_face": settings.min_face, "scale_factor": settings.scale_factor}
    session = _session(whole_model(settings, as_inputs=True).SerializeToString())
    thresholds = [LOW] * len(settings.stages)
    detector = Detector(settings.models, thresholds=thresholds, detector="mtcnn", **low)  # type: ignore[arg-type]
    feeds = {"thresholds": thresholds, **low}
    values = {name: np.asarray(value, np.float64) for name, value in feeds.items()}
    worst = 0.0
    for shape in CHECKED:
        image = noise(*shape[1:])
        ours = Faces(*session.run(None, {"image": image, **values}))
        worst = max(worst, difference(ours, detector.detect(image), max(image.shape)))
    if not worst < TOLERANCE:
        raise MtcnnError(
            f"the ONNX file differs from Detector by {worst:.2g}; expected less than {TOLERANCE}: another version of "
            "onnxruntime may help"
        )
    return worst


def noise(height: int, width: int) -> NDArray[np.uint8]:
    """An image of random blocks, in which a net finds a few faces at a low threshold."""
    rng = np.random.default_rng(0)
    parts = [
        rng.random((-(-height // side), -(-width // side), 3)).repeat(side, 0).repeat(side, 1) for side in (1, 5, 17)
    ]
    mixed = np.mean([part[:height, :width] for part in parts], axis=0)
    return np.asarray(mixed * 255, np.uint8)


def difference(a: Faces, b: Faces, side: int) -> float:
    """The largest difference of scores, and of coordinates as a share of `side`, of the faces that both have.

    Infinite if more than DIFFERENT of them, and more than one, are found by one alone.
    """
    if not len(a) or not len(b):
        return 0.0 if abs(len(a) - len(b)) <= 1 else float("inf")
    overlap = box.iou(a.boxes, b.boxes)
    mine = overlap.argmax(axis=1)
    pairs = overlap.max(axis=1) >= SAME
    alone = max(len(a), len(b)) - pairs.sum()
    if alone > max(1, DIFFERENT * max(len(a), len(b))):
        return float("inf")
    a, b = a[pairs], b[mine[pairs]]
    gaps = [np.abs(a.scores - b.scores), np.abs(a.boxes - b.boxes) / side]
    if a.landmarks is not None and b.landmarks is not None:
        gaps.append(np.abs(a.landmarks - b.landmarks) / side)
    return float(max(gap.max(initial=0) for gap in gaps))
