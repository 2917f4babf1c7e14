"""Group norm in a plan: the sums of a map's rows, and what follows from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import steps as at
from .graph import PlanNode
from .kernel_cache import kernel
from .plan_maps import StoredMap
from .registers import padded

__all__ = ["GroupNorm"]

Array = NDArray[Any]


class GroupNorm:
    """Group norm of a map: from the sums of each row's values and squares, a factor and an offset of each channel.

    source  the map whose channels are normalised.    weight, bias  (channels,).

    Source: Wu and He 2018, section 3.
    """

    def __init__(self, node: PlanNode, source: StoredMap, weight: Array, bias: Array) -> None:
        size = padded(node.channels)
        self.node, self.source, self.weight, self.bias = node, source, weight, bias
        self.totals, self.factors = np.zeros((source.rows, 2, size), np.float32), np.zeros((2, size), np.float32)
        self.room, self.epsilon = np.zeros((2, size)), np.full(1, node.convolutions[0].epsilon)

    def fill_moments(self, step: Array) -> None:
        """Write the step that sums up rows of the map, but for its source, which is that map."""
        step[at.KERNEL] = kernel("moments", self.node.channels, self.source.channels).address  # type: ignore[attr-defined]
        step[at.ROWS] = step[at.TARGET_RING] = self.source.rows
        step[at.TARGET], step[at.TARGET_ROW] = self.totals.ctypes.data, self.totals.strides[0]
        step[at.ARGUMENTS + at.COLUMNS] = self.source.columns
        step[at.SOURCES] = 1

    def fill_factors(self, step: Array) -> None:
        """Write the step that computes `factors`; it has no source but the address of the sums."""
        step[at.KERNEL] = kernel("factors").address  # type: ignore[attr-defined]
        step[at.ROWS] = step[at.TARGET_RING] = 1
        step[at.TARGET] = self.factors.ctypes.data
        values = step[at.ARGUMENTS :]
        values[0], values[at.KERNEL_ROWS] = self.totals.ctypes.data, self.source.rows
        values[at.TAPS], values[at.TAP] = self.node.channels, self.node.groups
        values[at.COLUMNS], values[at.ROOM] = self.source.rows * self.source.columns, self.room.ctypes.data
        values[at.WEIGHTS : at.SLOPE + 1] = [each.ctypes.data for each in (self.weight, self.bias, self.epsilon)]
