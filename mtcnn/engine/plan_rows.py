"""Outputs of a plan whose rows are computed, or copied, where somebody asks for them.

A detector decodes only the predictions that pass its threshold: a few of thousands. The heads of boxes and points are
therefore computed for the cells of these alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import steps as at
from .graph import OutputLevel
from .kernel_cache import kernel

__all__ = ["CellTable", "PlanRows"]

Array = NDArray[Any]


class CellTable:
    """Computes single cells of the map that one or two nodes make, by `compiled_steps.run_cells`.

    table  of their steps.    columns, cell_bytes  of the map that the first one reads.    channels  of the result.
    """

    def __init__(self, table: Array, columns: int, cell_bytes: int, channels: int) -> None:
        self.table, self.columns, self.channels = table, columns, channels
        table[at.WIDTH], table[at.CELL] = columns, cell_bytes

    def __call__(self, cells: NDArray[np.int64]) -> NDArray[np.float32]:
        """Values (R, channels) of the cells (R,), row * columns + column, in any order."""
        some, places = np.unique(cells, return_inverse=True)
        made = np.empty((len(some), self.channels), np.float32)
        self.table[at.END], self.table[at.CELLS] = len(some), some.ctypes.data
        self.table[at.OUT], self.table[at.OUT_CELL] = made.ctypes.data, made.strides[0]
        kernel("run_cells")(self.table.ctypes.data)
        found: Array = made[places]
        return found


class PlanRows:
    """An array (A, values) whose rows are made by `rows[index]`, index int (R,); NumPy converts it to all of them.

    levels  with the number of the rows of each, and a function of cells (R,) that returns their channels.
    owner   of the memory that these functions read, some by address alone: maps of a large image are not kept by the
            net.

    It reads the maps of the plan: it is valid until the plan runs again in the same thread.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self, levels: Sequence[tuple[OutputLevel, int, Callable[[Array], Array]]], scales: dict[str, float], owner: Any
    ) -> None:
        self.levels, self.scales, self.owner = levels, scales, owner
        self.starts = np.cumsum([0, *(count for _, count, _ in levels)])
        level = levels[0][0]
        self.shape = (int(self.starts[-1]), level.values - level.difference)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[np.arange(len(self))], dtype)

    def __getitem__(self, index: Array) -> NDArray[np.float32]:
        rows = np.asarray(index)
        made = np.empty((len(rows), self.shape[1]), np.float32)
        places = np.searchsorted(self.starts, rows, side="right") - 1
        for number, (level, _, values) in enumerate(self.levels):
            here = np.flatnonzero(places == number)
            if len(here):
                made[here] = self._of_level(level, values, rows[here] - self.starts[number])
        return made

    def _of_level(self, level: OutputLevel, values: Callable[[Array], Array], rows: Array) -> Array:
        each = sum(part.count for part in level.parts) // level.values  # predictions of a cell
        found = values(rows // each).reshape(len(rows), each, level.values)[np.arange(len(rows)), rows % each]
        if level.difference:
            found = found[:, 1:] - found[:, :1]
        return np.asarray(found if level.scale is None else found * np.float32(self.scales[level.scale]))
