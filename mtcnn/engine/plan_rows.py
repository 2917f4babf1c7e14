"""Outputs of a plan of which only some rows are wanted: which scores pass a threshold, and other values of those.

A detector decodes only the predictions that pass its threshold: a few of thousands. The heads of boxes and points are
therefore computed for the cells of these alone, and scores are compared where the net has left them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .kernel_cache import kernel
from .packing import FLOAT_BYTES

__all__ = ["LevelTable", "PlanRows", "PlanScores"]

Array = NDArray[Any]

USUAL = 256  # predictions that pass


class LevelTable(NamedTuple):
    """A level of an output: the table of `compiled_rows.pick`, the number of its rows, what multiplies its values."""

    table: Array
    rows: int
    scale: float


class PlanRows:
    """An array (A, values) whose rows are made by `rows[index]`, index int (R,); NumPy converts it to all of them.

    It reads the maps of the plan: it is valid until the plan runs again in the same thread.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, tables: Sequence[LevelTable], values: int, difference: bool, owner: Any) -> None:
        """values  of a row.    difference  whether the first one is to be subtracted from the others.

        owner  of the memory that the tables name by address alone: maps of a large image are not kept by the net.
        """
        self.tables, self.owner, self.values, self.difference = tables, owner, values, difference
        self.scales = np.array([each.scale for each in tables], np.float32)
        firsts, places = np.cumsum([0, *(each.rows for each in tables)]), [each.table.ctypes.data for each in tables]
        self.levels = np.stack([firsts, [*places, 0]], axis=1).astype(np.int64)
        self.shape = (int(firsts[-1]), values - difference)
        self._make_room(USUAL)

    def _make_room(self, count: int) -> None:
        """Of `count` rows: addresses of new arrays take NumPy longer than copies."""
        self.rows, self.order, self.found = *np.empty((2, count), np.int64), np.empty((count, self.values), np.float32)
        picked = self.picked = np.empty(count, np.int64)
        places = [each.ctypes.data for each in (self.levels, self.scales, self.rows, self.order, picked, self.found)]
        self.call = partial(kernel("pick"), *places, len(self.tables), self.values)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[np.arange(len(self))], dtype)

    def __getitem__(self, index: Array) -> NDArray[np.float32]:
        count = len(index)
        if count > len(self.rows):
            self._make_room(count)
        rows = self.rows[:count]
        rows[...] = index
        self.order[:count] = rows.argsort()
        self.call(count)
        found = self.found[:count].copy()
        return found[:, 1:] - found[:, :1] if self.difference else found


class PlanScores:
    """An array (A,), or (A, 1), of scores in the maps of a plan; NumPy converts it. Valid as long as `PlanRows` is.

    maps  views (rows, columns, scores of a cell) of each level.    flat  whether the array has one axis.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, maps: Sequence[Array], flat: bool) -> None:
        self.maps = maps
        self.levels = np.array([
            (each.ctypes.data, each.strides[0], each.strides[1] // FLOAT_BYTES, *each.shape) for each in maps
        ], np.int64)  # fmt: skip
        count = sum(each.size for each in maps)
        self.shape = (count,) if flat else (count, 1)
        self.rows, self.values = np.empty(count, np.int64), np.empty((2, count), np.float32)
        self.address = self.levels.ctypes.data
        places = self.rows.ctypes.data, *(each.ctypes.data for each in self.values)
        self.call = partial(kernel("passing"), *places, len(maps), self.address)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(np.concatenate([each.ravel() for each in self.maps]).reshape(self.shape), dtype)

    def __getitem__(self, index: Any) -> Array:
        found: Array = np.asarray(self)[index]
        return found

    def passing(self, lowest: float, other: PlanScores) -> tuple[Array, Array, Array]:
        """The predictions whose scores, here and in another output of the same net, are at least `lowest`: their
        numbers, rising, int64 (R,), and both scores (R,). NaN never is."""
        found = self.call(other.address, lowest)
        return self.rows[:found].copy(), self.values[0, :found].copy(), self.values[1, :found].copy()
