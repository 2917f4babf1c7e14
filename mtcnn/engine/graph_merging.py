"""Merges convolutions of the same input, so that it is read once."""

from __future__ import annotations

from dataclasses import replace

from .graph import Channels, NetGraph
from .graph_later import heads_for_later

__all__ = ["merged"]


def merged(graph: NetGraph) -> NetGraph:
    """Convolutions of the same input become one, which reads it once: first of all channels, then of each. Heads that
    need not be computed everywhere stay alone."""
    for kind in ("conv", "depthwise"):
        for node in range(len(graph.nodes)):
            while (other := _sibling(graph, node, kind)) is not None:
                graph = _without(graph, node, other)
    return graph


def _sibling(graph: NetGraph, number: int, kind: str) -> int | None:
    """A later node that can be computed together with this one."""
    if number >= len(graph.nodes) or graph.nodes[number].kind != kind:
        return None
    node, alone = graph.nodes[number], {each for chain in heads_for_later(graph).values() for each in chain}
    if number in alone:
        return None
    shape = (node.kernel, node.stride, node.padding, node.dilation)
    for other, each in enumerate(graph.nodes[number + 1 :], start=number + 1):
        if other in alone or each.kind != kind or (each.kernel, each.stride, each.padding, each.dilation) != shape:
            continue
        if kind == "conv" and each.inputs == node.inputs:
            return other
        if kind == "depthwise" and len(node.inputs[0]) == len(each.inputs[0]) == 1:
            (one,), (two,) = node.inputs[0], each.inputs[0]
            if (one.node, one.first + one.count) == (two.node, two.first):
                return other
    return None


def _without(graph: NetGraph, number: int, other: int) -> NetGraph:
    """The graph whose node `number` makes the channels of node `other` too."""
    node, gone = graph.nodes[number], graph.nodes[other]
    inputs = node.inputs
    if node.kind == "depthwise":
        (one,), (two,) = node.inputs[0], gone.inputs[0]
        inputs = ((Channels(one.node, one.first, one.count + two.count),),)
    made = replace(node, inputs=inputs, channels=node.channels + gone.channels,
                   convolutions=node.convolutions + gone.convolutions)  # fmt: skip

    def moved(part: Channels) -> Channels:
        if part.node == other:
            return Channels(number, part.first + node.channels, part.count)
        return replace(part, node=part.node - (part.node > other))

    def all_moved(parts: tuple[Channels, ...]) -> tuple[Channels, ...]:
        return tuple(map(moved, parts))

    nodes = [made if i == number else each for i, each in enumerate(graph.nodes) if i != other]
    nodes = [replace(each, inputs=tuple(map(all_moved, each.inputs))) for each in nodes]
    outputs = {
        name: tuple(replace(level, parts=all_moved(level.parts)) for level in levels)
        for name, levels in graph.outputs.items()
    }
    return NetGraph(tuple(nodes), outputs, graph.flat)
