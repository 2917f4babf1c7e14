"""A single-stage detector at work: one pass over the whole image, then non-maximum suppression.

Source: `test_widerface.py` of Pytorch_Retinaface and `wider_test.py` of S3FD for the numbers of boxes before and after
suppression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..nms import nms
from ..runtimes import Runtime
from ..scoring import logit, sigmoid
from ..types import Faces, ImageSize
from . import Spec
from .decoders import Decoder, Outputs

__all__ = ["SingleStage", "pad", "select"]

CONFIDENT = 0.0  # logit of a score of 0.5


@dataclass
class SingleStage:
    """Stage 1, or a detector alone: a net over the image as it is, neither scaled nor squeezed.

    runtime    computes the net.             spec  of the detector.
    threshold  lowest score of a face, 0 to 1.
    pre_nms    boxes that go into NMS, best first; at most `max_faces` come out. Both limit doubtful faces, which a low
               threshold lets through: of what scores CONFIDENT or more nothing is cut, or a crowd would lose faces
               without a word.
    """

    runtime: Runtime
    spec: Spec
    threshold: float = 0.5
    pre_nms: int = 5000
    max_faces: int = 750

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise SettingsError(f"threshold is {self.threshold}; expected a number from 0 to 1")

    def __call__(self, image: NDArray[np.uint8]) -> Faces:
        """Faces in image (H, W, 3) uint8 RGB, by falling score; boxes may reach out of the image."""
        decoder = self.spec.decoder
        if not image.size:
            return Faces.empty("landmarks" in decoder.names)
        padded = pad(image, self.spec.multiple, self.spec.padding)
        size = ImageSize(*padded.shape[:2])
        outputs = self.runtime(padded)
        return select(decoder, outputs, size, self.threshold, self.spec.nms_iou, self.pre_nms, self.max_faces)


def pad(image: NDArray[np.uint8], multiple: int, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Image (H, W, 3) extended at its right and lower edge with a colour, to sides that are multiples of `multiple`."""
    height, width = image.shape[:2]
    shape = (-(-height // multiple) * multiple, -(-width // multiple) * multiple, 3)
    if shape == image.shape:
        return image
    extended = np.empty(shape, np.uint8)
    extended[:height, :width] = image
    extended[height:] = extended[:height, width:] = np.array(colour, np.uint8)
    return extended


def select(
    decoder: Decoder, outputs: Outputs, size: ImageSize, threshold: float, nms_iou: float, pre_nms: int, max_faces: int
) -> Faces:
    """Faces in the outputs of a net for an input of this size, by falling score.

    Of the boxes that score at least `threshold` the `pre_nms` best go through NMS at `nms_iou`; at most `max_faces`
    come out. What is CONFIDENT is never cut. Of equal scores the earlier goes first. Nothing is decoded that is not
    looked at.
    """
    logits = decoder.logits(outputs)
    rows = np.flatnonzero(logits >= logit(threshold))
    confident = int((logits[rows] >= CONFIDENT).sum())
    rows = rows[np.argsort(-logits[rows], kind="stable")[: max(pre_nms, confident)]]
    boxes = decoder.boxes(outputs, size, rows)
    chosen = nms(boxes, logits[rows], nms_iou, limit=max(max_faces, confident))
    chosen = chosen[: max(max_faces, int((logits[rows[chosen]] >= CONFIDENT).sum()))]
    rows = rows[chosen]
    return Faces(boxes[chosen], sigmoid(logits[rows]), decoder.landmarks(outputs, size, rows))
