"""The calls of ipazc's mtcnn, version 1, whose results are those of version 0.1 as well."""

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

ONET_THRESHOLD = 0.8  # of version 1; everywhere else it is 0.7
KEYPOINTS = {"nose": 2, "mouth_right": 4, "right_eye": 1, "left_eye": 0, "mouth_left": 3}  # rows of our landmarks


class IpazcCalls(Finder):
    """`detect_faces`, and `predict`, which is the same."""

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
        """Faces as dicts of plain values in whole pixels, by falling confidence:

            [{"box": [x, y, width, height], "confidence": 0.99, "keypoints": {"nose": (x, y), ...}}]

        image          a path, the bytes of an image file, an array or tensor (H, W, 3), RGB from 0 to 255; or a list of
                       those, of any sizes, which gives a list of lists. Bytes or a file that hold no image have no
                       faces, as in ipazc's package, and a warning says so.
        fit_to_image   cut boxes to the image.     limit_boundaries_landmarks  move landmarks into the image.
        box_format     "xywh" or "xyxy".           postprocess  False: neither of the two above.
        output_type    "numpy" gives one array for all, float32 (N, 16), a row a face: number of the image, box,
                       confidence, five x, five y. Without landmarks (N, 6).
        min_face_size, scale_factor, threshold_pnet, threshold_rnet, threshold_onet  for this call alone. ONet's is 0.8
                       if neither this call nor the constructor's `thresholds` names one, as in ipazc's package.
        batch_stack_justification  is of no effect: images of different sizes are not padded here.

        Raises ImageError, which is `mtcnn.exceptions.InvalidImage`, for a file that is missing and for what is neither
        an image nor the name of one, such as None.
        """
        one_of("box_format", box_format, ("xywh", "xyxy"))
        one_of("output_type", output_type, ("json", "numpy"))
        given = (threshold_pnet, threshold_rnet, threshold_onet)
        thresholds = [own if new is None else new for own, new in zip(self._thresholds(), given, strict=True)]
        images, batch = as_batch(image)
        fit = postprocess and fit_to_image
        width = 16 if len(self.stages) == 3 else 6
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
        """`detect_faces` under another name."""
        return self.detect_faces(image, **options)

    def _thresholds(self) -> Sequence[float]:
        pnet, rnet, onet = self.thresholds
        return [pnet, rnet, onet if self.own_thresholds else ONET_THRESHOLD]


def _decoded(source: Any) -> NDArray[np.uint8] | None:
    """The pixels of an image, or None for content that is no image."""
    try:
        return pixels_of(source)
    except ImageError as error:
        named = isinstance(source, str | PathLike) and Path(source).is_file()
        if not named and not isinstance(source, bytes | bytearray | memoryview):
            raise
        warnings.warn(f"{error}; taken for an image without faces", stacklevel=3)
        return None


def _limited(faces: Faces, height: int, width: int) -> Faces:
    points = None if faces.landmarks is None else np.clip(faces.landmarks, 0, (width, height))
    return Faces(faces.boxes, faces.scores, points)


def _rows(faces: Faces, number: int, box_format: str) -> NDArray[np.float32]:
    """A row a face: number of the image, box, confidence, and where there are landmarks five x and five y."""
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
