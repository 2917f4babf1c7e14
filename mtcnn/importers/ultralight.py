"""slim: Linzaer's published weights, whose nets see (x - 127) / 128 of RGB, as ours do.

Source of the names: `mb_tiny_fd.py` and `mb_tiny.py` of Ultra-Light-Fast-Generic-Face-Detector-1MB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ..detectors.load import build
from .single_stage import Ready, fitted, unknown

__all__ = ["read_linzaer"]

_STARTS = (0, 8, 11)  # numbers of the blocks that begin the stages at strides 8, 16 and 32
_EXTRA = {"0": "0.0", "2.0": "1.0", "2.2": "2.0"}  # layers of the stage at stride 64
_HEADS = {"classification_headers": "classes", "regression_headers": "boxes"}


def read_linzaer(state: Mapping[str, Tensor]) -> Ready:
    """Linzaer's .pth."""
    names = {_name(name): value for name, value in state.items()}
    return Ready("slim", fitted(build("slim"), names), "Linzaer's slim")


def _name(name: str) -> str:
    """Our name of a parameter."""
    if match := re.fullmatch(r"base_net\.(\d+)\.(\d)\.(\w+)", name):
        return _block(int(match[1]), int(match[2]), match[3])
    if (match := re.fullmatch(r"extras\.0\.(.+)\.(\w+)", name)) and match[1] in _EXTRA:
        return f"stages.3.{_EXTRA[match[1]]}.{match[2]}"
    match = re.fullmatch(r"(\w+)\.(\d)\.(?:([02])\.)?(\w+)", name)
    if match is None or match[1] not in _HEADS:
        raise unknown(name, "slim")
    # Layers 0 and 2 are the halves of a separable convolution; the last level has one layer.
    half = {"0": "0.0.", "2": "1.", None: ""}[match[3]]
    return f"{_HEADS[match[1]]}.{match[2]}.{half}{match[4]}"


def _block(number: int, layer: int, role: str) -> str:
    """A parameter of block `number` of the trunk, from 0: layers 0, 1 and 3, 4 are the halves of a convolution."""
    stage = sum(start <= number for start in _STARTS) - 1
    half = "" if number == 0 else f"{layer // 3}."
    return f"stages.{stage}.{number - _STARTS[stage]}.{half}{layer % 3}.{role}"
