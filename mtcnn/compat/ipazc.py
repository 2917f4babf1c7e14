"""The methods of ipazc's mtcnn 1. Their results have the format of version 0.1 too."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..types import Faces
from .finder import Finder, one_of
from .inputs import as_batch, pixels_of

__all__ = ["IpazcCalls"]

Array = NDArray[Any]

ONET_THRESHOLD = 0.8  # ipazc's default in version 1; everywhere else it is 0.7
KEYPOINTS = {"nose": 2, "mouth_right": 4, "right_eye": 1, "left_eye": 0, "mouth_left": 3}  # rows of our landmarks


class IpazcCalls(Finder):
    """`detect_faces` and its alias `predict`."""

    def detect_faces(
        self,
        image: Any,
        fit_to_image: bool = True,
        limit_boundaries_landmarks: bool = False,
        box_format: Literal["xywh", "xyxy"] = "xywh",
        output_type: Literal["json", "numpy"] = "json",
        postprocess: bool = True,
        batch_stack_justification: str = "center",
        *,
        min_face_size: float | None = None,
        scale_factor: float | None = None,
        threshold_pnet: float | None = None,
        threshold_rnet: float | None = None,
        threshold_onet: float | None = None,
    ) -> Any:
        """Faces as dicts in whole pixels, by falling confidence:

            [{"box": [x, y, width, height], "confidence": 0.99, "keypoints": {"nose": (x, y), ...}}]

        image          a path, the bytes of an image file, or an array or tensor (H, W, 3), RGB from 0 to 255; or a list
                       of these, of any sizes, which returns a list of lists. As in ipazc's package, bytes or a file
                       without a readable image have no faces; a warning says so.
        fit_to_image   clip boxes to the image.
        limit_boundaries_landmarks  clip landmarks to the image.
        postprocess    False turns off both of these.
        box_format     "xywh" or "xyxy".
        output_type    "numpy" returns one array for all images, float32 (N, 16), a row a face: index of the image, box,
                       confidence, five x, five y. Without landmarks it is (N, 6).
        min_face_size, scale_factor, threshold_pnet, threshold_rnet, threshold_onet  for this call only. As in ipazc's
                       package, ONet's default is 0.8 unless the constructor was given `thresholds`.
        batch_stack_justification  has no effect: images of different sizes are not padded.

        Raises ImageError, which is `mtcnn.exceptions.InvalidImage`, for a file that is missing and for what is neither
        an image nor the name of one, such as None.
        """
        one_of("box_format", box_format, ("xywh", "xyxy"))
        one_of("output_type", output_type, ("json", "numpy"))
        given = (threshold_pnet, threshold_rnet, threshold_onet)
        thresholds = [own if new is None else new for own, new in zip(self._thresholds(), given, strict=True)]
        images, batch = as_batch(image)
        fit = postprocess and fit_to_image
        width = 16 if len(self.stages) == 3 and self.onet.has_landmarks else 6
        table = [np.zeros((0, width), np.float32)]
        for number, source in enumerate(images):
            pixels = _decoded(source)
            if pixels is None:
                table.append(table[0])
                continue
            faces = self.find(pixels, min_face_size, scale_factor, thresholds, fit)
            if fit and limit_boundaries_landmarks:
                faces = _limited(faces, *pixels.shape[:2])
            table.append(_rows(faces, number, box_format))
        if output_type == "numpy":
            return np.concatenate(table)
        found = [[_face(row) for row in rows] for rows in table[1:]]
        return found if batch else found[0]

    def predict(self, image: Any, **options: Any) -> Any:
        """Alias of `detect_faces`."""
        return self.detect_faces(image, **options)

    def _thresholds(self) -> Sequence[float]:
        pnet, rnet, onet = self.thresholds
        return [pnet, rnet, onet if self.own_thresholds else ONET_THRESHOLD]


def _decoded(source: Any) -> NDArray[np.uint8] | None:
    """The pixels of an image, or None, with a warning, for content that is not an image."""
    try:
        return pixels_of(source)
    except ImageError as error:
        named = isinstance(source, str | PathLike) and Path(source).is_file()
        if not named and not isinstance(source, bytes | bytearray | memoryview):
            raise
        warnings.warn(f"{error}; treated as an image without faces", stacklevel=3)
        return None


def _limited(faces: Faces, height: int, width: int) -> Faces:
    points = None if faces.landmarks is None else np.clip(faces.landmarks, 0, (width, height))
    return Faces(faces.boxes, faces.scores, points)


def _rows(faces: Faces, number: int, box_format: str) -> NDArray[np.float32]:
    """float32 (N, 16), a row a face: index of the image, box, confidence, five x, five y. (N, 6) without landmarks."""
    boxes = faces.boxes.copy()
    if box_format == "xywh":
        boxes[:, 2:] -= boxes[:, :2]
    columns = [np.full((len(faces), 1), number), boxes, faces.scores[:, None]]
    if faces.landmarks is not None:
        columns.append(faces.landmarks.transpose(0, 2, 1).reshape(len(faces), 10))  # (N, 5, 2) -> (N, 2 * 5)
    return np.concatenate(columns, axis=1).astype(np.float32)


def _face(row: NDArray[np.float32]) -> dict[str, Any]:
    whole = [int(value) for value in np.round(row)]
    face: dict[str, Any] = {"box": whole[1:5], "confidence": float(row[5])}
    if len(row) > 6:
        face["keypoints"] = {name: (whole[6 + i], whole[11 + i]) for name, i in KEYPOINTS.items()}
    return face
