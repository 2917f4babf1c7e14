"""`from mtcnn.exceptions.invalid_image import InvalidImage`, as ipazc's mtcnn 0.1 has it."""

from . import InvalidImage

__all__ = ["InvalidImage"]
