"""What the calls of both packages rest on: the detector with settings that may change, and images of any kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..cascade import Detector, NetRefiner, PNetProposer
from ..checkpoint import packaged_weights
from ..errors import CheckpointError, ImageError
from ..images import read_image
from ..importers import import_weights
from ..importers.arithmetic import adopt_arithmetic
from ..nets import NETS
from ..types import Faces

__all__ = ["FilePath", "Finder", "Stages", "as_batch", "loaded", "objects", "one_of", "pixels_of"]

FilePath = str | PathLike[str]
Stages = Literal["face_and_landmarks_detection", "face_detection_only"]

REFINERS = {"face_and_landmarks_detection": 2, "face_detection_only": 1}  # how many nets follow PNet


class Finder:
    """A detector whose settings are attributes, read anew at each call. `MTCNN` tells what they mean."""

    def __init__(
        self,
        min_face_size: float,
        thresholds: Sequence[float] | None,
        factor: float,
        stages: Stages,
        device: str | torch.device | None,
        weights: FilePath | Iterable[FilePath] | None,
        models: FilePath | None,
    ) -> None:
        one_of("stages", stages, REFINERS)
        if weights is not None and models is not None:
            raise ValueError("weights and models are both given; expected one of them")
        self.min_face_size, self.factor, self.stages = min_face_size, factor, stages
        self.thresholds = [0.6, 0.7, 0.7] if thresholds is None else list(thresholds)
        self.own_thresholds = thresholds is not None
        self.device = _device(device)
        with TemporaryDirectory() as imported:
            folder = Path(models or packaged_weights()) if weights is None else _imported(weights, Path(imported))
            self._detector = Detector(folder, min_face_size, factor, self.thresholds, str(self.device))
            adopt_arithmetic(self._detector, folder)

    def eval(self) -> Self:
        """Does nothing: there is no other mode."""
        return self

    def to(self, device: str | torch.device) -> Self:
        """Move the nets."""
        self.device = _device(device)
        for stage in (self._detector.proposer, *self._detector.refiners):
            placed = cast(PNetProposer | NetRefiner, stage)
            placed.net.to(self.device)
            placed.device = str(self.device)
        return self

    def find(
        self,
        image: NDArray[np.uint8],
        min_face: float | None = None,
        factor: float | None = None,
        thresholds: Sequence[float] | None = None,
        fit: bool = True,
    ) -> Faces:
        """Faces of image (H, W, 3) uint8 RGB by falling score, by these settings where they are given.

        fit  cut boxes to the image, and drop what lies outside.
        """
        first, *rest = self.thresholds if thresholds is None else thresholds
        detector = copy(self._detector)
        detector.proposer = replace(
            cast(PNetProposer, detector.proposer),
            min_face=self.min_face_size if min_face is None else min_face,
            scale_factor=self.factor if factor is None else factor,
            threshold=first,
        )
        refiners = cast(list[NetRefiner], detector.refiners)[: REFINERS[self.stages]]
        detector.refiners = [replace(stage, threshold=least) for stage, least in zip(refiners, rest, strict=False)]
        if fit:
            return detector.detect(image)
        faces = detector.proposer(image)
        for refine in detector.refiners:
            faces = refine(image, faces)
        return faces.sorted()


def one_of(name: str, value: Any, known: Iterable[str]) -> None:
    """Raise ValueError unless the setting `name` has a known value."""
    if value not in (names := list(known)):
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(names)}")


def _device(device: str | torch.device | None) -> torch.device:
    """torch's device for its own names and for TensorFlow's, such as "GPU:0" and "/device:GPU:0"."""
    if device is None or isinstance(device, torch.device):
        return device or torch.device("cpu")
    name = re.sub(r"^/?(device:)?", "", str(device).lower())
    name = re.sub(r"^gpu\b", "cuda", name)
    try:
        return torch.device(re.sub(r"^cpu:\d+$", "cpu", name))
    except RuntimeError:
        raise ValueError(f"device is {device!r}; expected a name such as cpu, cuda:0, CPU:0 or GPU:0") from None


def _imported(weights: FilePath | Iterable[FilePath], folder: Path) -> Path:
    """`folder`, with the nets in other projects' files as checkpoints."""
    files = [weights] if isinstance(weights, str | PathLike) else list(weights)
    missing = NETS.keys() - {found.net for found in import_weights(files, folder)}
    if missing:
        given = ", ".join(map(str, files)) or "no file"
        lack = ", ".join(net for net in NETS if net in missing)
        raise CheckpointError(f"weights are {given}, without {lack}; name the files of all three nets")
    return folder


def as_batch(images: Any) -> tuple[list[Any], bool]:
    """Images as a list, and whether they were a batch: a list, a tuple, or an array or tensor (B, H, W, 3)."""
    batch = isinstance(images, list | tuple) or (isinstance(images, np.ndarray | Tensor) and images.ndim == 4)
    return list(images) if batch else [images], batch


def loaded(image: Any) -> NDArray[np.uint8] | Image.Image:
    """A Pillow image in RGB as it is, anything else as uint8 RGB (H, W, 3)."""
    return image if isinstance(image, Image.Image) and image.mode == "RGB" else pixels_of(image)


def pixels_of(image: Any) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3) of whatever `read_image` takes, of tensors, and of arrays of other types from 0 to 255.

    Raises ImageError for what cannot be read, and for values outside that range, or all of them in [0, 1].
    """
    if isinstance(image, Tensor):
        image = image.detach().cpu().numpy()
    if isinstance(image, np.ndarray) and image.dtype.kind in "fi" and image.size:
        low, high = float(image.min()), float(image.max())
        if not 0 <= low <= high <= 255 or (image.dtype.kind == "f" and 0 < high <= 1):
            raise ImageError(f"image array: has values from {low:g} to {high:g}; expected 0 to 255; scale it first")
        image = np.round(image).astype(np.uint8)
    return read_image(image)


def objects(values: Iterable[Any]) -> NDArray[Any]:
    """An object array (B,), of whatever shapes its elements have: NumPy would join those of one shape."""
    listed = list(values)
    column = np.empty(len(listed), object)
    for i, value in enumerate(listed):
        column[i] = value
    return column
