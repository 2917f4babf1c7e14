"""The cascade's later stages: RNet and ONet on crops of the previous stage's faces.

Source: Zhang et al. 2016, section II, and `detect_face.m` of the authors' code for the order of the steps. Boxes
are real numbers throughout; nothing is truncated to whole pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import boxes as box
from .candidates import Candidates, Step
from .crops import cut
from .engine.threads import spread, threads
from .nms import nms
from .runtimes.cascade import Net, Refined, crop_runner
from .scoring import logit, logits_of, scoring_of, sigmoid
from .second_pass import OF_CNET, OF_ONET, second_pass
from .types import Faces
from .weights import SECOND, SIDES, SIZES

__all__ = ["NetRefiner", "touches"]

Array = NDArray[Any]

BATCH = 64  # crops per batch, small enough for the CPU cache
DEVICE_BATCH = 1024  # crops per batch on a device


@dataclass
class NetRefiner:
    """Stage 2 or 3: RNet or ONet on square crops of the candidates.

    RNet: NMS at `nms_iou` of the squares around the input boxes, then box decoding; landmarks of the input faces are
    passed on.
    ONet: landmarks and box decoding, then NMS at `nms_iou` with intersection over the smaller area, which removes a
    box inside another; then a second pass over what is left, if its `scoring` asks for one or there is a net for it,
    `second`, and NMS again. If it was trained without landmarks, those of the input faces are passed on.

    Scores follow the net's `scoring`, which may add the input scores. `behind_detector`: the first stage is a
    single-stage detector instead of PNet, whose boxes `scoring` may keep in part. `engine`: "openvino", or None for
    compiled code on a CPU.
    """

    net: Net
    name: str
    threshold: float = 0.7
    device: str = "cpu"
    behind_detector: bool = False
    engine: str | None = None
    nms_iou: float = 0.7
    second: Net | None = None

    def __call__(self, image: NDArray[np.uint8], faces: Faces) -> Faces:
        """The remaining faces by descending score; with landmarks if the net or the input faces have them."""
        found = self.candidates(image, faces).faces()
        again = self.name == "onet" and (self.second is not None or scoring_of(self.net).second)
        return self.seen_again(image, found) if again else found

    def candidates(self, image: NDArray[np.uint8], faces: Faces) -> Candidates:
        """The squares around `faces`, with the steps from them to the faces that the first pass leaves."""
        squares = box.square(faces.boxes.astype(np.float64), scoring_of(self.net).context)
        inside = np.flatnonzero(touches(squares, *image.shape[:2]))
        own, offsets, points = self.raw(image, squares[inside])
        logits = self.fused(own, faces.scores[inside])
        offsets = self.shared(offsets, squares[inside], faces.boxes[inside])
        least = logit(self.threshold) - (0 if self.second is None else scoring_of(self.second).margin)
        chosen, last = np.flatnonzero(logits > least), points is not None
        if last:
            rivals = box.decode_offsets(squares[inside[chosen]], offsets[chosen])
        else:  # without the context of the crops: wider squares overlap more
            rivals = box.square(faces.boxes[inside[chosen]].astype(np.float64))
        left = chosen[nms(rivals, logits[chosen], self.nms_iou, overlap="ios" if last else "iou")]
        count = len(squares)
        steps = (
            Step("image border", inside, count),
            Step(
                "threshold",
                inside[chosen],
                count,
                self.threshold if self.second is None else float(sigmoid(np.asarray(least))),
            ),
            Step("NMS", inside[left], count, self.nms_iou, "moved" if last else "squares", smaller=last),
        )

        def landmarks(index: Array) -> Array | None:
            if points is None or not getattr(self.net, "has_landmarks", True):
                return None if faces.landmarks is None else faces.landmarks[index]
            return box.decode_landmarks(squares[index], points[np.searchsorted(inside, index)])

        values, moves = np.full(count, -np.inf), np.zeros((count, 4))
        values[inside], moves[inside] = logits, offsets
        return Candidates(squares, faces.boxes, values, moves, steps, landmarks)

    def seen_again(self, image: NDArray[np.uint8], faces: Faces) -> Faces:
        """The faces that the second pass leaves of those of the first, by descending score."""
        faces = faces[touches(faces.boxes, *image.shape[:2])]
        if not len(faces):
            return faces
        own, boxes = self.second is not None, faces.boxes.astype(np.float64)
        net = self.net if self.second is None else self.second
        run, context = partial(self.raw, image, net=net) if own else partial(self.raw, image), scoring_of(net).context
        found = second_pass(run, boxes, context, OF_CNET if own else OF_ONET)
        learned = all(getattr(each, "has_landmarks", True) for each in (self.net, net))
        landmarks = found.landmarks if learned else faces.landmarks
        if self.behind_detector and not own:
            return Faces(faces.boxes, faces.scores, landmarks)
        logits, moved = self.passed(faces.scores, found.logits), found.boxes
        if self.behind_detector:
            share = scoring_of(net).detector_offsets
            moved = share * moved + (1 - share) * boxes
        chosen = np.flatnonzero(logits > logit(self.threshold))
        left = chosen[nms(moved[chosen], logits[chosen], self.nms_iou, overlap="ios")]
        return Faces(moved, sigmoid(logits), landmarks)[left]

    def fused(self, own: NDArray[Any], given: NDArray[Any]) -> NDArray[Any]:
        """Logits (N,) of the scores, from the net's own logits (N,) and the scores (N,) of the previous stage."""
        return scoring_of(self.net).fused(own, given, self.behind_detector)

    def passed(self, first: NDArray[Any], own: NDArray[Any]) -> NDArray[Any]:
        """Logits (N,) of the scores after both passes, from the scores (N,) of the first, and own logits (N,)."""
        if self.second is not None:
            return scoring_of(self.second).fused(own, first, self.behind_detector)
        return scoring_of(self.net).passed(logits_of(first), own)

    def shared(self, offsets: NDArray[Any], squares: NDArray[Any], boxes: NDArray[Any]) -> NDArray[Any]:
        """The offsets (N, 4) that count, from the net's own, for squares (N, 4) around the input boxes (N, 4)."""
        if not self.behind_detector:
            return offsets
        return scoring_of(self.net).shared(offsets, squares, boxes.astype(np.float64))

    def raw(
        self,
        image: NDArray[np.uint8],
        squares: NDArray[Any],
        mirrored: NDArray[np.bool_] | None = None,
        net: Net | None = None,
    ) -> tuple[Any, Any, Any]:
        """The net's own logits (N,), offsets (N, 4) and landmark targets (N, 5, 2) or None for squares (N, 4).

        mirrored  bool (N,): the crops that the net is to see mirrored; its outputs are of what it sees. None: none.
        net       the one of the second pass, instead of the stage's.
        """
        run = crop_runner(self.net if net is None else net, self.device, self.engine)
        side = SIZES[self.name] if net is None else SIDES[SECOND]
        step = min(BATCH, max(-(-len(squares) // threads()), 16)) if self.device == "cpu" else DEVICE_BATCH
        parts = [slice(at, at + step) for at in range(0, len(squares), step)]
        with_points = self.name == "onet"
        found = [Refined(np.zeros(0), np.zeros((0, 4)), np.zeros((0, 5, 2)) if with_points else None)]

        def result(part: slice) -> Refined:
            crops = self.crops(image, squares[part], side)
            if mirrored is not None:
                crops[mirrored[part]] = crops[mirrored[part], :, ::-1]
            return run(crops)

        found += spread(result, parts)
        logits, offsets, points = zip(*found, strict=True)
        return np.concatenate(logits), np.concatenate(offsets), np.concatenate(points) if with_points else None

    def crops(self, image: NDArray[np.uint8], squares: NDArray[Any], size: int) -> NDArray[Any]:
        """float32 (N, size, size, 3), from 0 to 255, of squares (N, 4)."""
        return cut(image, squares, size, exact=True)


def touches(boxes: NDArray[Any], height: int, width: int) -> NDArray[np.bool_]:
    """Which boxes (N, 4) have a positive size and lie at least partly in the image."""
    cut_off = box.clip(boxes, height, width)
    return np.asarray((cut_off[:, 2] > cut_off[:, 0]) & (cut_off[:, 3] > cut_off[:, 1]))
