"""The multiply-adds of SCRFD from its [model] alone: a search rejects thousands of descriptions for each that it keeps.

`mtcnn.flops` counts what a net computes, tests compare the two. For sides that are multiples of 32.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

__all__ = ["STAGES", "multiply_adds"]

STAGES = ("stem", "stage 1", "stage 2", "stage 3", "stage 4")
_ANCHORS, _VALUES, _POINTS = 2, 5, 10  # on a cell; logits and distances of each, and landmarks


def multiply_adds(model: Mapping[str, Any], height: int, width: int) -> dict[str, int]:
    """Multiply-adds of convolutions by part, in the order of the net: "stem", "stage 1" to "stage 4", "neck", "head".

    model  all settings of the net, see `detectors.load.model_of`.
    """
    cells = [height * width // stride**2 for stride in (2, 4, 8, 16, 32)]
    trunks = {"mobilenet": _mobilenet, "yunet": _yunet}
    parts = trunks.get(model["block"], _resnet)(model, cells)
    inputs = [channels * (4 if model["block"] == "bottleneck" else 1) for channels in model["widths"][1:]]
    neck = model["neck"]
    squares = 9 * neck**2  # of a 3 x 3 convolution
    lateral = sum(count * channels * neck for count, channels in zip(cells[2:], inputs, strict=True))
    parts["neck"] = lateral + squares * (sum(cells[2:]) + 2 * sum(cells[3:]))
    if model["neck_block"] == "yunet":
        parts["neck"] = sum(cells[2:]) * _pair(neck, neck)
    parts["head"] = sum(cells[2:]) * _head(model)
    return parts


def _mobilenet(model: Mapping[str, Any], cells: list[int]) -> dict[str, int]:
    first, inputs = model["stem"]
    parts = {"stem": cells[0] * (27 * first + _separable(first, inputs))}
    for name, count, blocks, width in zip(STAGES[1:], cells[1:], model["blocks"], model["widths"], strict=True):
        parts[name] = count * (_separable(inputs, width) + (blocks - 1) * _separable(width, width))
        inputs = width
    return parts


def _yunet(model: Mapping[str, Any], cells: list[int]) -> dict[str, int]:
    first, inputs = model["stem"]
    parts = {"stem": cells[0] * (27 * first + _pair(first, inputs))}
    for name, count, blocks, width in zip(STAGES[1:], cells[1:], model["blocks"], model["widths"], strict=True):
        sides = [inputs] * min(blocks, 2) + [width] * max(blocks - 1, 1)
        parts[name] = count * sum(_pair(a, b) for a, b in pairwise(sides))
        inputs = width
    return parts


def _pair(inputs: int, outputs: int) -> int:
    return inputs * outputs + 9 * outputs


def _separable(inputs: int, outputs: int) -> int:
    return 9 * inputs + inputs * outputs


def _plain(inputs: int, outputs: int) -> int:
    return 9 * inputs * outputs


_HEAD_BLOCKS = {"separable": _separable, "plain": _plain, "yunet": _pair}


def _resnet(model: Mapping[str, Any], cells: list[int]) -> dict[str, int]:
    (stem,) = model["stem"]
    half, inputs, before = stem // 2, stem, cells[1]
    parts = {"stem": cells[0] * 9 * (3 * half + half * half + half * stem)}
    grows = 4 if model["block"] == "bottleneck" else 1
    for name, count, blocks, width in zip(STAGES[1:], cells[1:], model["blocks"], model["widths"], strict=True):
        outputs = grows * width
        shortcut = inputs * outputs if before != count or inputs != outputs else 0
        if grows == 1:
            first, later = count * 9 * (inputs + width) * width, 18 * width**2
        else:  # the first 1 x 1 convolution sees the map before it is halved
            first, later = before * inputs * width + count * (9 + grows) * width**2, (9 + 2 * grows) * width**2
        parts[name] = first + count * (shortcut + (blocks - 1) * later)
        inputs, before = outputs, count
    return parts


def _head(model: Mapping[str, Any]) -> int:
    """Of a cell."""
    block = model["head_block"]
    sides = [model["neck"], *[model["head"]] * model["head_depth"]]
    outputs = _ANCHORS * (_VALUES + (_POINTS if model["landmarks"] else 0))
    body = sum(_HEAD_BLOCKS[block](a, b) for a, b in pairwise(sides))
    return body + (_pair if block == "yunet" else _plain)(sides[-1], outputs)
