"""A single-stage detector at work: one pass over the whole image, then non-maximum suppression.

Source: `test_widerface.py` of Pytorch_Retinaface and `wider_test.py` of S3FD for the numbers of boxes kept.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from ..nets import to_input
from ..nms import nms
from ..types import Faces
from .anchors import Layout, anchors, decode_box_codes, decode_landmark_codes
from .blocks import ProposerOutput

__all__ = ["AnchorProposer", "select"]

_anchors = functools.lru_cache(maxsize=8)(anchors)


def _logit(probability: float) -> float:
    if probability <= 0:
        return -math.inf
    return math.inf if probability >= 1 else math.log(probability / (1 - probability))


@dataclass
class AnchorProposer:
    """Stage 1, or a detector alone: an anchor-based net over the image as it is.

    net        with a `layout` and a `scaling`, that returns a ProposerOutput.
    threshold  least score of a face, 0 to 1.    overlap  IoU above which the lower of two boxes goes.
    most       boxes that go into NMS, best first; `kept` of them may come out.
    multiple   of which the sides of an input are made; at 32 every map is a half of the one before, 1 leaves them.

    The image is neither scaled nor squeezed. It is extended at its right and lower edge, with the mean colour, which is
    0 after scaling, like what convolutions see beyond the other edges.
    """

    net: nn.Module
    threshold: float = 0.5
    device: str = "cpu"
    overlap: float = 0.4
    most: int = 5000
    kept: int = 750
    multiple: int = 32

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}; expected a number from 0 to 1")

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> Faces:
        """Faces in image (H, W, 3) uint8 RGB, by falling score; boxes may reach out of the image."""
        x = to_input(image[None], self.device, self.net.scaling)  # type: ignore[arg-type]
        height, width = (-(-side // self.multiple) * self.multiple for side in image.shape[:2])
        output = self.net(functional.pad(x, (0, width - x.shape[3], 0, height - x.shape[2])))
        layout: Layout = self.net.layout  # type: ignore[assignment]
        return select(output, _anchors(height, width, layout), self.threshold, self.overlap, self.most, self.kept)


def select(
    output: ProposerOutput, anchor: NDArray[np.float32], threshold: float, overlap: float, most: int, kept: int
) -> Faces:
    """Faces in the output for one image (N = 1) with anchors (A, 4), by falling score.

    Of the boxes with at least `threshold` the `most` best go through NMS at IoU `overlap`; at most `kept` come out.
    """
    logits = (output.class_logits[0, :, 1] - output.class_logits[0, :, 0]).cpu().numpy()
    rows = np.flatnonzero(logits >= _logit(threshold))
    rows = rows[np.argsort(-logits[rows], kind="stable")[:most]]
    boxes = decode_box_codes(anchor[rows], output.box_codes[0].cpu().numpy()[rows])
    chosen = nms(boxes, logits[rows], overlap, limit=kept)
    scores = (1 / (1 + np.exp(-logits[rows[chosen]].astype(np.float64)))).astype(np.float32)
    points = None
    if output.landmark_codes is not None:
        codes = output.landmark_codes[0].cpu().numpy()[rows[chosen]]
        points = decode_landmark_codes(anchor[rows[chosen]], codes)
    return Faces(boxes[chosen], scores, points)
