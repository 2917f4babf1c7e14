"""Group norm in a plan: the sums of a map's rows, and what follows from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graph import PlanNode
from .kernel_cache import kernel
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
        kernel("factors")(
            self.totals.ctypes.data, len(self.totals), self.node.channels, self.node.groups, self.cells,
            self.node.convolutions[0].epsilon, self.weight.ctypes.data, self.bias.ctypes.data, self.factors.ctypes.data,
        )  # fmt: skip
