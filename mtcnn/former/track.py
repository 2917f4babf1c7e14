"""`mtcnn.track` of version 0.1: `mtcnn.stream.tracking`."""

import warnings

from mtcnn.stream.tracking import Tracker

__all__ = ["Tracker"]

warnings.warn(
    "mtcnn.track is mtcnn.stream.tracking now; the old name works until version 0.3", FutureWarning, stacklevel=2
)
