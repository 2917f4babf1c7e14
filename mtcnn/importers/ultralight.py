"""slim and RFB: Linzaer's published weights, and biubug6's with landmarks.

Linzaer's nets take RGB, (x - 127) / 128; biubug6's take BGR minus a mean colour, and their first kernel is converted.

Source of the names: `vision/ssd/mb_tiny_fd.py` and `vision/nn/mb_tiny_RFB.py` of
Ultra-Light-Fast-Generic-Face-Detector-1MB, `models/net_slim.py` and `net_rfb.py` of Face-Detector-1MB-with-landmark.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ..detectors.load import build
from .single_stage import Ready, fitted, from_bgr, unknown

__all__ = ["read_linzaer", "read_with_landmarks"]

_STARTS = (0, 8, 11)  # numbers of the blocks that begin the stages at strides 8, 16 and 32
_EXTRA = {"0": "0.0", "2.0": "1.0", "2.2": "2.0"}  # layers of the stage at stride 64
_JOINED = {"ConvLinear": "join", "shortcut": "shortcut"}
_PART = {"conv": 0, "bn": 1}
_HEADS = {"classification_headers": "classes", "regression_headers": "boxes",
          "conf": "classes", "loc": "boxes", "landm": "landmarks"}  # fmt: skip


def read_linzaer(state: Mapping[str, Tensor]) -> Ready:
    """slim or RFB of Linzaer."""
    net = "rfb" if any("shortcut" in name for name in state) else "slim"
    names = {_linzaer_name(name): value for name, value in state.items()}
    return Ready(net, fitted(build(net), names), f"Linzaer's {net}")


def read_with_landmarks(state: Mapping[str, Tensor]) -> Ready:
    """slim or RFB with landmarks of biubug6."""
    net = "rfb-landmarks" if any("shortcut" in name for name in state) else "slim-landmarks"
    names = {_landmarks_name(name): value for name, value in state.items()}
    return Ready(net, from_bgr(fitted(build(net), names)), f"biubug6's {net}")


def _linzaer_name(name: str) -> str:
    if match := re.fullmatch(r"base_net\.(\d+)\.(.+)", name):
        return _block(int(match[1]), match[2], name)
    if match := re.fullmatch(r"extras\.0\.(.+)\.(\w+)", name):
        return _extra(match[1], match[2], name)
    return _head(name)


def _landmarks_name(name: str) -> str:
    if match := re.fullmatch(r"conv14\.(.+)\.(\w+)", name):
        return _extra(match[1], match[2], name)
    if match := re.fullmatch(r"conv(\d+)\.(.+)", name):
        return _block(int(match[1]) - 1, match[2], name)
    return _head(name)


def _block(number: int, rest: str, name: str) -> str:
    """A parameter of block `number`, from 0, of the trunk."""
    stage = sum(start <= number for start in _STARTS) - 1
    place = f"stages.{stage}.{number - _STARTS[stage]}"
    if match := re.fullmatch(r"branch(\d)\.(\d)\.(conv|bn)\.(\w+)", rest):
        return f"{place}.branches.{match[1]}.{match[2]}.{_PART[match[3]]}.{match[4]}"
    if match := re.fullmatch(r"(ConvLinear|shortcut)\.(conv|bn)\.(\w+)", rest):
        return f"{place}.{_JOINED[match[1]]}.{_PART[match[2]]}.{match[3]}"
    if match := re.fullmatch(r"(\d)\.(\w+)", rest):  # layers 0, 1 and 3, 4 are the halves of a separable convolution
        half = "" if number == 0 else f"{int(match[1]) // 3}."
        return f"{place}.{half}{int(match[1]) % 3}.{match[2]}"
    raise unknown(name, "slim or RFB")


def _extra(layer: str, role: str, name: str) -> str:
    if layer not in _EXTRA:
        raise unknown(name, "slim or RFB")
    return f"stages.3.{_EXTRA[layer]}.{role}"


def _head(name: str) -> str:
    """A parameter of a head: layers 0 and 2 are the halves of a separable convolution; the last level has one layer."""
    match = re.fullmatch(r"(\w+)\.(\d)\.(?:([02])\.)?(\w+)", name)
    if match is None or match[1] not in _HEADS:
        raise unknown(name, "slim or RFB")
    half = {"0": "0.0.", "2": "1.", None: ""}[match[3]]
    return f"{_HEADS[match[1]]}.{match[2]}.{half}{match[4]}"
