"""`mtcnn.align` of version 0.1: `mtcnn.pictures.align`."""

import warnings

from mtcnn.pictures.align import TEMPLATE, align, check_margin, crop, grow, similarity

__all__ = ["TEMPLATE", "align", "check_margin", "crop", "grow", "similarity"]

warnings.warn(
    "mtcnn.align is mtcnn.pictures.align now; the old name works until version 0.3", FutureWarning, stacklevel=2
)
