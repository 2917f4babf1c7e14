"""Faces in the forms of other libraries: pandas, supervision, embeddings for recognition."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import LibraryError, SettingsError
from .images import Source, read_image
from .settings import require
from .types import Faces

__all__ = ["COLUMNS", "POINTS", "aligned", "embedded", "to_pandas", "to_supervision"]

POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COLUMNS = ("x1", "y1", "x2", "y2", "score", *(f"{axis}_{point}" for point in POINTS for axis in "xy"))
"""Names of a face's numbers in tables, CSV included."""


def to_pandas(faces: Faces) -> Any:
    """See `Faces.to_pandas`."""
    parts = [faces.boxes, faces.scores[:, None]]
    if faces.landmarks is not None:
        parts.append(faces.landmarks.reshape(-1, 10))  # (N, 5, 2) -> (N, 10)
    table = np.concatenate(parts, axis=1)
    return _library("pandas").DataFrame(table, columns=COLUMNS[: table.shape[1]])


def to_supervision(faces: Faces) -> Any:
    """See `Faces.to_supervision`."""
    data = {} if faces.landmarks is None else {"landmarks": faces.landmarks}
    return _library("supervision").Detections(
        xyxy=faces.boxes, confidence=faces.scores, class_id=np.zeros(len(faces), np.int64), data=data
    )


def aligned(faces: Faces, image: Source, size: int) -> NDArray[np.uint8]:
    """See `Faces.align`."""
    from .pictures.align import align, check_side  # imports OpenCV, which the names of columns need not

    if faces.landmarks is None:
        if len(faces):
            raise SettingsError("these faces have no landmarks to align them by; expected a detector that finds some")
        side = check_side(size)
        return np.zeros((0, side, side, 3), np.uint8)
    return align(read_image(image), faces.landmarks, size)


def embedded(faces: Faces, image: Source, model: Callable[[NDArray[np.uint8]], Any], size: int) -> NDArray[np.float32]:
    """See `Faces.embed`."""
    require(callable(model), "model", model, "a function from crops to embeddings")
    if not len(faces):
        return np.zeros((0, 0), np.float32)
    found = model(aligned(faces, image, size))
    if hasattr(found, "detach"):  # a tensor, on any device
        found = found.detach().cpu().numpy()
    vectors = np.asarray(found, np.float32)
    if vectors.ndim != 2 or len(vectors) != len(faces):
        raise SettingsError(f"model returned shape {vectors.shape}; expected ({len(faces)}, D), a row for each face")
    return vectors


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise LibraryError(f"no package {name}; expected it: pip install {name}", name=name) from None
