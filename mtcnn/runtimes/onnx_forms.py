"""Nets in ONNX files of other projects, recognised by their outputs: SCRFD's and YuNet's.

Neither names itself in the file. InsightFace's SCRFD has outputs named by numbers: scores from 0 to 1, distances to the
sides of a box and, in some files, points, each for strides 8, 16 and 32 and two anchors a cell. Its input is RGB,
(x - 127.5) / 128. YuNet, as libfacedetection.train and OpenCV publish it, has outputs cls_8, obj_8, bbox_8, kps_8 and
so on, scores from 0 to 1, one prediction a cell. Its input is BGR from 0 to 255.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..detectors import DETECTORS
from ..errors import CheckpointError
from ..scoring import logits_of
from ..types import ImageSize
from .onnx import OnnxSession, planes

__all__ = ["OtherRuntime", "input_size"]

Array = NDArray[Any]
Outputs = Mapping[str, Array]

STRIDES = (8, 16, 32)
_PROBE = ImageSize(64, 96)  # a size for which each kind and stride has its own shape
_EXPECTED = "a file that mtcnn export wrote, or SCRFD or YuNet as their authors export them"
_SCRFD = {"score": 1, "bbox": 4, "kps": 10}  # values of a row
_YUNET = {"class_logits": "cls", "object_logits": "obj", "boxes": "bbox", "landmarks": "kps"}


class FileForm(NamedTuple):
    """How a file is fed and read.

    detector  the entry of DETECTORS whose decoder, padding and NMS it shares.
    bgr       whether the input is BGR.
    arranged  (outputs of the file without a batch axis, size of the input) -> those that the decoder reads, or None if
              the file has another form.
    """

    detector: str
    bgr: bool
    arranged: Callable[[Outputs, ImageSize], dict[str, Array] | None]


def input_size(session: OnnxSession) -> ImageSize | None:
    """The only image size that a net's file takes, or None if it takes any. Raises CheckpointError for a file that does
    not take one image, float32 (1, 3, H, W)."""
    inputs = session.session.get_inputs()
    shape = list(inputs[0].shape) if inputs else []
    sides = [side for side in shape[2:] if isinstance(side, int)]
    good = len(inputs) == 1 and inputs[0].type == "tensor(float)" and len(shape) == 4 and len(sides) in (0, 2)
    if not good or (isinstance(shape[1], int) and shape[1] != 3):
        given = ", ".join(f"{each.name} {each.type.removeprefix('tensor')} {each.shape}" for each in inputs)
        raise CheckpointError(f"{session.path} takes {given or 'nothing'}; expected {_EXPECTED}")
    if isinstance(shape[0], int) and shape[0] != 1:
        raise CheckpointError(
            f"{session.path} takes {shape[0]} images at a time; expected 1, as exported without `batch`"
        )
    return ImageSize(*sides) if sides else None


class OtherRuntime(OnnxSession):
    """A net that another project exported.

    Raises CheckpointError for a file of any other form.
    """

    def __init__(self, path: str | PathLike[str], threads: int | None = None) -> None:
        super().__init__(path, threads)
        size = input_size(self) or _PROBE
        self.input = self.session.get_inputs()[0].name
        try:
            found = self._computed(np.zeros((*size, 3), np.uint8), False, (0.0, 1.0))
        except Exception as error:  # onnxruntime's own types
            reason = " ".join(str(error).split())[:120]
            raise CheckpointError(f"{path} fails on an image of {size}: {reason}; expected {_EXPECTED}") from None
        self.name = next((name for name, form in FORMS.items() if form.arranged(found, size) is not None), "")
        if not self.name:
            shapes = ", ".join(f"{name} {list(output.shape)}" for name, output in list(found.items())[:12])
            shown = f"for {size.height} x {size.width} pixels it gives {shapes}"
            raise CheckpointError(f"{path} is no detector of a known form; {shown}; expected {_EXPECTED}")
        self.detector = FORMS[self.name].detector
        self.has_landmarks = "landmarks" in (FORMS[self.name].arranged(found, size) or {})

    def _computed(self, image: Array, bgr: bool, scaling: tuple[Any, float]) -> dict[str, Array]:
        pixels = planes(image[..., ::-1] if bgr else image, *scaling)
        return {name: _alone(output) for name, output in self.run({self.input: pixels}).items()}

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, Array]:
        """See `runtimes.Runtime`."""
        form, size = FORMS[self.name], ImageSize(*image.shape[:2])
        found = form.arranged(self._computed(image, form.bgr, DETECTORS[form.detector].scaling), size)
        if found is None:
            raise CheckpointError(f"{self.path} gives outputs of another form for {size}; expected {_EXPECTED}")
        return found


def _alone(output: Array) -> Array:
    """An output without its batch axis, which some files have: (1, A, values) or (A, values)."""
    return output[0] if output.ndim == 3 and len(output) == 1 else output


def _cells(size: ImageSize, stride: int) -> int:
    return -(-size.height // stride) * -(-size.width // stride)


def _scrfd(outputs: Outputs, size: ImageSize) -> dict[str, Array] | None:
    wanted = {(2 * _cells(size, stride), values): f"{kind}_{stride}" for kind, values in _SCRFD.items()
              for stride in STRIDES}  # fmt: skip
    found = {wanted.get(output.shape): output for output in outputs.values()}
    names = [name for name in wanted.values() if name in found]
    if None in found or len(names) != len(outputs) or len(names) not in (6, 9) or not _scores(names, found):
        return None
    return dict(DETECTORS["scrfd-0.5g"].decoder.from_file({name: found[name] for name in names}))


def _yunet(outputs: Outputs, size: ImageSize) -> dict[str, Array] | None:
    values = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    wanted = {f"{kind}_{stride}": (_cells(size, stride), count) for kind, count in values.items() for stride in STRIDES}
    if {name: output.shape for name, output in outputs.items()} != wanted or not _scores(
        [name for name in wanted if name.startswith(("cls", "obj"))], outputs
    ):
        return None

    def joined(kind: str) -> Array:
        every = np.concatenate([outputs[f"{kind}_{stride}"] for stride in STRIDES])
        return logits_of(every).astype(np.float32) if values[kind] == 1 else every

    return {name: joined(kind) for name, kind in _YUNET.items()}


def _scores(names: Sequence[str], outputs: Mapping[Any, Array]) -> bool:
    """Whether the scores are from 0 to 1, not logits."""
    every = [outputs[name] for name in names if not name.startswith(("bbox", "kps"))]
    return all(values.min(initial=0) >= 0 and values.max(initial=0) <= 1 for values in every)


FORMS = {"SCRFD": FileForm("scrfd-0.5g", False, _scrfd), "YuNet": FileForm("yunet-n", True, _yunet)}
"""Forms of other projects by name."""
