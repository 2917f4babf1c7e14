"""`mtcnn.utils` of ipazc's mtcnn 1: loading images and drawing faces.

New programs should use `mtcnn.read_image` and `mtcnn.draw_faces`.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name in ("images", "plotting"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
