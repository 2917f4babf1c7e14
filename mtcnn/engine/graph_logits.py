"""Two logits of which only the difference is asked for become one: a convolution of half of the channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from .graph import Channels, Convolution, NetGraph, OutputLevel
from .plan_packing import folded

__all__ = ["with_differences"]

Array = NDArray[Any]


def with_differences(graph: NetGraph, numbers: Mapping[str, Array]) -> tuple[NetGraph, dict[str, Array]]:
    """The graph whose convolutions compute differences of logits, and its parameters, float64: `numbers` and others.

    A level of an output is such a difference if nothing else reads the channels of its convolution, without activation.
    """
    nodes, outputs, made = list(graph.nodes), dict(graph.outputs), dict(numbers)
    readers = [part.node for node in nodes for parts in node.inputs for part in parts]
    readers += [part.node for levels in outputs.values() for level in levels for part in level.parts]
    for name, levels in outputs.items():
        outputs[name] = tuple(
            _difference(level, nodes, made) if _is_difference(level, graph, readers) else level for level in levels
        )
    return NetGraph(tuple(nodes), outputs, graph.flat), made


def _is_difference(level: OutputLevel, graph: NetGraph, readers: list[int]) -> bool:
    (part, *others), node = level.parts, graph.nodes[level.parts[0].node]
    return (
        level.difference
        and level.values == 2
        and not others
        and node.kind == "conv"
        and part.count == node.channels
        and len(node.convolutions) == 1
        and node.convolutions[0].slope is None
        and readers.count(part.node) == 1
    )


def _difference(level: OutputLevel, nodes: list[Any], numbers: dict[str, Array]) -> OutputLevel:
    """The level, whose node is replaced."""
    number = level.parts[0].node
    node = nodes[number]
    kernel, bias = folded(numbers, node.convolutions[0])
    weight, shift = (f"{node.convolutions[0].weight}, difference of {part}" for part in ("kernels", "biases"))
    numbers[weight], numbers[shift] = kernel[1::2] - kernel[::2], bias[1::2] - bias[::2]
    half = node.channels // 2
    nodes[number] = replace(node, channels=half, convolutions=(Convolution(weight, shift, half),))
    return replace(level, parts=(Channels(number, 0, half),), values=1, difference=False)
