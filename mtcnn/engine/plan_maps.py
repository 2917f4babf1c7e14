"""Where a plan stores the maps of its nodes: rings of a few rows, or whole maps, with zero padding at either side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graph import Channels, NetGraph, PlanNode
from .graph_later import heads_for_later
from .packing import FLOAT_BYTES

__all__ = ["LINE", "Storage", "StoredMap", "map_sizes"]

Array = NDArray[Any]

LINE = 16  # floats of a cache line


class Storage:
    """Where the map of each node is stored: parts of a concatenation side by side, others alone.

    buffer, offset  of each node: the number of its buffer, and the first of its channels there.
    channels        of each buffer.    whole  buffers with all rows; others are rings.
    later           see `heads_for_later`: their maps are never stored.
    padding         columns at either side of each buffer.
    """

    def __init__(self, graph: NetGraph) -> None:
        count = len(graph.nodes)
        self.buffer, self.offset, self.channels = list(range(count)), [0] * count, [n.channels for n in graph.nodes]
        read = [parts for node in graph.nodes for parts in node.inputs]
        read += [level.parts for levels in graph.outputs.values() for level in levels]
        for parts in read:
            for part in parts[1:]:
                self._unite(parts[0].node, part.node)
        readers = [0] * count
        self.padding = [0] * count
        self.whole = [False] * count
        for node in graph.nodes:
            for parts in node.inputs:
                buffer = self.buffer[parts[0].node]
                readers[buffer] += 1
                self.padding[buffer] = max(self.padding[buffer], node.padding)
                self.whole[buffer] |= node.kind == "norm"
        for levels in graph.outputs.values():
            for level in levels:
                self.whole[self.buffer[level.parts[0].node]] = True
        writers = np.bincount(self.buffer, minlength=count)
        for buffer in range(count):
            self.whole[buffer] |= readers[buffer] != 1 or writers[buffer] > 1
        self.later = heads_for_later(graph)
        for chain in self.later.values():
            self.whole[self.buffer[graph.nodes[chain[0]].inputs[0][0].node]] = True
            for number in chain:
                self.whole[self.buffer[number]] = False

    def _unite(self, one: int, other: int) -> None:
        target, source = self.buffer[one], self.buffer[other]
        if target == source:
            return
        for node, buffer in enumerate(self.buffer):
            if buffer == source:
                self.buffer[node] = target
                self.offset[node] += self.channels[target]
        self.channels[target] += self.channels[source]

    def first(self, part: Channels) -> int:
        """The first channel of a part in its buffer."""
        return self.offset[part.node] + part.first


class StoredMap:
    """The map of a buffer for one size of image: `ring` rows of memory, with columns of padding at either side."""

    def __init__(self, rows: int, columns: int, channels: int, padding: int, ring: int) -> None:
        self.rows, self.columns, self.channels, self.padding, self.ring = rows, columns, channels, padding, ring
        # Floats of a row. Winograd's tiles, of two columns, read one more where their number is odd.
        self.row = -(-(columns + columns % 2 + 2 * padding) * channels // LINE) * LINE
        self.address = 0

    @property
    def floats(self) -> int:
        return self.ring * self.row

    def place(self, buffer: Array, colour: Array | None) -> None:
        """Store the map in a buffer of zeros. colour  of the padding, where it is not 0."""
        self.data = buffer.reshape(self.ring, self.row)
        self.address = int(buffer.ctypes.data)
        if colour is not None:
            self.data[...] = np.resize(colour, self.row)

    def first(self, channel: int) -> int:
        """Address of a channel in the first column."""
        return self.address + FLOAT_BYTES * (self.padding * self.channels + channel)


def map_sizes(nodes: Sequence[PlanNode], height: int, width: int) -> list[tuple[int, int]]:
    """Rows and columns of the map of each node."""
    found = [(height, width)]
    for node in nodes[1:]:
        rows, columns = found[node.inputs[0][0].node]
        if node.kind == "pool":
            found.append((-(-rows // 2), -(-columns // 2)))
            continue
        more = 2 * node.padding - node.dilation * (node.kernel - 1) - 1
        found.append(((rows + more) // node.stride + 1, (columns + more) // node.stride + 1))
    return found
