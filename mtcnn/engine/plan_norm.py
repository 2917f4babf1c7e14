"""Group norm in a plan: the sums of a map's rows are compiled, what follows is NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graph import PlanNode
from .registers import padded

__all__ = ["GroupNorm"]

Array = NDArray[Any]


class GroupNorm:
    """Group norm of a map: from the sums of each row's values and squares, a factor and an offset of each channel.

    Source: Wu and He 2018, section 3.
    """

    def __init__(self, node: PlanNode, weight: Array, bias: Array, rows: int, columns: int) -> None:
        size = padded(node.channels)
        self.node, self.weight, self.bias, self.cells = node, weight, bias, rows * columns
        self.totals, self.factors = np.zeros((rows, 2, size), np.float32), np.zeros((2, size), np.float32)

    def update(self) -> None:
        """Compute the factors of the map whose sums are in `totals`."""
        channels, groups = self.node.channels, self.node.groups
        sums = self.totals[:, :, :channels].sum(axis=0, dtype=np.float64)
        mean, square = sums.reshape(2, groups, -1).sum(axis=2) / (self.cells * channels / groups)
        deviation = np.sqrt(np.maximum(square - mean**2, 0) + self.node.convolutions[0].epsilon)
        scale = self.weight / np.repeat(deviation, channels // groups)
        self.factors[:, :channels] = scale, self.bias - np.repeat(mean, channels // groups) * scale
