"""Face detection that you can retrain: a cascade in the line of MTCNN, with its training and its evaluation.

    from mtcnn import Detector
    faces = Detector().detect("photo.jpg")

The names in `__all__` are public; the rest is free to change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import MtcnnError
from .types import Faces, ImageSize

if TYPE_CHECKING:
    from .cascade import Detector
    from .compat import MTCNN
    from .images import read_image
    from .pictures.draw import draw_faces

__all__ = ["MTCNN", "Detector", "Faces", "ImageSize", "MtcnnError", "draw_faces", "read_image"]
__version__ = "0.1.0"

# These load torch, Numba or OpenCV, which takes seconds; `mtcnn --help` and `import mtcnn` should not wait for them.
_LAZY = {"MTCNN": "compat", "Detector": "cascade", "draw_faces": "pictures.draw", "read_image": "images"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
