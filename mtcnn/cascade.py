"""The cascade at work: PNet over a pyramid proposes, RNet and ONet refine.

Source: Zhang et al. 2016, section II, and `detect_face.m` of the authors' code for the order of the steps. Boxes here
stay real numbers throughout; nothing is truncated to whole pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
from numpy.typing import NDArray

from . import boxes as box
from .checkpoint import load_weights, packaged_weights, weights_path
from .crops import cut
from .detector_settings import DetectorSettings
from .detectors.load import load_detector
from .devices import check_device, device_name
from .engine.threads import spread, threads
from .images import Source, is_image, read_image
from .nms import nms
from .pyramid import CELL, STRIDE, Level, level_of, level_sizes, levels, map_size
from .runtimes.cascade import Cells, Net, Refined, crop_runner, map_runner
from .scoring import logit, scoring_of, sigmoid
from .types import Faces, ImageSize, Proposer, Refiner
from .weights import SIZES

if TYPE_CHECKING:
    import torch

__all__ = ["Detector", "NetRefiner", "PNetProposer"]

BATCH = 64  # crops at a time, which then stay in the cache
DEVICE_BATCH = 1024  # crops that go to a device at a time
BAND_CELLS = 1 << 13  # of a map that a thread takes at a time


@dataclass
class PNetProposer:
    """Stage 1: PNet over every level of the pyramid.

    Within a level, NMS at IoU 0.5; across levels at 0.7; then the boxes are moved by their offsets. `per_level` caps
    what one level may propose, best first, so that a loose threshold cannot make NMS quadratic in the pixels.
    """

    net: Net
    min_face: float = 20.0
    scale_factor: float = 0.709
    threshold: float = 0.6
    device: str = "cpu"
    per_level: int = 4000

    def __call__(self, image: NDArray[np.uint8]) -> Faces:
        """Faces (not squared, no landmarks) in image (H, W, 3) uint8, by falling score."""
        found = [self._kept(level, cells) for level, cells in self._looked(image)]
        if not found:
            return Faces.empty()
        boxes, logits, offsets = (np.concatenate(parts) for parts in zip(*found, strict=True))
        kept = nms(boxes, logits, 0.7)
        return Faces(box.decode_offsets(boxes[kept], offsets[kept]), sigmoid(logits[kept]))

    def cells(self, level: NDArray[Any], least: float, rows: slice = slice(None)) -> Cells:
        """The cells of level (H, W, 3) whose logit reaches `least`, in these rows of the map, row by row."""
        first, last, _ = rows.indices(map_size(ImageSize(*level.shape[:2])).height)
        return map_runner(self.net, self.device).cells(level, least, first, last)

    def _looked(self, image: NDArray[np.uint8]) -> Iterator[tuple[Level, Cells]]:
        """The levels of the pyramid, and their cells that pass."""
        least = logit(self.threshold)  # maps need no sigmoid to be thresholded
        sizes = level_sizes(ImageSize(*image.shape[:2]), self.min_face, self.scale_factor)
        if self.device != "cpu" and sizes:
            pyramid, run = spread(partial(level_of, image), sizes), cast(Any, map_runner(self.net, self.device))
            yield from zip(pyramid, run.pyramid([level.image for level in pyramid], least), strict=True)
        elif threads() == 1:  # one level at a time is less to hold
            for level in levels(image, self.min_face, self.scale_factor):
                yield level, self.cells(level.image, least)
        else:
            pyramid = spread(partial(level_of, image), sizes)
            parts = [(index, rows) for index, size in enumerate(sizes) for rows in _bands(size)]
            found = spread(lambda part: self.cells(pyramid[part[0]].image, least, part[1]), parts)
            for index, level in enumerate(pyramid):
                mine = [cells for (number, _), cells in zip(parts, found, strict=True) if number == index]
                yield level, Cells(*(np.concatenate(values) for values in zip(*mine, strict=True)))

    def _kept(self, level: Level, cells: Cells) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Boxes (N, 4) in image pixels, logits (N,) and offsets (N, 4) of the cells that NMS within a level keeps."""
        corner = STRIDE * np.stack([cells.columns, cells.rows], axis=1)
        boxes = np.concatenate([corner, corner + CELL], axis=1).astype(np.float64)
        kept = nms(boxes, cells.logits, 0.5, limit=self.per_level)
        return boxes[kept] * np.array([level.step_x, level.step_y] * 2), cells.logits[kept], cells.offsets[kept]


def _bands(size: ImageSize) -> list[slice]:
    """Rows of the map of a level of this size, in parts of about equal work."""
    rows, columns = map_size(size)
    step = max(BAND_CELLS // columns, 16)
    return [slice(row, row + step) for row in range(0, rows, step)]


@dataclass
class NetRefiner:
    """Stage 2 or 3: RNet or ONet over square crops of the candidates.

    RNet: NMS at IoU 0.7, then the boxes move by their offsets; landmarks that the faces came with stay where they are.
    ONet: landmarks on the square, the boxes move, then NMS at 0.7 over the smaller area, which removes a box inside
    another.

    Scores are those of the net's `scoring`, which may count the scores given; `behind_detector` says that a
    single-stage detector began the cascade, and not PNet.
    """

    net: Net
    name: str
    threshold: float = 0.7
    device: str = "cpu"
    behind_detector: bool = False

    def __call__(self, image: NDArray[np.uint8], faces: Faces) -> Faces:
        """The faces that stay, by falling score; with landmarks if the net has them, or the faces given had."""
        squares = box.square(faces.boxes.astype(np.float64))
        inside = _touches(squares, image.shape[0], image.shape[1])
        squares, given = squares[inside], faces[inside]
        own, offsets, points = self.raw(image, squares)
        logits = self.fused(own, given.scores)
        chosen = np.flatnonzero(logits > logit(self.threshold))
        squares, offsets, scores = squares[chosen], offsets[chosen], logits[chosen]
        landmarks = given[chosen].landmarks if points is None else box.decode_landmarks(squares, points[chosen])
        moved = box.decode_offsets(squares, offsets)
        kept = nms(squares, scores, 0.7) if points is None else nms(moved, scores, 0.7, overlap="ios")
        found = Faces(moved, sigmoid(scores), landmarks)
        return found[kept]

    def fused(self, own: NDArray[Any], given: NDArray[Any]) -> NDArray[Any]:
        """Logits (N,) of the scores, of the net's own logits (N,) and the scores (N,) of the stage before."""
        return scoring_of(self.net).fused(own, given, self.behind_detector)

    def raw(self, image: NDArray[np.uint8], squares: NDArray[Any]) -> tuple[Any, Any, Any]:
        """The net's own logits (N,), offsets (N, 4) and landmark targets (N, 5, 2) or None for squares (N, 4)."""
        run = crop_runner(self.net, self.device)
        step = min(BATCH, max(-(-len(squares) // threads()), 16)) if self.device == "cpu" else DEVICE_BATCH
        parts = [squares[at : at + step] for at in range(0, len(squares), step)]
        with_points = self.name == "onet"
        found = [Refined(np.zeros(0), np.zeros((0, 4)), np.zeros((0, 5, 2)) if with_points else None)]
        found += spread(lambda part: run(self.crops(image, part, SIZES[self.name])), parts)
        logits, offsets, points = zip(*found, strict=True)
        return np.concatenate(logits), np.concatenate(offsets), np.concatenate(points) if with_points else None

    def crops(self, image: NDArray[np.uint8], squares: NDArray[Any], size: int) -> NDArray[Any]:
        """float32 (N, size, size, 3), from 0 to 255, of squares (N, 4)."""
        return cut(image, squares, size, exact=True)


def _touches(boxes: NDArray[Any], height: int, width: int) -> NDArray[np.bool_]:
    """Which boxes (N, 4) have a positive size and lie at least partly in the image."""
    cut_off = box.clip(boxes, height, width)
    return np.asarray((cut_off[:, 2] > cut_off[:, 0]) & (cut_off[:, 3] > cut_off[:, 1]))


def _taken(images: Iterable[Source]) -> Iterator[list[Source]]:
    """A few at a time: what makes them may have no end, or make each as it is asked for."""
    source = iter(images)
    while some := list(islice(source, threads())):
        yield some


class Detector:
    """Finds faces: a proposer and refiners behind it.

        faces = Detector().detect("photo.jpg")

    models        folder with models-12 to models-48 and models-full; None takes the weights that ship with the project.
    min_face      smallest face to look for, pixels: 20 for PNet. Single-stage detectors look for faces of every size;
                  those whose longer side is below it are left out.
    scale_factor  ratio of pyramid levels, 0.709; for PNet alone, which has a pyramid.
    thresholds    lowest score of each stage that runs, or one number for all: 0.6, 0.7, 0.7 for the cascade.
    device        where torch computes, such as "cpu" or "cuda".
    stage1        "pnet", or a single-stage detector of `detectors.DETECTORS`.
    refine        the nets behind it: "rnet,onet" (behind PNet, unless told otherwise), "rnet", or "none".
    engine        what runs a single-stage detector: "torch", "onnx" or None, see `detectors.load.load_detector`.
    detector      instead of stage1 and refine: "mtcnn", the cascade, or a single-stage detector alone.
    score         lowest score of a face: the threshold of the last stage.

    `settings` has them all, filled in. Raises SettingsError for settings that make no sense or that the chosen stages
    do not use, CheckpointError when weights are missing or do not fit.
    """

    _smallest = 0.0  # longer side of a face that counts

    def __init__(
        self,
        models: str | PathLike[str] | None = None,
        min_face: float | None = None,
        scale_factor: float | None = None,
        thresholds: float | Sequence[float] | None = None,
        device: str | torch.device | None = "cpu",
        stage1: str | None = None,
        refine: str | None = None,
        engine: str | None = None,
        *,
        detector: str | None = None,
        score: float | None = None,
    ) -> None:
        device = device_name(device)
        check_device(device)
        self.settings = chosen = DetectorSettings(
            models, min_face, scale_factor, thresholds, device, stage1, refine, engine, detector, score
        )
        folder = packaged_weights() if models is None else Path(models)

        def net(name: str) -> Net:
            path = weights_path(folder, name)
            if device == "cpu":
                return load_weights(path, name)
            from .nets import load_net

            return load_net(path, name, device)

        first, *rest = zip(chosen.stages, cast(tuple[float, ...], chosen.thresholds), strict=True)
        self.proposer: Proposer
        if chosen.min_face is not None and chosen.scale_factor is not None:
            self.proposer = PNetProposer(net("pnet"), chosen.min_face, chosen.scale_factor, first[1], device)
        else:
            self.proposer = load_detector(first[0], folder, first[1], device, engine)
            self._smallest = chosen.min_face or 0.0
        self.refiners: list[Refiner] = [
            NetRefiner(net(name), name, threshold, device, behind_detector=first[0] != "pnet")
            for name, threshold in rest
        ]

    @overload
    def detect(self, images: Source) -> Faces: ...  # type: ignore[overload-overlap]  # a str is one path

    @overload
    def detect(self, images: Iterable[Source]) -> list[Faces]: ...

    def detect(self, images: Source | Iterable[Source]) -> Faces | list[Faces]:
        """Faces of an image, whatever `read_image` takes, by falling score, cut to the image.

        A list or another iterable of images, of any sizes, gives a list of Faces: the same as one by one. A box that
        its offsets have moved out of the image, or turned inside out, is no face. Raises ImageError for an image that
        cannot be read, and for whatever is none.
        """
        if isinstance(images, list | tuple):
            return spread(self._detect, images)
        if isinstance(images, Iterator | Sequence) and not is_image(images):
            return [faces for some in _taken(cast(Iterable[Source], images)) for faces in spread(self._detect, some)]
        return self._detect(cast(Source, images))

    def _detect(self, image: Source) -> Faces:
        pixels = read_image(image)
        faces = self.proposer(pixels)
        for refine in self.refiners:
            faces = refine(pixels, faces)
        height, width = pixels.shape[:2]
        faces = faces[_touches(faces.boxes, height, width)]
        if self._smallest:
            faces = faces[faces.sizes.max(axis=1) >= self._smallest]
        return Faces(box.clip(faces.boxes, height, width), faces.scores, faces.landmarks).sorted()
