"""PNet, RNet and ONet in NumPy, for installations without llvmlite, where nothing can be compiled.

Convolutions are matrix products over windows. Equal to the compiled nets up to float32 rounding, and some ten times
slower.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.pnet import Cells
from ..engine.refine import Refined
from ..pyramid import CELL, STRIDE, map_size
from ..types import ImageSize
from ..weights import LAYERS, SCALING, SECOND, Layer, Weights

__all__ = ["PlainPNet", "PlainRefiner"]

Array = NDArray[Any]

STRIP = 1 << 16  # pixels of a level per pass of PNet, which bounds the memory
BATCH = 64  # crops per pass
POOLS = {"pnet": (2,), "rnet": (3, 3), "onet": (3, 3, 2), SECOND: (3, 3, 2)}  # side of each pooling, at stride 2


def _convolved(x: Array, layer: Layer) -> Array:
    """x (N, H, W, C) -> (N, h, w, O), without padding."""
    outputs, _, high, wide = layer.weight.shape
    height, width = x.shape[1] - high + 1, x.shape[2] - wide + 1
    shifted = [x[:, i : i + height, j : j + width] for i in range(high) for j in range(wide)]
    windows = np.concatenate(shifted, axis=3)  # (N, h, w, y x C)
    kernel = layer.weight.transpose(2, 3, 1, 0).reshape(-1, outputs)  # (O, C, y, x) -> (y x C, O)
    return np.asarray(windows @ kernel + layer.bias)


def _activated(x: Array, layer: Layer) -> Array:
    assert layer.slope is not None
    return np.asarray(np.where(x >= 0, x, x * layer.slope))


def _pooled(x: Array, side: int) -> Array:
    """Max pooling of x (N, H, W, C) at stride 2, which rounds its output size up."""
    height, width = (-(-(length - side) // 2) + 1 for length in x.shape[1:3])
    more = [
        (0, max((count - 1) * 2 + side - length, 0)) for count, length in ((height, x.shape[1]), (width, x.shape[2]))
    ]
    padded = np.pad(x, ((0, 0), *more, (0, 0)), constant_values=-np.inf)
    found = np.full((len(x), height, width, x.shape[3]), -np.inf, np.float32)
    for i in range(side):
        for j in range(side):
            np.maximum(found, padded[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2], out=found)
    return found


def _features(net: Weights, pixels: Array) -> Array:
    """The last layer before the heads: (N, h, w, C), or (N, C) for nets with a dense layer. pixels (N, H, W, 3)."""
    mean, divisor = SCALING
    x: Array = (pixels.astype(np.float32) - np.asarray(mean, np.float32)) * np.float32(1 / divisor)
    pools = iter(POOLS[net.net])
    slopes = [name for name in LAYERS[net.net] if name.startswith("trunk.")][1::2]
    for layer, slope in zip(net.trunk(), slopes, strict=True):
        if layer.weight.ndim == 2:
            flat = x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # (N, h, w, C) -> (N, C h w), torch's order
            x = _activated(flat @ layer.weight.T + layer.bias, layer)
        else:
            x = _activated(_convolved(x, layer), layer)
            x = _pooled(x, next(pools)) if slope.endswith(".prelu") else x
    return x


def _head(net: Weights, name: str, features: Array) -> Array:
    layer = net.layer(name)
    return np.asarray(features @ layer.weight.reshape(len(layer.weight), -1).T + layer.bias)


class PlainPNet:
    """PNet over levels: see `cascade.MapRunner`."""

    def __init__(self, net: Weights) -> None:
        self.net = net

    def cells(self, level: Array, min_logit: float, first: int, last: int) -> Cells:
        """In horizontal strips: the values are those of one pass."""
        height, width = level.shape[:2]
        total = map_size(ImageSize(height, width)).height
        step = max(STRIP // (STRIDE * width), 8)
        found = [
            Cells(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))
        ]
        for row in range(first, last, step):
            below = min(row + step, last)
            # Pooling rounds up only at the true end of the level.
            end = height if below >= total else STRIDE * below + CELL - STRIDE
            features = _features(self.net, level[None, STRIDE * row : end])[0]
            pair = _head(self.net, "face", features)
            logits = pair[..., 1] - pair[..., 0]
            rows, columns = np.nonzero(logits >= min_logit)
            offsets = _head(self.net, "offsets", features[rows, columns])
            found.append(Cells(rows + row, columns, logits[rows, columns], offsets))
        return Cells(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


class PlainRefiner:
    """RNet or ONet: see `cascade.CropRunner`."""

    def __init__(self, net: Weights) -> None:
        self.net = net

    def __call__(self, crops: Array) -> Refined:
        parts = [_features(self.net, crops[i : i + BATCH]) for i in range(0, len(crops), BATCH)]
        width = self.net.layer("face").weight.shape[1]
        features = np.concatenate(parts) if parts else np.zeros((0, width), np.float32)
        pair, offsets = _head(self.net, "face", features), _head(self.net, "offsets", features)
        points = None if self.net.net == "rnet" else _head(self.net, "landmarks", features).reshape(-1, 5, 2)
        return Refined(pair[:, 1] - pair[:, 0], offsets, points)
