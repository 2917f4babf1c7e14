"""The error of ipazc's mtcnn 0.1, by its name: whatever is no image raises it."""

from ..errors import ImageError as InvalidImage

__all__ = ["InvalidImage"]
