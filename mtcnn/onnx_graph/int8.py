"""A net in int8: post-training static quantisation by onnxruntime, with ranges from photos.

Weights are int8, a scale for each output channel; activations uint8. Convolutions, and what lies between them, are
quantised; the heads and what follows them are not: an error of a code is an error of a box.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..boxes import iou
from ..detectors import Spec
from ..detectors.single_stage import pad
from ..errors import ImageError, MtcnnError, SettingsError
from ..images import read_image
from ..images.formats import SUFFIXES
from ..resample import resample
from ..stream.folders import PassedOver, search
from ..types import Faces
from .exported import needed

__all__ = ["Agreement", "CalibrationPhotos", "agreement", "quantised"]

Array = NDArray[Any]
Finds = Callable[[NDArray[np.uint8]], Faces]

CALIBRATED = COMPARED = 64  # photos, at most
SIDE = 640  # longer side of a photo that is calibrated with or compared, pixels
SAME = 0.5  # IoU from which two faces are the same

# Between two convolutions that are quantised, these are quantised as well, so that no values go back and forth.
OPERATORS = ["Conv", "Relu", "LeakyRelu", "Clip", "Add", "MaxPool", "Resize", "Concat"]


@dataclass(frozen=True)
class Agreement:
    """How the faces of a net in int8 compare with those of the same net in float32.

    calibrated, photos  how many photos the ranges are from, and how many were compared.
    faces       in float32.
    found       of these, in int8, at an IoU of at least 0.5.
    more        faces that only int8 has.
    overlap, score  mean IoU, and mean difference of scores, of the faces that both have; NaN if there are none.
    """

    calibrated: int
    photos: int
    faces: int
    found: int
    more: int
    overlap: float
    score: float

    def __str__(self) -> str:
        line = f"int8: {self.found} of the {self.faces} faces of float32 in {self.photos} photos, {self.more} others"
        means = f"mean IoU {self.overlap:.3f}, scores differ by {self.score:.3f}" if self.found else "nothing in common"
        return f"{line}; {means}; calibrated on {self.calibrated} photos"


class CalibrationPhotos:
    """Photos of a folder, some for calibration, and others for comparison where there are two or more.

    Raises MtcnnError if there are none that can be read.
    """

    def __init__(self, folder: Path, spec: Spec, shape: tuple[int, int] | None = None) -> None:
        if not folder.is_dir():
            raise MtcnnError(f"{folder} is no folder; expected one with photos for int8, a hundred or so")
        paths = search(folder, SUFFIXES, [], PassedOver())
        step = max(1, len(paths) // (CALIBRATED + COMPARED))
        self.spec, self.shape = spec, shape
        self.calibrated = self._read(paths[::step][::2])
        self.compared = self._read(paths[::step][1::2]) or self.calibrated
        if not self.calibrated:
            raise MtcnnError(f"{folder} has no photos that can be read; expected a hundred or so for int8")

    def _read(self, paths: Sequence[Path]) -> list[NDArray[np.uint8]]:
        found: list[NDArray[np.uint8]] = []
        for path in paths:
            try:
                image = read_image(path)
            except ImageError:
                continue
            if image.size and len(found) < CALIBRATED:
                found.append(self._fitted(image))
        return found

    def _fitted(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Shrunk to SIDE, or to the one shape of a file, to which it is padded."""
        limits = np.array(self.shape or (SIDE, SIDE), np.float64)
        factor = min(1.0, float((limits / image.shape[:2]).min()))
        height, width = (max(1, round(length * factor)) for length in image.shape[:2])
        small = image if factor == 1 else resample(image, height, width)
        if self.shape is None:
            return small
        whole = np.full((*self.shape, 3), self.spec.padding, np.uint8)
        whole[:height, :width] = small
        return whole

    def inputs(self) -> Iterator[NDArray[np.float32]]:
        """Inputs (1, 3, H, W) of the net, from 0 to 255."""
        for image in self.calibrated:
            padded = pad(image, self.spec.multiple, self.spec.padding)
            yield np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32)  # (H, W, 3) -> (1, 3, H, W)


def quantised(content: bytes, photos: CalibrationPhotos, prepare: Callable[[Array], Array] | None = None) -> bytes:
    """The ONNX file of a net in int8.

    prepare  from images from 0 to 255 to the input, if the file expects others.
    """
    quantization, onnx = needed("onnxruntime.quantization"), needed("onnx")

    model = onnx.load_from_string(content)
    with TemporaryDirectory() as folder, _no_advice():
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(content)
        quantization.quantize_static(
            str(before), str(after), _CalibrationReader(photos.inputs(), prepare),
            quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=OPERATORS, nodes_to_exclude=_after_the_last(model.graph),
        )  # fmt: skip
        made = onnx.load(str(after))
    if not any(node.op_type == "QuantizeLinear" for node in made.graph.node):
        raise SettingsError("int8 is asked for; expected a net with convolutions, and this has none to quantise")
    onnx.helper.set_model_props(made, {each.key: each.value for each in model.metadata_props})
    return made.SerializeToString()  # type: ignore[no-any-return]


class _CalibrationReader:
    """Inputs, as `onnxruntime.quantization.CalibrationDataReader` gives them."""

    def __init__(self, images: Iterator[Array], prepare: Callable[[Array], Array] | None) -> None:
        self.images, self.prepare = images, prepare

    def get_next(self) -> dict[str, Array] | None:
        x = next(self.images, None)
        return None if x is None else {"images": x if self.prepare is None else self.prepare(x)}


@contextmanager
def _no_advice() -> Iterator[None]:
    """Without the advice that the library logs about its own preprocessing."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _after_the_last(graph: Any) -> list[str]:
    """Names of the nodes that no convolution follows: the heads, and what joins their outputs."""
    leads: set[str] = set()  # values that lead to a convolution
    found = []
    for node in reversed(graph.node):  # in topological order
        if not leads & set(node.output):
            found.append(node.name)
            if node.op_type != "Conv":
                continue
        leads |= set(node.input)
    return found


def agreement(photos: CalibrationPhotos, float32: Finds, int8: Finds) -> Agreement:
    """Compare two detectors on the photos."""
    faces = found = more = 0
    overlaps: list[float] = []
    scores: list[float] = []
    for image in photos.compared:
        ours, theirs = float32(image), int8(image)
        faces, more = faces + len(ours), more + len(theirs)
        overlap = iou(ours.boxes, theirs.boxes)  # (N, M)
        while overlap.size and overlap.max() >= SAME:  # the pair with the largest overlap first
            i, j = np.unravel_index(overlap.argmax(), overlap.shape)
            overlaps.append(float(overlap[i, j]))
            scores.append(abs(float(ours.scores[i]) - float(theirs.scores[j])))
            overlap[i], overlap[:, j] = 0, 0
            found, more = found + 1, more - 1
    means = [float(np.mean(values)) if values else float("nan") for values in (overlaps, scores)]
    return Agreement(len(photos.calibrated), len(photos.compared), faces, found, more, *means)
