"""Shared types: faces, image sizes, net outputs, and the two roles in a cascade."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import SettingsError

if TYPE_CHECKING:
    from .images import Source

__all__ = ["Faces", "ImageSize", "NetOutput", "Proposer", "Refiner", "check_faces"]

Array = NDArray[Any]


class ImageSize(NamedTuple):
    """Pixels, in the order of array axes."""

    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces of one image: a collection that can be sliced, filtered and iterated.

        sure = faces[faces.scores > 0.9]
        large = faces[faces.sizes.min(axis=1) >= 40]
        for face in faces[:3]: ...    # each again Faces, of length one
        json.dumps(faces.to_dicts())

    boxes      float32 (N, 4), xyxy in pixels of the image, half-open: width = x2 - x1.
    scores     float32 (N,), in [0, 1]. A detector returns them in descending order; slicing keeps the given order.
    landmarks  float32 (N, 5, 2) x y, or None: left eye, right eye, nose, left and right mouth corner, as the viewer
               sees them. NaN where unknown.

    Raises ValueError if lengths or shapes do not match, or for what is no numbers.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        for name in ("boxes", "scores", "landmarks"):
            value = getattr(self, name)
            if value is not None or name != "landmarks":
                object.__setattr__(self, name, _numbers(name, value))
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.scores.shape != (count,):
            raise ValueError(
                f"boxes {self.boxes.shape} and scores {self.scores.shape} do not agree; expected (N, 4) and (N,)"
            )
        if self.landmarks is not None and self.landmarks.shape != (count, 5, 2):
            raise ValueError(f"landmarks have shape {self.landmarks.shape}; expected ({count}, 5, 2)")

    @classmethod
    def empty(cls, with_landmarks: bool = False) -> Faces:
        """No faces, in the right shapes."""
        points = np.zeros((0, 5, 2), np.float32) if with_landmarks else None
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), points)

    @classmethod
    def concat(cls, parts: Iterable[Faces]) -> Faces:
        """All faces of `parts`, in order. Landmarks are kept only if every part has them."""
        if not isinstance(parts, Iterable):
            raise SettingsError(f"parts are of type {type(parts).__name__}; expected several Faces, such as a list")
        parts = list(parts)
        for part in parts:
            check_faces("parts", part)
        if not parts:
            return cls.empty()
        points = [part.landmarks for part in parts if part.landmarks is not None]
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate(points) if len(points) == len(parts) else None,
        )

    @property
    def sizes(self) -> NDArray[np.float32]:
        """Width and height of the boxes, float32 (N, 2), pixels."""
        return np.asarray(self.boxes[:, 2:] - self.boxes[:, :2])

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> Faces:
        """Faces at a mask (N,) of bools, a slice, an array or list of ints, or one int (a Faces of length one).

        The order is that of the index. Raises IndexError for an index out of range or a mask of another length.
        """
        if isinstance(index, int | np.integer):
            if not -len(self) <= index < len(self):
                raise IndexError(f"face {index} of {len(self)}")
            index = slice(index, index + 1 or None)
        points = None if self.landmarks is None else self.landmarks[index]
        return Faces(self.boxes[index], self.scores[index], points)

    def __iter__(self) -> Iterator[Faces]:
        """Each face, as Faces of length one."""
        return (self[i] for i in range(len(self)))

    def sorted(self) -> Faces:
        """By descending score; ties keep their order."""
        return self[np.argsort(-self.scores, kind="stable")]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Plain Python values: `box` [x1, y1, x2, y2], `score`, and `landmarks` [[x, y] x 5] if there are any.

        Pixels have two decimals. An unknown coordinate is None, since JSON has no NaN.
        """
        rows: list[dict[str, Any]] = []
        for i in range(len(self)):
            row: dict[str, Any] = {
                "box": [round(float(v), 2) for v in self.boxes[i]],
                "score": round(float(self.scores[i]), 5),
            }
            if self.landmarks is not None:
                points = self.landmarks[i].tolist()
                row["landmarks"] = [[round(v, 2) if math.isfinite(v) else None for v in point] for point in points]
            rows.append(row)
        return rows

    def to_pandas(self) -> Any:
        """A pandas DataFrame: a row for each face, columns x1 y1 x2 y2 score, and x_ and y_ of each landmark if any.

        Numbers are not rounded. Raises LibraryError without pandas.
        """
        from .conversions import to_pandas

        return to_pandas(self)

    def to_supervision(self) -> Any:
        """`supervision.Detections`, class 0 for every face, with the landmarks (N, 5, 2) as data["landmarks"].

        Raises LibraryError without supervision.
        """
        from .conversions import to_supervision

        return to_supervision(self)

    def crop(self, image: Source, margin: float = 0.2) -> list[NDArray[np.uint8]]:
        """Each face cut out of its image with a margin, uint8 RGB (h, w, 3): see `pictures.align.crop`.

        image  the image that the faces were found in, anything that `read_image` takes.
        """
        from .images import read_image
        from .pictures.align import crop

        return crop(read_image(image), self.boxes, margin)

    def align(self, image: Source, size: int = 112) -> NDArray[np.uint8]:
        """Each face on ArcFace's template, uint8 RGB (N, size, size, 3): see `pictures.align.align`.

        Raises SettingsError for faces without landmarks, or with fewer than two known points.
        """
        from .conversions import aligned

        return aligned(self, image, size)

    def embed(self, image: Source, model: Callable[[NDArray[np.uint8]], Any], size: int = 112) -> NDArray[np.float32]:
        """Embeddings, float32 (N, D), that `model` computes from the aligned faces; rows follow the faces.

            vectors = faces.embed("photo.jpg", model)   # float32 (N, 512) for ArcFace, for example

        model  any callable: uint8 RGB (N, size, size, 3) -> an array or tensor (N, D), such as a session of onnxruntime
               behind the scaling that its net wants. Without faces it is not called, and D is 0.

        Raises SettingsError as `align` does, and for a result of another shape.
        """
        from .conversions import embedded

        return embedded(self, image, model, size)


def check_faces(name: str, value: Any) -> None:
    """Raise SettingsError unless `value` is Faces."""
    if not isinstance(value, Faces):
        raise SettingsError(f"{name} are of type {type(value).__name__}; expected Faces, as a Detector returns them")


def _numbers(name: str, value: Any) -> NDArray[np.float32]:
    """float32, contiguous. Raises ValueError for what is no numbers."""
    try:
        if value is not None:  # which NumPy takes for NaN
            return np.ascontiguousarray(value, dtype=np.float32)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{name} are of type {type(value).__name__}; expected an array of numbers")


class NetOutput(NamedTuple):
    """Outputs of PNet, RNet and ONet: logits, never probabilities.

    face_logits  torch float (N,) for crops, (N, H, W) for the fully convolutional PNet.
    offsets      (N, 4) or (N, 4, H, W), in units of the crop: (truth - crop) / (width, height).
    landmarks    (N, 5, 2), in units of the crop from its upper left corner, or None.
    """

    face_logits: Any
    offsets: Any
    landmarks: Any | None


class Proposer(Protocol):
    """Stage 1: finds candidate faces in an image, uint8 RGB (H, W, 3)."""

    def __call__(self, image: NDArray[np.uint8]) -> Faces: ...


class Refiner(Protocol):
    """A later stage: filters, regresses and rescores the candidates it is given."""

    def __call__(self, image: NDArray[np.uint8], faces: Faces) -> Faces: ...
