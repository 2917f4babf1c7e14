"""Runs a single-stage detector: the net on the image at one or more sizes, then non-maximum suppression.

Source: `test_widerface.py` of Pytorch_Retinaface and `wider_test.py` of S3FD for the numbers of boxes before and after
NMS.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..candidates import Candidates, Step
from ..engine.threads import Aside
from ..errors import SettingsError
from ..nms import nms
from ..resample import resample
from ..runtimes import Runtime, padding_of, sparse_outputs
from ..scoring import logit
from ..settings import check
from ..types import Faces, ImageSize
from . import Spec
from .decoders import Decoder, Outputs
from .looks import ENLARGE, MAX_SIDE, View, merge, views

__all__ = ["SingleStage", "pad", "select"]

CONFIDENT = 0.0  # logit of a score of 0.5
KEPT = 1 << 25  # maximum bytes of a padded image that a thread keeps for its next one: a 4K image

SMALLER = 0.09  # time of the smaller looks and of resampling over that of the first, which has sixteen times the pixels

_local = threading.local()


_numbers_of_any_size = partial(np.errstate, over="ignore", invalid="ignore")  # which a net of odd weights may give


@dataclass
class SingleStage:
    """A single-stage detector, alone or as stage 1 of the cascade.

    runtime    executes the net.             spec  of the detector.
    threshold  minimum score of a face, 0 to 1.
    pre_nms, max_faces  maximum number of boxes before and after NMS, best first. Both only limit doubtful faces, below
               CONFIDENT, which a low threshold lets through; a crowd would otherwise lose faces silently.
    max_side   images with a longer side are shrunk to this, pixels. None: never.
    coarse     process images with room for faces larger than the largest anchor at smaller sizes too, see
               `looks.views`.
    enlarge    times as long as the image's are the sides at which it is processed, up to `max_side`.
    """

    runtime: Runtime
    spec: Spec
    threshold: float = 0.5
    pre_nms: int = 5000
    max_faces: int = 750
    max_side: float | None = None
    coarse: bool = True
    enlarge: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise SettingsError(f"threshold is {self.threshold}; expected a number from 0 to 1")
        if self.max_side is not None:
            check("max_side", self.max_side, MAX_SIDE)
        check("enlarge", self.enlarge, ENLARGE)

    def __call__(self, image: NDArray[np.uint8]) -> Faces:
        """Faces in image (H, W, 3) uint8 RGB, by falling score; boxes may extend beyond the image."""
        with _numbers_of_any_size():
            return self._candidates(image, False).faces()

    def candidates(self, image: NDArray[np.uint8]) -> Candidates:
        """All boxes that the net predicts, and the steps that lead to the result of a call."""
        return self._candidates(image, True)

    def _candidates(self, image: NDArray[np.uint8], every: bool) -> Candidates:
        """`every` box, or only those that go into NMS."""
        decoder = self.spec.decoder
        if not image.size:
            return _nothing("landmarks" in decoder.names and getattr(self.runtime, "has_landmarks", True))
        size = ImageSize(*image.shape[:2])
        seen = views(size, decoder.max_face, self.max_side, self.coarse, self.enlarge)
        if len(seen) == 1:
            return next(self._views(image, seen, every))

        def settled(some: Sequence[View]) -> list[Candidates]:
            with _numbers_of_any_size():  # in a thread of its own
                return [each if every else each.settled() for each in self._views(image, some, every)]

        if seen[1].look == 0:  # tiles, one at a time: they bound the memory
            return merge(settled(seen), seen, size, self.spec.nms_iou)
        # Smaller looks have few rows for threads to share, so that one thread does them while others do the first.
        with Aside(lambda: settled(seen[1:]), SMALLER) as smaller:
            found = settled(seen[:1])
        return merge(found + smaller.result(), seen, size, self.spec.nms_iou)

    def _views(self, image: NDArray[np.uint8], seen: Sequence[View], every: bool) -> Iterator[Candidates]:
        """The candidates of some views, in pixels of the image. They may read the maps of the net until the next."""
        look, size = image, ImageSize(*image.shape[:2])
        for view in seen:
            if look.shape[:2] != view.size:
                look = image if view.size == size else resample(image, *view.size)
            yield view.in_photo(self._look(view.of(look), every), size)

    def _look(self, image: NDArray[np.uint8], every: bool) -> Candidates:
        multiple, colour = self.spec.multiple, self.spec.padding
        size = ImageSize(*(-(-side // multiple) * multiple for side in image.shape[:2]))
        if padding_of(self.runtime) != colour:
            image = pad(image, multiple, colour, _room)
        outputs = self.runtime(image) if every else sparse_outputs(self.runtime, image)
        return select(
            self.spec.decoder, outputs, size, self.threshold, self.spec.nms_iou, self.pre_nms, self.max_faces, every
        )


def select(
    decoder: Decoder,
    outputs: Outputs,
    size: ImageSize,
    threshold: float,
    nms_iou: float,
    pre_nms: int,
    max_faces: int,
    every: bool = False,
) -> Candidates:
    """Select faces from the outputs of a net for an input of this size.

    The `pre_nms` best boxes with scores of at least `threshold` go through NMS at `nms_iou`; at most `max_faces`
    remain. CONFIDENT boxes are never cut. Of equal scores the earlier comes first. Candidates are `every` box, or only
    those that go into NMS, so that others need no decoding.
    """
    above, logits = decoder.passing(outputs, logit(threshold))
    confident = int(np.count_nonzero(logits >= CONFIDENT))
    order = np.argsort(-logits, kind="stable")[: max(pre_nms, confident)]
    rows, logits = above[order], logits[order]
    passed = looked = np.arange(len(rows))
    if every:
        passed, looked, logits = above, rows, decoder.logits(outputs)
        rows = np.arange(len(logits))
    boxes = decoder.boxes(outputs, size, rows)
    left = looked[nms(boxes[looked], logits[looked], nms_iou, limit=max(max_faces, confident))]
    left = left[: max(max_faces, int(np.count_nonzero(logits[left] >= CONFIDENT)))]
    steps = (
        Step("threshold", passed, len(rows), threshold),
        Step("the best for NMS", looked, len(rows), max(pre_nms, confident)),
        Step("NMS", left, len(rows), nms_iou, "boxes"),
    )

    def landmarks(index: NDArray[np.int64]) -> NDArray[np.float32] | None:
        if "landmarks" not in outputs:  # the net has none, or they were not trained
            return None
        return decoder.landmarks(outputs, size, rows[index])

    return Candidates(boxes, boxes, logits, None, steps, landmarks)


def _nothing(has_landmarks: bool) -> Candidates:
    none, index = np.zeros((0, 4)), np.zeros(0, np.int64)
    points = np.zeros((0, 5, 2)) if has_landmarks else None
    return Candidates(none, none, np.zeros(0), None, (Step("threshold", index, 0),), lambda _: points)


def pad(
    image: NDArray[np.uint8],
    multiple: int,
    colour: tuple[int, int, int],
    room: Callable[[tuple[int, ...]], NDArray[np.uint8]] | None = None,
) -> NDArray[np.uint8]:
    """Pad image (H, W, 3) at the right and bottom with a colour, to sides that are multiples of `multiple`.

    room  makes the array for the result, by its shape; None: a new one.
    """
    height, width = image.shape[:2]
    shape = (-(-height // multiple) * multiple, -(-width // multiple) * multiple, 3)
    if shape == image.shape:
        return image
    extended = np.empty(shape, np.uint8) if room is None else room(shape)
    rows, line = extended.reshape(shape[0], 3 * shape[1]), np.tile(np.array(colour, np.uint8), shape[1])
    rows[:height, : 3 * width] = image.reshape(height, 3 * width)
    rows[height:] = line  # whole rows: NumPy is slow with pixels of three values
    rows[:height, 3 * width :] = line[3 * width :]
    return extended


def _room(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An array that is valid until this thread asks again: the system must clear the memory of new ones."""
    found: NDArray[np.uint8] | None = getattr(_local, "room", None)
    size = math.prod(shape)
    if found is None or found.size < size:
        found = np.empty(size, np.uint8)
        _local.room = found if size <= KEPT else None
    return found[:size].reshape(shape)
