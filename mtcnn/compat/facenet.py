"""The calls of facenet-pytorch's MTCNN."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import MtcnnError, SettingsError
from ..types import Faces, ImageSize
from .finder import FilePath, Finder
from .inputs import as_batch, loaded, pixels_of, stacked
from .selection import best_face, extract_face, fixed_image_standardization

__all__ = ["FacenetCalls"]

Array = NDArray[Any]


class FacenetCalls(Finder):
    """`detect`, `forward` (calling the object), `select_boxes` and `extract`."""

    image_size: int
    margin: int
    post_process: bool
    select_largest: bool
    selection_method: str
    keep_all: bool

    def detect(self, img: Any, landmarks: bool = False) -> Any:
        """Detect faces: boxes, probabilities and, with `landmarks`, landmarks of one image or a batch.

        img  a Pillow image, an array or tensor (H, W, 3), RGB from 0 to 255, or whatever `read_image` takes. A batch is
             a list or tuple of these, of any sizes, or an array or tensor (B, H, W, 3).

        For one image: float32 (N, 4) xyxy pixels, float32 (N,) and float32 (N, 5, 2) x y, sorted by area or by score
        (`select_largest`); without a face None, [None] and None. For a batch: arrays (B, N, 4), (B, N) and
        (B, N, 5, 2) if all images have N faces, otherwise object arrays (B,) of the results of each image.

        Raises MtcnnError if `landmarks` is set and the models were trained without landmarks.
        """
        images, batch = as_batch(img)
        found = [self._ordered(self.find(pixels_of(image))) for image in images]
        trained = len(self.stages) < 3 or all(faces.landmarks is not None for faces in found if len(faces))
        if landmarks and not trained:
            raise MtcnnError("landmarks=True, and these models were trained without landmarks; expected False")
        columns = (
            [faces.boxes if len(faces) else None for faces in found],
            [faces.scores if len(faces) else np.array([None]) for faces in found],
            [faces.landmarks if len(faces) else None for faces in found],
        )
        results = tuple(stacked(column) if batch else column[0] for column in columns)
        return results if landmarks else results[:2]

    def forward(self, img: Any, save_path: Any = None, return_prob: bool = False) -> Any:
        """Detect faces and return them as tensors for a recognition net; with `return_prob` also their probabilities.

        img        as for `detect`.
        save_path  also write each face to this path, before post-processing; a list of paths for a batch. With
                   `keep_all`, the second face goes to NAME_2.png, and so on.

        For one image: float32 (3, image_size, image_size), or (N, 3, image_size, image_size) with `keep_all`, or None.
        For a batch: a list of these. The probability is a float or None; with `keep_all` and for batches it is an array
        as from `detect` or `select_boxes`.
        """
        images, batch = as_batch(img)
        read: Any = [loaded(image) for image in images] if batch else loaded(img)
        boxes, probs, points = self.detect(read, landmarks=True)
        if not self.keep_all:
            boxes, probs, points = self.select_boxes(boxes, probs, points, read, method=self.selection_method)
        faces = self.extract(read, boxes, save_path)
        return (faces, probs) if return_prob else faces

    def select_boxes(
        self,
        all_boxes: Any,
        all_probs: Any,
        all_points: Any,
        imgs: Any,
        method: str = "probability",
        threshold: float = 0.9,
        center_weight: float = 2.0,
    ) -> tuple[Any, Any, Any]:
        """Select one face of each image from the results of `detect` for `imgs`. Settings: see `selection.best_face`.

        For one image: (1, 4), a float and (1, 5, 2), or None three times. For a batch: arrays (B, 1, 4), (B, 1) and
        (B, 1, 5, 2) if every image has a face, otherwise object arrays (B,) of (1, 4), (1,) and (1, 5, 2), or of None,
        [None] and None.
        """
        images, batch = as_batch(imgs)
        columns = (all_boxes, all_probs, all_points) if batch else ([all_boxes], [all_probs], [all_points])
        rows = zip(*columns, strict=True)
        chosen: list[tuple[Any, Any, Any]] = []
        for (boxes, probs, points), image in zip(rows, images, strict=True):
            best = None if boxes is None else best_face(method, boxes, probs, _size(image), threshold, center_weight)
            if best is None:
                chosen.append((None, np.array([None]), None))
            else:
                chosen.append((boxes[[best]], probs[[best]], None if points is None else points[[best]]))
        if batch:
            first, second, third = (stacked(row[column] for row in chosen) for column in range(3))
            return first, second, third
        boxes, probs, points = chosen[0]
        return boxes, None if boxes is None else float(probs[0]), points

    def extract(self, img: Any, batch_boxes: Any, save_path: Any = None) -> Any:
        """Crop boxes, as `detect` or `select_boxes` returns them, to face tensors; None stays None. See `forward`.

        Raises SettingsError if the numbers of images, boxes and paths differ.
        """
        images, batch = as_batch(img)
        boxes = list(batch_boxes) if batch else [batch_boxes]
        paths = [save_path] if isinstance(save_path, str | PathLike) else list(save_path or [None] * len(images))
        if not len(images) == len(boxes) == len(paths):
            counts = f"{len(images)} images, {len(boxes)} sets of boxes and {len(paths)} paths"
            raise SettingsError(f"{counts}; expected as many of each")
        faces = [
            None if some is None else self._extracted(loaded(image), some, path)
            for image, some, path in zip(images, boxes, paths, strict=True)
        ]
        return faces if batch else faces[0]

    def _extracted(self, image: NDArray[np.uint8] | Image.Image, boxes: Array, path: FilePath | None) -> Tensor:
        faces = []
        for i, face_box in enumerate(boxes if self.keep_all else boxes[:1]):
            target = None if path is None else Path(path)
            if target is not None and i > 0:
                target = target.with_name(f"{target.stem}_{i + 1}{target.suffix}")
            face = extract_face(image, face_box, self.image_size, self.margin, target)
            faces.append(fixed_image_standardization(face) if self.post_process else face)
        return torch.stack(faces) if self.keep_all else faces[0]

    def _ordered(self, faces: Faces) -> Faces:
        if not self.select_largest:
            return faces
        sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
        return faces[np.argsort(-sides.prod(axis=1), kind="stable")]


def _size(image: Any) -> ImageSize:
    if isinstance(image, Image.Image):
        return ImageSize(image.height, image.width)
    return ImageSize(*pixels_of(image).shape[:2])
