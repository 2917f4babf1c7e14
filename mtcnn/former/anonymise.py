"""`mtcnn.anonymise` of version 0.1: `mtcnn.pictures.anonymise`."""

import warnings

from mtcnn.pictures.anonymise import STYLES, Style, anonymise

__all__ = ["STYLES", "Style", "anonymise"]

warnings.warn(
    "mtcnn.anonymise is mtcnn.pictures.anonymise now; the old name works until version 0.3", FutureWarning, stacklevel=2
)
