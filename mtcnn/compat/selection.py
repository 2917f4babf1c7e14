"""facenet-pytorch's steps after detection: choosing one face, and cropping faces to square tensors for recognition.

Source: the rules and constants of `MTCNN.select_boxes` and `extract_face` of facenet-pytorch 2.6, so that embeddings
computed from its crops stay comparable.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..boxes import areas
from ..errors import SettingsError
from ..pictures.draw import save_image
from ..settings import Range, check, require
from ..types import ImageSize
from .inputs import loaded

__all__ = ["METHODS", "best_face", "check_size", "extract_face", "fixed_image_standardization", "prewhiten"]

Array = NDArray[Any]


METHODS = ("probability", "largest", "largest_over_threshold", "center_weighted_size")


def best_face(
    method: str, boxes: Array, scores: Array, size: ImageSize, threshold: float = 0.9, center_weight: float = 2.0
) -> int | None:
    """Index of the face that a method of METHODS chooses; None if there is none, or none above the threshold.

    boxes          (N, 4) xyxy pixels, N may be 0.          scores  (N,).         size  of the image, pixels.
    threshold      for "largest_over_threshold": the score that a face must exceed.
    center_weight  for "center_weighted_size": area minus this times the squared distance to the image's centre.

    Raises SettingsError for an unknown method.
    """
    if method not in METHODS:
        raise SettingsError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    if not len(boxes):
        return None
    weight = np.asarray(scores, np.float64) if method == "probability" else areas(np.asarray(boxes, np.float64))
    if method == "largest_over_threshold":
        weight = np.where(np.asarray(scores) > threshold, weight, -np.inf)
    elif method == "center_weighted_size":
        away = (boxes[:, :2] + boxes[:, 2:]) / 2 - np.array([size.width, size.height]) / 2
        weight = weight - center_weight * (away**2).sum(axis=1)
    best = int(np.argmax(weight))
    return None if weight[best] == -np.inf else best


def check_size(image_size: int, margin: float) -> None:
    """Raise SettingsError for a face without pixels, and for a margin that leaves no room for it."""
    check("image_size", image_size, Range(min=1, whole=True))
    fits = Range(min=0, below=image_size).holds(margin)
    require(fits, "margin", margin, f"0 or more, and less than image_size, {image_size}")


def extract_face(
    image: Any,
    box: Any,
    image_size: int = 160,
    margin: int = 0,
    save_path: str | PathLike[str] | None = None,
) -> Tensor:
    """Crop a face to float32 (3, image_size, image_size), RGB from 0 to 255. A box that is not square is stretched.

    image      a Pillow image, resized by Pillow (bilinear); or an array or tensor (H, W, 3), RGB from 0 to 255, or
               whatever else `read_image` takes, resized by OpenCV (INTER_AREA).
    box        (4,) xyxy pixels, an array, tensor or list; clipped to the image and to whole pixels, at least one.
    margin     pixels of the result outside the box, both sides together.
    save_path  also write the crop to this path, creating its folders. Raises ImageError if that fails.

    Raises SettingsError if box is not (4,) or not finite, and for sizes that `check_size` rejects.
    """
    check("margin", margin, Range())
    check_size(image_size, max(margin, 0))  # the old package takes a negative one, which cuts into the box
    image, box = loaded(image), _numbers(box)
    height, width = (image.height, image.width) if isinstance(image, Image.Image) else image.shape[:2]
    around = margin * (box[2:] - box[:2]) / (image_size - margin) / 2
    limit = np.array([width, height])
    start = np.clip(box[:2] - around, 0, limit - 1).astype(int)
    end = np.maximum(np.minimum(box[2:] + around, limit).astype(int), start + 1)
    target = (image_size, image_size)
    if isinstance(image, Image.Image):
        crop = image.crop((*start.tolist(), *end.tolist()))
        face = np.asarray(crop.resize(target, Image.Resampling.BILINEAR))
    else:
        inside = image[start[1] : end[1], start[0] : end[0]]
        face = np.asarray(cv2.resize(inside, target, interpolation=cv2.INTER_AREA))
    if save_path is not None:
        Path(save_path).parent.mkdir(parents=True, exist_ok=True)
        save_image(Path(save_path), np.ascontiguousarray(face))
    return torch.from_numpy(face.astype(np.float32).transpose(2, 0, 1).copy())  # (S, S, 3) -> (3, S, S)


def _numbers(box: Any) -> Array:
    """A box (4,) as an array."""
    values = np.asarray(box.detach().cpu() if isinstance(box, Tensor) else box)
    if values.shape != (4,):
        raise SettingsError(f"box has shape {values.shape}; expected (4,), one box of x1, y1, x2, y2")
    values = values.astype(np.float64) if values.dtype.kind in "Oiu" else values
    if not np.isfinite(values).all():
        raise SettingsError(f"box is {values.tolist()}; expected finite x1, y1, x2, y2")
    return values


def fixed_image_standardization(image_tensor: Any) -> Any:
    """(x - 127.5) / 128, what `MTCNN(post_process=True)` does to face tensors."""
    return (image_tensor - 127.5) / 128.0


def prewhiten(x: Tensor) -> Tensor:
    """(x - mean) / max(standard deviation, 1 / sqrt(number of elements)): FaceNet's normalisation of a face tensor."""
    return (x - x.mean()) / x.std().clamp(min=x.numel() ** -0.5)
