"""Heads: convolutions whose output maps are flattened to rows in the order of the anchors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Heads", "face_logits", "flatten", "head"]


def head(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    """A prediction convolution. It is initialised near 0 (standard deviation 0.01, as in SSH), so that no anchor starts
    confident."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class Heads(nn.Module):
    """One convolution per level, whose outputs are concatenated in the order of the anchors.

    inputs   channels of each level's map.               sizes   anchors per cell of each level.
    outputs  values per anchor, such as 2, 4 or 10.      kernel  of the convolutions, 1 or 3.
    """

    def __init__(self, inputs: Sequence[int], sizes: Sequence[int], outputs: int, kernel: int = 1) -> None:
        super().__init__()
        self.outputs = outputs
        self.levels = nn.ModuleList(
            [head(channels, count * outputs, kernel) for channels, count in zip(inputs, sizes, strict=True)]
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(N, A, outputs)"""
        return torch.cat([flatten(level(x), self.outputs) for level, x in zip(self.levels, maps, strict=True)], dim=1)


def flatten(x: Tensor, outputs: int) -> Tensor:
    """Flatten a map (N, anchors per cell * outputs, h, w) to rows (N, h * w * anchors per cell, outputs)."""
    # (N, k * outputs, h, w) -> (N, h, w, k * outputs) -> (N, h * w * k, outputs)
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, outputs)


def face_logits(pair: Tensor) -> Tensor:
    """Convert two-class logits (N, A, 2), background first, to face logits (N, A): a softmax over two classes is a
    sigmoid of their difference. It is computed in float32, even if mixed precision gives bfloat16."""
    pair = pair.float()
    return pair[..., 1] - pair[..., 0]
