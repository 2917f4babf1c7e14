"""YuNet: the weights that libfacedetection.train publishes. They take BGR from 0 to 255; the first kernel
is converted to RGB.

Source of the names: `yunet_backbone.py`, `tfpn.py` and `yunet_head.py` of libfacedetection.train.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ..detectors.load import build
from .single_stage import Ready, fitted, from_bgr, unknown

__all__ = ["read_yunet"]

_LAYER = {"conv1": 0, "conv2": 1, "bn": 2}
_STEM = {"conv1": "stem.0", "bn1": "stem.1"}
_HEADS = {"cls": "class_logits", "obj": "object_logits", "bbox": "boxes", "kps": "landmarks"}


def read_yunet(state: Mapping[str, Tensor]) -> Ready:
    """YuNet's .pth, n or s."""
    net = "yunet-n" if any("share_convs" in name for name in state) else "yunet-s"
    names = {_name(name): value for name, value in state.items()}
    return Ready(net, from_bgr(fitted(build(net), names)), f"{net} of libfacedetection.train")


def _name(name: str) -> str:
    place, layer, role = _split(name)
    if match := re.fullmatch(r"backbone\.model0(?:\.conv2)?", place):
        if match[0] == "backbone.model0" and layer in _STEM:
            return f"{_STEM[layer]}.{role}"
        place = "stages.0"
    elif match := re.fullmatch(r"backbone\.model(\d)\.conv([12])", place):
        place = f"stages.{match[1]}.{int(match[2]) - 1}"
    elif match := re.fullmatch(r"neck\.lateral_convs\.(\d)", place):
        place = f"lateral.{match[1]}"
    elif match := re.fullmatch(r"bbox_head\.multi_level_share_convs\.(\d)\.(\d)", place):
        place = f"shared.{match[1]}.{match[2]}"
    elif (match := re.fullmatch(r"bbox_head\.multi_level_(\w+)\.(\d)", place)) and match[1] in _HEADS:
        place = f"heads.{_HEADS[match[1]]}.{match[2]}"
    else:
        raise unknown(name, "YuNet")
    if layer not in _LAYER:
        raise unknown(name, "YuNet")
    return f"{place}.{_LAYER[layer]}.{role}"


def _split(name: str) -> tuple[str, str, str]:
    """A name as place, layer and role: backbone.model1.conv1 . bn . weight."""
    place, layer, role = ["", "", *name.rsplit(".", 2)][-3:]
    return place, layer, role
