"""Which heads of a net need not be computed for all cells: see `plan_rows`."""

from __future__ import annotations

from .graph import NetGraph, OutputLevel

__all__ = ["SCORES", "heads_for_later"]

SCORES = "logits"  # how the names of outputs end that decide which predictions pass: they are needed everywhere


def heads_for_later(graph: NetGraph) -> dict[int, tuple[int, ...]]:
    """The nodes that make a level of an output other than scores, by the last of them, which makes nothing else.

    It is a convolution of a map, or a pointwise convolution after another convolution of a map; with stride 1, so that
    any cell is computed alone.
    """
    readers = [0] * len(graph.nodes)
    for parts in (parts for node in graph.nodes for parts in node.inputs):
        for part in parts:
            readers[part.node] += 1
    levels = [level for each in graph.outputs.values() for level in each]
    for part in (part for level in levels for part in level.parts):
        readers[part.node] += 1
    found = {}
    for name, each in graph.outputs.items():
        if not name.endswith(SCORES) and name not in graph.flat:
            found.update({chain[-1]: chain for chain in (_chain(graph, level, readers) for level in each) if chain})
    return found


def _chain(graph: NetGraph, level: OutputLevel, readers: list[int]) -> tuple[int, ...]:
    """The nodes of one level, or none if they make something else, too, or have other shapes."""
    last = level.parts[0].node
    node = graph.nodes[last]
    if len(level.parts) > 1 or readers[last] > 1 or node.kind != "conv" or node.stride > 1:
        return ()
    source = node.inputs[0][0].node
    before = graph.nodes[source]
    alone = node.kernel == 1 and len(node.inputs[0]) == 1 and readers[source] == 1
    if alone and before.kind in ("conv", "depthwise") and before.stride == 1 and before.inputs[0][0].node:
        return source, last
    return (last,) if source else ()
