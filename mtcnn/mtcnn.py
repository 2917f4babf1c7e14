"""`from mtcnn.mtcnn import MTCNN`, as programs for ipazc's mtcnn have it."""

from .compat import MTCNN

__all__ = ["MTCNN"]
