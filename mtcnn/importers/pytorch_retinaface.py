"""RetinaFace of Pytorch_Retinaface, whose input is BGR minus a mean colour.

The first kernel is converted to RGB; the mean colour is `weights.MEAN_COLOUR` already.

Source of the names: `models/retinaface.py` and `models/net.py` of Pytorch_Retinaface.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ..detectors.load import build
from .single_stage import Ready, fitted, from_bgr, unknown

__all__ = ["read_retinaface", "trunk_name"]

_CONTEXT = {"conv3X3": "window3", "conv5X5_1": "reduce", "conv5X5_2": "window5", "conv7X7_2": "deepen",
            "conv7x7_3": "window7"}  # fmt: skip
_HEADS = {"ClassHead": "classes", "BboxHead": "boxes", "LandmarkHead": "landmarks"}


def read_retinaface(state: Mapping[str, Tensor]) -> Ready:
    net = "retinaface-r50" if "body.layer1.0.conv1.weight" in state else "retinaface"
    names = {_name(name): value for name, value in state.items()}
    return Ready(net, from_bgr(fitted(build(net), names)), "Pytorch_Retinaface's .pth")


def _name(name: str) -> str:
    """Our name of a parameter of Pytorch_Retinaface's RetinaFace."""
    part, _, rest = name.partition(".")
    level = int(part[-1]) - 1 if part[-1].isdecimal() else 0
    if part == "body":
        return f"trunk.{trunk_name(rest)}"
    if part == "fpn":
        return re.sub(r"(output|merge)(\d)", lambda m: f"pyramid.{_LATERAL[m[1]]}.{int(m[2]) - 1}", rest)
    if part.startswith("ssh"):
        module, _, rest = rest.partition(".")
        return f"context.{level}.{_CONTEXT.get(module, module)}.{rest}"
    if part in _HEADS:
        return f"{_HEADS[part]}.levels.{rest.replace('conv1x1.', '')}"
    raise unknown(name, "Pytorch_Retinaface's RetinaFace")


_LATERAL = {"output": "lateral", "merge": "merge"}


def trunk_name(name: str) -> str:
    """Our name of a parameter of its MobileNet: the halves of a separable convolution are layers 0, 1 and 3, 4."""
    match = re.fullmatch(r"stage(\d)\.(\d)\.(\d)\.(\w+)", name)
    if match is None:
        return name
    stage, block, layer = int(match[1]) - 1, int(match[2]), int(match[3])
    half = "" if (stage, block) == (0, 0) else f"{layer // 3}."
    return f"stages.{stage}.{block}.{half}{layer % 3}.{match[4]}"
