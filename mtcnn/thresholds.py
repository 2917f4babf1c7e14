"""The threshold of a net, by default: it belongs to the weights and travels in their file."""

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
    """The same for weights that do not say."""
    return DETECTORS[net].threshold if net in DETECTORS else THRESHOLDS[net]
