"""SCRFD: a trunk whose stages were sized by search, path aggregation (PAFPN), and a convolutional head per level.

Source: Guo et al. 2021, "Sample and Computation Redistribution for Efficient Face Detection", section 3; layers and
channels of the five sizes are those of InsightFace's SCRFD. Trunk, neck and head may also be those of YuNet: Wu et al.
2023, "YuNet: A Tiny Millisecond-level Face Detector", figures 2 and 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..settings import require
from .conv import normed_conv, paired, pointwise_first, separable
from .heads import flatten, head
from .necks import PathAggregation, TinyFeaturePyramid
from .trunks.staged import MobileNetV1, ResNetV1e, StagedTrunk, YuNetTrunk

__all__ = ["DIVIDED", "SCRFD"]

DIVIDED = {"mobilenet": MobileNetV1, "yunet": YuNetTrunk}  # trunks of separable convolutions

_STRIDES = (8, 16, 32)
_ANCHORS = 2  # per cell, at the same position: they differ in the faces that training assigns to them
_RARE = 0.01  # initial score, since few anchors have a face: Lin et al. 2017 (RetinaNet)
_MOST = 100  # blocks of a stage, and of the head


class SCRFD(nn.Module):
    """Three maps at strides 8, 16 and 32, two predictions per cell.

    block        of the trunk: "mobilenet" (separable convolutions), "yunet" (YuNet's, pointwise before depthwise),
                 "basic" or "bottleneck" (residual).
    stem         channels of the trunk's stem: two numbers for mobilenet and yunet, one for the others.
    blocks       of each of the trunk's four stages.          widths     channels of each; inner ones of bottlenecks.
    neck         channels of the neck.                        head       channels of the head.
    neck_block   of the neck: "plain" (path aggregation) or "yunet" (YuNet's tiny feature pyramid, whose `neck` channels
                 are those of the last three stages).
    head_depth   convolutions of the head before the prediction layers.
    head_block   of the head: "separable", "plain" or "yunet" (pointwise before depthwise; norm bn alone). Prediction
                 layers are plain, for yunet such pairs.
    norm         of the head: "gn" in `norm_groups` groups, or "bn". The trunk and YuNet's neck have batch norm.
    shared       one head for all levels, or one for each.
    scaled       whether each level has a learned factor for its distances.
    landmarks    whether five points are predicted.

    Raises SettingsError for invalid settings.
    """

    def __init__(
        self,
        block: str = "mobilenet",
        stem: Sequence[int] = (16, 16),
        blocks: Sequence[int] = (2, 3, 2, 6),
        widths: Sequence[int] = (40, 72, 152, 288),
        neck: int = 16,
        neck_block: str = "plain",
        head: int = 64,
        head_depth: int = 2,
        head_block: str = "separable",
        norm: str = "gn",
        norm_groups: int = 16,
        shared: bool = True,
        scaled: bool = True,
        landmarks: bool = False,
    ) -> None:
        super().__init__()
        require(norm in ("gn", "bn"), "norm", norm, "gn or bn")
        require(neck_block in ("plain", "yunet"), "neck_block", neck_block, "plain or yunet")
        require(head_block in _BLOCKS, "head_block", head_block, "separable, plain or yunet")
        require(norm == "bn" or head_block != "yunet", "norm", norm, "bn for the head_block yunet")
        require(0 <= head_depth <= _MOST, "head_depth", head_depth, f"0 to {_MOST}")
        self.trunk = _trunk(block, stem, blocks, widths)
        self.neck = _neck(neck_block, self.trunk.channels, neck)
        groups = norm_groups if norm == "gn" else 0
        heads = [
            LevelHead(neck, head, head_depth, head_block, groups, landmarks)
            for _ in range(1 if shared else len(_STRIDES))
        ]
        self.heads = nn.ModuleList(heads)
        self.scales = nn.ParameterList([nn.Parameter(torch.ones(())) for _ in _STRIDES if scaled])
        self.has_landmarks = landmarks  # a checkpoint may record that they were not trained

    def levels(self, x: Tensor) -> list[dict[str, Tensor]]:
        """Images (N, 3, H, W) to the outputs of each level: logits (N, A, 1), distances (N, A, 4) and, if the net has
        them, landmarks (N, A, 10)."""
        found = []
        for i, level in enumerate(self.neck(self.trunk(x))):
            outputs = self.heads[i % len(self.heads)](level)
            if len(self.scales):
                outputs["distances"] = outputs["distances"] * self.scales[i]
            found.append(outputs)
        return found

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) to logits (N, A), distances (N, A, 4) and landmarks (N, A, 10) of all anchors: finest map
        first, row by row. `distances.Distances` decodes them."""
        levels = self.levels(x)
        outputs = {name: torch.cat([level[name] for level in levels], dim=1) for name in levels[0]}
        return {**outputs, "logits": outputs["logits"][..., 0].float()}  # (N, A, 1) -> (N, A)

    def deployed(self, x: Tensor) -> dict[str, Tensor]:
        """The outputs in the format of InsightFace's files: scores from 0 to 1 (N, A, 1) of each level, then distances
        (N, A, 4), then points (N, A, 10), named score_8, score_16 and so on."""
        levels = self.levels(x)
        for level in levels:
            level["logits"] = level["logits"].sigmoid()
        names = {"logits": "score", "distances": "bbox", "landmarks": "kps"}
        known = [name for name in levels[0] if name != "landmarks" or self.has_landmarks]
        pairs = [(name, i) for name in known for i in range(len(levels))]
        return {f"{names[name]}_{_STRIDES[i]}": levels[i][name] for name, i in pairs}


class LevelHead(nn.Module):
    """The convolutions of one level's head, and its prediction layers.

    block   of the convolutions, see SCRFD.    groups  of group norm; 0 for batch norm.
    """

    def __init__(self, inputs: int, width: int, depth: int, block: str, groups: int, landmarks: bool) -> None:
        super().__init__()
        sides = [inputs, *[width] * depth]
        self.body = nn.Sequential(*(_BLOCKS[block](a, b, groups) for a, b in pairwise(sides)))
        values = {"logits": 1, "distances": 4, **({"landmarks": 10} if landmarks else {})}
        self.values = values
        last = _pair if block == "yunet" else _plain
        self.predict = nn.ModuleDict({name: last(sides[-1], _ANCHORS * count) for name, count in values.items()})
        *_, final = (layer for layer in self.predict["logits"].modules() if isinstance(layer, nn.Conv2d))
        nn.init.constant_(final.bias, math.log(_RARE / (1 - _RARE)))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.body(x)
        return {name: flatten(layer(x), self.values[name]) for name, layer in self.predict.items()}


# Convolutions of the head, from their input and output channels and the groups of group norm.
_BLOCKS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "separable": lambda inputs, outputs, groups: separable(inputs, outputs, norm_groups=groups),
    "plain": lambda inputs, outputs, groups: normed_conv(inputs, outputs, 3, norm_groups=groups),
    "yunet": lambda inputs, outputs, groups: pointwise_first(inputs, outputs),
}


def _plain(inputs: int, outputs: int) -> nn.Module:
    return head(inputs, outputs, 3)


def _pair(inputs: int, outputs: int) -> nn.Module:
    layers = paired(inputs, outputs)
    for layer in layers:
        nn.init.xavier_normal_(layer.weight)  # type: ignore[arg-type]
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers)


def _neck(block: str, inputs: Sequence[int], width: int) -> nn.Module:
    if block == "plain":
        return PathAggregation(inputs, width)
    require(
        {*inputs} == {width}, "neck", width, f"the channels of the last three stages, which are {[*inputs]}, for yunet"
    )
    return TinyFeaturePyramid(len(inputs), width)


def _trunk(block: str, stem: Sequence[int], blocks: Sequence[int], widths: Sequence[int]) -> StagedTrunk:
    known = (*DIVIDED, "basic", "bottleneck")
    require(block in known, "block", block, f"{', '.join(known[:-1])} or {known[-1]}")
    wanted = 2 if block in DIVIDED else 1
    for name, values, count in (("stem", stem, wanted), ("blocks", blocks, 4), ("widths", widths, 4)):
        good = len(values) == count and all(type(value) is int and value > 0 for value in values)
        require(good, name, list(values), f"{count} whole numbers above 0 for {block}")
    require(max(blocks) <= _MOST, "blocks", list(blocks), f"at most {_MOST} each")
    if block in DIVIDED:
        return DIVIDED[block](stem, blocks, widths)
    return ResNetV1e(stem[0], blocks, widths, block == "bottleneck")
