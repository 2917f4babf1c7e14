"""What the calls of both packages rest on: the detector with settings that may change, and images of any kind."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..cascade import Detector, NetRefiner, PNetProposer
from ..checkpoint import packaged_weights, read, weights_path
from ..engine.runners import Net
from ..errors import CheckpointError, ImageError, SettingsError
from ..images import read_image
from ..types import Faces
from ..weights import SIZES, Weights

if TYPE_CHECKING:
    import torch

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
            raise SettingsError("weights and models are both given; expected one of them")
        self.min_face_size, self.factor, self.stages = min_face_size, factor, stages
        self.thresholds = [0.6, 0.7, 0.7] if thresholds is None else list(thresholds)
        self.own_thresholds = thresholds is not None
        self._device = _device_name(device)
        with TemporaryDirectory() as imported:
            folder = Path(models or packaged_weights()) if weights is None else _imported(weights, Path(imported))
            self._detector = Detector(folder, min_face_size, factor, self.thresholds, self._device)
            if read(weights_path(folder, "pnet")).recipe.get("imported", {}).get("arithmetic"):
                from ..importers.arithmetic import adopt_arithmetic

                adopt_arithmetic(self._detector, folder)

    @property
    def device(self) -> torch.device:
        """Where the nets compute."""
        import torch

        return torch.device(self._device)

    def eval(self) -> Self:
        """Does nothing: there is no other mode."""
        return self

    def to(self, device: str | torch.device) -> Self:
        """Move the nets."""
        self._device = _device_name(device)
        for stage in (self._detector.proposer, *self._detector.refiners):
            placed = cast(PNetProposer | NetRefiner, stage)
            placed.net, placed.device = _moved(placed.net, self._device), self._device
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
        raise SettingsError(f"{name} is {value!r}; expected one of {', '.join(names)}")


def _device_name(device: str | torch.device | None) -> str:
    """torch's name for a device, of its own names and of TensorFlow's, such as "GPU:0" and "/device:GPU:0"."""
    if not isinstance(device, str | None):
        return str(device)
    name = re.sub(r"^/?(device:)?", "", (device or "cpu").lower())
    name = re.sub(r"^gpu\b", "cuda", name)
    name = re.sub(r"^cpu:\d+$", "cpu", name)
    if name == "cpu":
        return name
    import torch

    try:
        return str(torch.device(name))
    except RuntimeError:
        raise SettingsError(f"device is {device!r}; expected a name such as cpu, cuda:0, CPU:0 or GPU:0") from None


def _moved(net: Net, device: str) -> Net:
    """The net where it can compute on a device: numbers stay numbers on the CPU, and become a module elsewhere."""
    if isinstance(net, Weights):
        if device == "cpu":
            return net
        from ..nets import module_of

        net = module_of(net)
    return net.to(device)


def _imported(weights: FilePath | Iterable[FilePath], folder: Path) -> Path:
    """`folder`, with the nets in other projects' files as checkpoints."""
    from ..importers import import_weights

    files = [weights] if isinstance(weights, str | PathLike) else list(weights)
    missing = SIZES.keys() - {found.net for found in import_weights(files, folder)}
    if missing:
        given = ", ".join(map(str, files)) or "no file"
        lack = ", ".join(net for net in SIZES if net in missing)
        raise CheckpointError(f"weights are {given}, without {lack}; name the files of all three nets")
    return folder


def as_batch(images: Any) -> tuple[list[Any], bool]:
    """Images as a list, and whether they were a batch: a list, a tuple, or an array or tensor (B, H, W, 3)."""
    batch = isinstance(images, list | tuple) or (
        (isinstance(images, np.ndarray) or _is_tensor(images)) and images.ndim == 4
    )
    return list(images) if batch else [images], batch


def _is_tensor(value: Any) -> bool:
    """Whether it is torch's; whoever made it has loaded torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def loaded(image: Any) -> NDArray[np.uint8] | Image.Image:
    """A Pillow image in RGB as it is, anything else as uint8 RGB (H, W, 3)."""
    return image if isinstance(image, Image.Image) and image.mode == "RGB" else pixels_of(image)


def pixels_of(image: Any) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3) of whatever `read_image` takes, of tensors, and of arrays of other types from 0 to 255.

    Raises ImageError for what cannot be read, and for values outside that range, or all of them in [0, 1].
    """
    if _is_tensor(image):
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
