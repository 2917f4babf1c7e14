"""A single-stage detector at work: one pass over the whole image, then non-maximum suppression.

Source: `test_widerface.py` of Pytorch_Retinaface and `wider_test.py` of S3FD for the numbers of boxes kept.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..nms import nms
from ..runtimes import AnchorValues, Runtime
from ..scoring import logit, sigmoid
from ..types import Faces
from ..weights import MEAN_COLOUR
from .anchors import anchors, decode_box_codes, decode_landmark_codes

__all__ = ["AnchorProposer", "select"]

_anchors = functools.lru_cache(maxsize=8)(anchors)


@dataclass
class AnchorProposer:
    """Stage 1, or a detector alone: an anchor-based net over the image as it is.

    runtime    what computes the net.            threshold  least score of a face, 0 to 1.
    overlap    IoU above which the lower of two boxes goes.
    most       boxes that go into NMS, best first; `kept` of them may come out.
    multiple   of which the sides of an input are made; at 32 every map is a half of the one before, 1 leaves them.

    The image is neither scaled nor squeezed. It is extended at its right and lower edge, with the mean colour, which is
    0 after scaling, like what convolutions see beyond the other edges.
    """

    runtime: Runtime
    threshold: float = 0.5
    overlap: float = 0.4
    most: int = 5000
    kept: int = 750
    multiple: int = 32

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise SettingsError(f"threshold is {self.threshold}; expected a number from 0 to 1")

    def __call__(self, image: NDArray[np.uint8]) -> Faces:
        """Faces in image (H, W, 3) uint8 RGB, by falling score; boxes may reach out of the image."""
        extended = _extend(image, self.multiple)
        anchor = _anchors(*extended.shape[:2], self.runtime.layout)
        return select(self.runtime(extended), anchor, self.threshold, self.overlap, self.most, self.kept)


def _extend(image: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    shape = (-(-height // multiple) * multiple, -(-width // multiple) * multiple, 3)
    if shape == image.shape:
        return image
    extended = np.empty(shape, np.uint8)
    extended[:height, :width] = image
    extended[height:] = extended[:height, width:] = np.array(MEAN_COLOUR[0], np.uint8)
    return extended


def select(
    values: AnchorValues, anchor: NDArray[np.float32], threshold: float, overlap: float, most: int, kept: int
) -> Faces:
    """Faces in what a net says of anchors (A, 4), by falling score.

    Of the boxes with at least `threshold` the `most` best go through NMS at IoU `overlap`; at most `kept` come out.
    """
    logits = values.face_logits
    rows = np.flatnonzero(logits >= logit(threshold))
    rows = rows[np.argsort(-logits[rows], kind="stable")[:most]]
    boxes = decode_box_codes(anchor[rows], values.box_codes[rows])
    chosen = nms(boxes, logits[rows], overlap, limit=kept)
    rows = rows[chosen]
    scores, codes = sigmoid(logits[rows]), values.landmark_codes
    return Faces(boxes[chosen], scores, None if codes is None else decode_landmark_codes(anchor[rows], codes[rows]))
