"""Face detection that you can retrain: a cascade in the line of MTCNN, with its training and its evaluation.

    from mtcnn import Detector
    faces = Detector().detect("photo.jpg")

What the commands `mtcnn train`, `eval` and `export` do, `train`, `evaluate` and `export` do here.

The names in `__all__` are public; the rest is free to change.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - Python refuses to load it once the main thread has ended
import warnings
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .errors import MtcnnError
from .installed import BESIDE, has_leftovers
from .types import Faces, ImageSize

if TYPE_CHECKING:
    from .api.evaluation import evaluate
    from .api.exporting import export
    from .api.training import train
    from .cascade import Detector
    from .compat import MTCNN
    from .images import read_image
    from .pictures.draw import draw_faces

__all__ = [
    "MTCNN",
    "Detector",
    "Faces",
    "ImageSize",
    "MtcnnError",
    "draw_faces",
    "evaluate",
    "export",
    "read_image",
    "train",
]
__version__ = "0.2.0"

# These load torch, Numba or OpenCV, which takes seconds; `mtcnn --help` and `import mtcnn` should not wait for them.
_OLD_NAMES = ("mtcnn", "stages", "utils", "exceptions")  # modules that `import mtcnn` gives in ipazc's package
_LAZY = {
    "MTCNN": "compat",
    "Detector": "cascade",
    "draw_faces": "pictures.draw",
    "evaluate": "api.evaluation",
    "export": "api.exporting",
    "read_image": "images",
    "train": "api.training",
}


__path__.append(f"{__path__[0]}/former")  # modules of version 0.1, until 0.3

if has_leftovers(__path__[0]):
    warnings.warn(BESIDE, stacklevel=2)


def _loaded(module: str) -> ModuleType:
    try:
        return import_module(f".{module}", __name__)
    except (ImportError, AttributeError, OSError) as error:
        from .libraries import library_error

        if (fault := library_error(error)) is None:
            raise
        raise fault from None


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(_loaded(_LAZY[name]), name)
    if name in _OLD_NAMES:
        return _loaded(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
