"""Faces that are not to be hidden: those like one in a reference photo, by a recognition model of the user's."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..boxes import iou
from ..errors import SettingsError
from ..images import Source, read_image
from ..settings import Range, require
from ..types import Faces

if TYPE_CHECKING:
    from ..cascade import Detector

__all__ = ["SIMILARITY", "Spared"]

SIMILARITY = 0.5
"""Minimum cosine. ArcFace's authors verify identity from about 0.3 on, depending on the model; for privacy, rather hide
the face of the person than show that of another."""

_SAME_FACE = 0.5  # minimum IoU of a face with itself in the frame before
_COSINE = Range(above=0, max=1)
_SHORTEST = 1e-9  # divisor of a vector of zeros


class Spared:
    """Tells which faces belong to the persons in some reference photos.

        spared = Spared(["me.jpg"], model, Detector())
        hidden = anonymise(image, faces.boxes[~spared.known(image, faces)])

    photos      one or more, each of one person alone; of several persons, or of the same one.
    model       see `Faces.embed`: any callable from aligned faces (N, 112, 112, 3) to embeddings (N, D).
    detector    finds the faces in the photos.
    similarity  minimum cosine of the embeddings of a face and of one of the references.

    Raises SettingsError without photos, for a photo without a face or with several, for a detector without landmarks,
    and for a similarity outside of 0 to 1; ImageError for a photo that cannot be read.
    """

    def __init__(
        self,
        photos: Sequence[Source],
        model: Callable[[NDArray[np.uint8]], Any],
        detector: Detector,
        similarity: float = SIMILARITY,
    ) -> None:
        require(_COSINE.holds(similarity), "spare_similarity", similarity, "a cosine above 0, at most 1")
        one = isinstance(photos, str | bytes | os.PathLike)
        require(not one and len(photos) > 0, "spare", photos, "a list of one photo or more")
        self.model, self.similarity = model, similarity
        self._references = np.concatenate([self._reference(photo, detector) for photo in photos])
        self._before = np.zeros((0, 4), np.float32)  # boxes that were spared in the frame before

    def _reference(self, photo: Source, detector: Detector) -> NDArray[np.float32]:
        image = read_image(photo)
        faces = detector.detect(image)
        if len(faces) != 1:
            name = os.fspath(photo) if isinstance(photo, str | os.PathLike) else "an image"
            raise SettingsError(f"`spare` {name} shows {len(faces)} faces; expected one, that of the person; crop it")
        return self._vectors(image, faces)

    def _vectors(self, image: Source, faces: Faces) -> NDArray[np.float32]:
        """Embeddings of length 1, (N, D)."""
        vectors = faces.embed(image, self.model)
        if not np.isfinite(vectors).all():
            raise SettingsError("the recognition model returned NaN or infinity; expected numbers; check its input")
        return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _SHORTEST))

    def known(self, image: Source, faces: Faces) -> NDArray[np.bool_]:
        """Which faces (N,) of an image are those of the persons."""
        return self._similarities(image, faces) >= self.similarity

    def followed(self, image: Source, faces: Faces) -> NDArray[np.bool_]:
        """The same for the next frame of a video. A face that overlaps one which was spared in the frame before, by an
        IoU of 0.5, needs half of the similarity: otherwise it would be hidden with every turn of the head."""
        similarities = self._similarities(image, faces)
        found = similarities >= self.similarity
        if len(self._before) and len(faces):
            same = iou(faces.boxes, self._before).max(axis=1) >= _SAME_FACE
            found |= same & (similarities >= self.similarity / 2)
        self._before = faces.boxes[found]
        return np.asarray(found)

    def restart(self) -> None:
        """Forget the frame before: call it between two videos."""
        self._before = np.zeros((0, 4), np.float32)

    def _similarities(self, image: Source, faces: Faces) -> NDArray[np.float32]:
        """Cosine with the reference that is most like each face, (N,)."""
        if not len(faces):
            return np.zeros(0, np.float32)
        return np.asarray((self._vectors(image, faces) @ self._references.T).max(axis=1))
