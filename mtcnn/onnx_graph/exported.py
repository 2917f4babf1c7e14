"""The result of an export, and what every export needs."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import MtcnnError

if TYPE_CHECKING:
    from .int8 import Agreement

__all__ = ["Exported", "Shape", "needed"]

Shape = tuple[int, int, int]
"""Batch, height, width."""


class Exported(NamedTuple):
    """The result of an export.

    outputs     names of its outputs.
    checked     the inputs it was checked with: batch, height, width.
    difference  the largest between the file, in onnxruntime or OpenVINO, and `reference`, as a share of an output's
                largest value; for int8, of the file before it was quantised.
    reference   "torch", or "Detector" for a file that holds a whole detector.
    agreement   of the faces in int8 with those in float32; None for a file in float32.
    """

    path: Path
    outputs: tuple[str, ...]
    checked: tuple[Shape, ...]
    difference: float
    reference: str = "torch"
    agreement: Agreement | None = None


def needed(package: str) -> Any:
    """A package of the extra `export`. Raises MtcnnError if it is missing."""
    try:
        return import_module(package)
    except ImportError:
        raise MtcnnError(f"no package {package}; expected it for ONNX: pip install 'mtcnn-cascade[export]'") from None
