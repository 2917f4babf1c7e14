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

from ..cascade import Detector
from ..checkpoint import has_weights, load_weights, packaged_weights, weights_path
from ..detector_settings import DetectorSettings
from ..detectors import DETECTORS
from ..errors import MtcnnError
from ..settings import require
from ..types import Faces
from ..weights import SECOND
from .builder import Graph, Value
from .cascade import StageFaces, finished, proposed, refined
from .exported import Exported, Shape
from .formats import TITLES, Computes, check_format, opened, stored
from .int8 import Agreement, CalibrationPhotos, agreement, quantised
from .single_stage import detected, net_model

__all__ = ["export_whole", "whole_model"]

# Of scores, and of coordinates as a share of the longer side of the image. OpenVINO computes in float32 what is float64
# in the graph: in a level of the pyramid, a pixel in some thousand is rounded to the other side.
TOLERANCES = {"onnx": 1e-3, "openvino": 3e-3}
DIFFERENT = 0.05  # share of the faces that may differ
CHECKED: tuple[Shape, ...] = ((1, 48, 64), (1, 97, 131), (1, 160, 40), (1, 9, 13))
LOW = 0.05  # threshold of the cascade in the comparison, so that noise has faces; of a detector it has none: 0


def whole_model(settings: DetectorSettings, as_inputs: bool = False) -> Any:
    """The ModelProto of a detector.

    as_inputs  settings are inputs of the graph, all of which must be given: `thresholds`, float64 (stages,); for PNet
               `min_face` and `scale_factor`, float64 scalars. Otherwise they are constants.
    """
    return _model(settings, _nets(settings), as_inputs)


def _nets(settings: DetectorSettings) -> list[Any]:
    """Weights of the cascade's nets, the graph of a single-stage detector; last the net of ONet's second pass, if it
    has one."""
    folder = _folder(settings)
    first, *others = settings.stages
    nets: list[Any] = [
        net_model(first, folder) if first in DETECTORS else load_weights(weights_path(folder, first), first)
    ]
    if "onet" in others and has_weights(folder, SECOND):
        others.append(SECOND)
    return nets + [load_weights(weights_path(folder, name), name) for name in others]


def _folder(settings: DetectorSettings) -> Path:
    return packaged_weights() if settings.models is None else Path(settings.models)


def _model(settings: DetectorSettings, nets: Sequence[Any], as_inputs: bool) -> Any:
    g = Graph()
    image = g.input("image", np.uint8, ["height", "width", 3])

    def setting(name: str, shape: Sequence[int]) -> Value:
        value = np.asarray(getattr(settings, name), np.float64)
        return g.input(name, np.float64, shape) if as_inputs else value

    first, detector = settings.stages[0], settings.stages[0] in DETECTORS
    thresholds = setting("thresholds", [len(settings.stages)])
    limits = [g.op("Gather", thresholds, at, axis=0) for at in range(len(settings.stages))]
    if detector:
        found = detected(g, first, nets[0], image, limits[0], settings.max_side)
    else:
        found = proposed(g, nets[0], image, setting("min_face", []), setting("scale_factor", []), limits[0])
    *_, last = nets
    second = last if len(nets) > len(limits) else None  # of ONet, the last stage
    for net, limit in zip(nets[1:], limits[1:], strict=False):
        found = refined(g, net, image, found, limit, detector, second if net.net == "onet" else None)
    found = finished(g, image, found, settings.min_face if detector else None)
    return g.model(_outputs(found), _facts(settings, as_inputs))


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
        "detector": ", ".join(settings.stages),
        "image": "uint8 RGB (height, width, 3)",
        "boxes": "xyxy in pixels, half-open",
        "defaults" if as_inputs else "settings": json.dumps(chosen),
    }


def export_whole(
    path: Path, settings: DetectorSettings, as_inputs: bool = False, form: str = "onnx", int8: Path | None = None
) -> Exported:
    """Write a detector with these settings to `path`, see `whole_model`.

    form  "onnx", or "openvino": the IR that OpenVINO makes of the ONNX file.
    int8  folder with photos: then the single-stage detector of the first stage is in int8, see `int8`.

    Raises SettingsError for a `min_face` below 1, for `coarse` and `enlarge`, and for int8 without such a stage;
    CheckpointError if the weights are missing or do not fit; MtcnnError if a package of the extra `export` or
    `openvino` is missing, the file cannot be written, or it finds other faces than `Detector`.
    """
    check_format(form)
    if settings.min_face is not None:
        require(settings.min_face >= 1, "min_face", settings.min_face, "1 pixel or more in an ONNX file")
    require(not settings.coarse, "coarse", settings.coarse, "False in an ONNX file, which takes one look at an image")
    require(settings.enlarge in (None, 1), "enlarge", settings.enlarge, "1 in an ONNX file; enlarge its images")
    nets = _nets(settings)
    difference = _compared(settings, _model(settings, nets, as_inputs=True), form)
    agrees = None
    if int8 is not None:
        nets, agrees = _in_int8(settings, nets, int8, form)
    model = _model(settings, nets, as_inputs)
    content = model.SerializeToString()
    opened(content, form)  # raises if it cannot be loaded
    stored(content, path, form)
    return Exported(path, tuple(output.name for output in model.graph.output), CHECKED, difference, "Detector", agrees)


def _in_int8(settings: DetectorSettings, nets: Sequence[Any], folder: Path, form: str) -> tuple[list[Any], Agreement]:
    """The nets, the first of them in int8."""
    name = settings.stages[0]
    require(name in DETECTORS, "int8", folder, f"none for {name}: it is for single-stage detectors, such as retinaface")
    photos, made = CalibrationPhotos(folder, DETECTORS[name]), type(nets[0])()
    made.ParseFromString(quantised(nets[0].SerializeToString(), photos))
    chosen = [made, *nets[1:]]
    before, after = (
        _finds(opened(_model(settings, part, as_inputs=False).SerializeToString(), form)) for part in (nets, chosen)
    )
    return chosen, agreement(photos, before, after)


def _finds(computes: Computes) -> Callable[[NDArray[np.uint8]], Faces]:
    return lambda image: Faces(*computes({"image": image}))


# ---- the comparison


def _compared(settings: DetectorSettings, model: Any, form: str) -> float:
    """The largest difference on images of noise, at low thresholds. Raises MtcnnError if it is above TOLERANCES."""
    computes = opened(model.SerializeToString(), form)
    thresholds = [0.0 if settings.stages[0] in DETECTORS else LOW] * len(settings.stages)
    detector = Detector(**{**settings.to_dict(), "models": _folder(settings), "thresholds": thresholds})
    feeds = {name: getattr(settings, name) for name in ("min_face", "scale_factor")} | {"thresholds": thresholds}
    values = {name: np.asarray(value, np.float64) for name, value in feeds.items() if value is not None}
    worst = 0.0
    for shape in CHECKED:
        image = noise(*shape[1:])
        ours = Faces(*computes({"image": image, **values}))
        worst = max(worst, difference(ours, detector.detect(image), max(image.shape)))
    if not worst < TOLERANCES[form]:
        raise MtcnnError(
            f"the {TITLES[form]} file differs from Detector by {worst:.2g}; expected less than {TOLERANCES[form]}: "
            "another version of onnxruntime or openvino may help"
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
    """The largest difference of scores, and of coordinates as a share of `side`, between faces and the most similar of
    the other detector.

    The DIFFERENT share of the faces, and one at least, are left out: they may be within rounding of a threshold.
    Infinite if the numbers of faces differ by more.
    """
    free = int(max(1, DIFFERENT * max(len(a), len(b))))
    if abs(len(a) - len(b)) > free:
        return float("inf")
    if not len(a) or not len(b):
        return 0.0
    gaps = np.abs(a.boxes[:, None] - b.boxes[None]).max(axis=2) / side  # (N, M)
    gaps = np.maximum(gaps, np.abs(a.scores[:, None] - b.scores[None]))
    if a.landmarks is not None and b.landmarks is not None:
        points = np.abs(a.landmarks[:, None] - b.landmarks[None]).max(axis=(2, 3)) / side
        gaps = np.maximum(gaps, points)
    nearest = [np.sort(gaps.min(axis=axis))[::-1] for axis in (0, 1)]
    return float(max(each[min(free, len(each) - 1)] for each in nearest))
