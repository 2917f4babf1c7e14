"""Outputs of a plan whose rows are computed, or copied, where somebody asks for them.

A detector decodes only the predictions that pass its threshold: a few of thousands. The heads of boxes and points are
therefore computed for the cells of these alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import steps as at
from .graph import OutputLevel
from .kernel_cache import kernel

__all__ = ["CellTable", "LazyLevel", "PlanRows"]

Array = NDArray[Any]
Pick = Callable[[NDArray[np.int64], NDArray[np.float32]], None]
"""(rows, values): writes values (R, V) of the predictions of a level, int64 (R,), rising."""


class CellTable:
    """Predictions of a map that one or two nodes make, or that is stored, by `compiled_steps.run_cells`.

    table  of their steps.    columns  of the map.    each  predictions of a cell.
    """

    def __init__(self, table: Array, columns: int, each: int) -> None:
        self.table, self.address = table, table.ctypes.data
        table[at.WIDTH], table[at.PER_CELL] = columns, each

    def __call__(self, rows: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        self.table[at.PICKED : at.VALUES + 1] = rows.ctypes.data, self.table[at.PER_CELL], values.shape[1]
        self.table[at.MANY], self.table[at.OUT] = len(rows), values.ctypes.data
        kernel("run_cells")(self.address)


class LazyLevel(NamedTuple):
    """A level of an output, the number of its rows, and the function that makes some of them."""

    level: OutputLevel
    rows: int
    pick: Pick


class PlanRows:
    """An array (A, values) whose rows are made by `rows[index]`, index int (R,); NumPy converts it to all of them.

    owner  of the memory that the functions of the levels read, some by address alone: maps of a large image are not
           kept by the net.

    It reads the maps of the plan: it is valid until the plan runs again in the same thread.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, levels: Sequence[LazyLevel], scales: dict[str, float], owner: Any) -> None:
        self.levels, self.scales, self.owner = levels, scales, owner
        level = levels[0].level
        self.shape = (sum(each.rows for each in levels), level.values - level.difference)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[np.arange(len(self))], dtype)

    def __getitem__(self, index: Array) -> NDArray[np.float32]:
        rows = np.asarray(index, np.int64)
        order = rows.argsort()
        rising = rows[order]
        made = np.empty((len(rows), self.levels[0].level.values), np.float32)
        start = first = 0
        for level, count, pick in self.levels:
            last = int(rising.searchsorted(start + count))
            if last > first:
                some = made[first:last]
                pick(rising[first:last] - start, some)
                if level.scale is not None:
                    some *= np.float32(self.scales[level.scale])
            start, first = start + count, last
        found = np.empty_like(made)
        found[order] = made
        return found[:, 1:] - found[:, :1] if self.levels[0].level.difference else found
