"""Which depthwise nodes of a plan are computed together with the pooling behind them.

What is between the two, four times as much as what is pooled, is never stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from .graph import PlanNode
from .plan_maps import Storage

__all__ = ["pooled_nodes"]


def pooled_nodes(nodes: Sequence[PlanNode], places: Storage, sizes: Sequence[tuple[int, int]]) -> dict[int, int]:
    """The depthwise node, by the number of the pooling that alone reads it. sizes  of the maps, of even sides."""
    found = {}
    for number, node in enumerate(nodes):
        if node.kind == "pool" and len(node.inputs[0]) == 1:
            (part,) = node.inputs[0]
            source, (rows, columns) = nodes[part.node], sizes[part.node]
            alike = (source.kind, source.stride, source.channels) == ("depthwise", 1, part.count)
            if alike and not places.whole[places.buffer[part.node]] and not rows % 2 and not columns % 2:
                found[number] = part.node
    return found
