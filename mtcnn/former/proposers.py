"""`mtcnn.proposers` of version 0.1: `mtcnn.detectors.load`."""

import warnings

from mtcnn.detectors.load import load_detector as proposer_named

__all__ = ["proposer_named"]

warnings.warn(
    "mtcnn.proposers.proposer_named is mtcnn.detectors.load.load_detector now; the old name works until version 0.3",
    FutureWarning,
    stacklevel=2,
)
