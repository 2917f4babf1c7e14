"""The default threshold of a net, which is stored with its weights."""

from __future__ import annotations

from pathlib import Path

from .checkpoint import read_threshold
from .detectors import DETECTORS
from .weights import THRESHOLDS

__all__ = ["default_threshold", "published_threshold"]


def default_threshold(path: Path, net: str) -> float:
    """The minimum score of a face of `net` with the weights at `path`, 0 to 1. Only the header of the file is read."""
    found = read_threshold(path)
    return published_threshold(net) if found is None else found


def published_threshold(net: str) -> float:
    """The default threshold of weights that do not record one."""
    return DETECTORS[net].threshold if net in DETECTORS else THRESHOLDS[net]
