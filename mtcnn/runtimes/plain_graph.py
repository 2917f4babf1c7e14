"""Single-stage detectors in NumPy, for installations without torch and compiled code.

The net is a `engine.graph.NetGraph`, read from graph.json beside its weights: a training and an import write it, where
torch is. Convolutions are matrix products over windows. Equal to the compiled nets up to float32 rounding, and some ten
times slower.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.graph import Channels, NetGraph, OutputLevel, PlanNode
from ..engine.plan_packing import folded
from ..errors import CheckpointError
from ..files.text import read_text
from ..weights import Scaling

__all__ = ["GRAPH", "PlainGraph", "graph_key", "read_graph"]

Array = NDArray[Any]

GRAPH = "graph.json"
WINDOWS = 1 << 18  # numbers of windows at a time


class PlainGraph:
    """A net that runs by its graph; a `runtimes.Runtime`.

    graph    of the net, for `state`, its parameters by name, as arrays.
    scaling  of its input.

    Raises LookupError, TypeError or ValueError, at the latest when it is called, if the graph does not fit.
    """

    engine = "NumPy"

    def __init__(self, graph: NetGraph, state: Mapping[str, Any], scaling: Scaling, has_landmarks: bool = True) -> None:
        self.graph, self.has_landmarks = graph, has_landmarks
        self.mean, self.divisor = np.asarray(scaling[0], np.float32), np.float32(scaling[1])
        numbers = {name: np.asarray(value, np.float64) for name, value in state.items()}
        self._layers = [_layer(node, numbers) for node in graph.nodes]
        levels = [level for each in graph.outputs.values() for level in each]
        self._scales = {level.scale: np.float32(numbers[level.scale]) for level in levels if level.scale}
        read = [(part.node, i) for i, node in enumerate(graph.nodes) for parts in node.inputs for part in parts]
        self._last = dict(read)  # map -> the last node that reads it
        self._last |= {part.node: len(graph.nodes) for level in levels for part in level.parts}

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, Array]:
        """The outputs of the net, named arrays without a batch axis, for an image (H, W, 3)."""
        maps: dict[int, Array] = {0: (image.astype(np.float32) - self.mean) / self.divisor}
        for i, node in enumerate(self.graph.nodes[1:], start=1):
            maps[i] = _computed(node, self._layers[i], [_joined(maps, parts) for parts in node.inputs])
            maps = {key: value for key, value in maps.items() if self._last.get(key, -1) > i}
        return {name: self._output(name, levels, maps) for name, levels in self.graph.outputs.items()}

    def _output(self, name: str, levels: Sequence[OutputLevel], maps: Mapping[int, Array]) -> Array:
        found = []
        for level in levels:
            values = _joined(maps, level.parts).reshape(-1, level.values)
            values = values[:, 1:] - values[:, :1] if level.difference else values
            found.append(values if level.scale is None else values * self._scales[level.scale])
        table = np.concatenate(found)
        return table[:, 0] if name in self.graph.flat else table


def _layer(node: PlanNode, numbers: Mapping[str, Array]) -> tuple[Array, Array, Array] | None:
    """Kernel (out, in, y, x), bias (out,) and slopes (out,) of a node, float32; of a norm, its factors and offsets."""
    if not node.convolutions:
        return None
    if node.kind == "norm":
        one = node.convolutions[0]
        return tuple(np.asarray(numbers[str(name)], np.float32) for name in (one.weight, one.bias, one.bias))  # type: ignore[return-value]
    each = [folded(numbers, one) for one in node.convolutions]
    kernel, bias = (np.concatenate([part[i] for part in each]).astype(np.float32) for i in range(2))
    slopes = [np.full(one.channels, 1 if one.slope is None else one.slope, np.float32) for one in node.convolutions]
    return kernel, bias, np.concatenate(slopes)


def _joined(maps: Mapping[int, Array], parts: Sequence[Channels]) -> Array:
    found = [maps[part.node][..., part.first : part.first + part.count] for part in parts]
    return found[0] if len(found) == 1 else np.concatenate(found, axis=2)


def _computed(node: PlanNode, layer: Any, inputs: Sequence[Array]) -> Array:
    """The map (h, w, C) that a node makes of maps (H, W, C)."""
    x = inputs[0]
    if node.kind in ("conv", "depthwise"):
        return _convolved(x, layer, node)
    if node.kind == "pool":
        height, width = (side - side % 2 for side in x.shape[:2])
        return np.asarray(x[:height, :width].reshape(height // 2, 2, width // 2, 2, -1).max(axis=(1, 3)))
    if node.kind == "add":
        other = inputs[1].repeat(2, axis=0).repeat(2, axis=1) if node.twice else inputs[1]
        x = x + other[: x.shape[0], : x.shape[1]]
    elif node.kind == "norm":
        weight, bias, _ = layer
        groups = x.reshape(-1, node.groups, node.channels // node.groups)
        mean = groups.mean(axis=(0, 2), keepdims=True, dtype=np.float64)
        spread = np.sqrt(groups.var(axis=(0, 2), keepdims=True, dtype=np.float64) + node.convolutions[0].epsilon)
        x = ((groups - mean) / spread).astype(np.float32).reshape(x.shape) * weight + bias
    else:
        raise ValueError(f"node is a {node.kind}")
    return np.maximum(x, 0) if node.slope == 0 else x


def _convolved(x: Array, layer: tuple[Array, Array, Array], node: PlanNode) -> Array:
    """A convolution with its activation, a few rows at a time, which stay in the cache."""
    kernel, bias, slope = layer
    edge, reach, bends = node.padding, node.dilation * (node.kernel - 1), (slope != 1).any()
    height, width = ((side + 2 * edge - reach - 1) // node.stride + 1 for side in x.shape[:2])
    x = np.pad(x, ((edge, edge), (edge, edge), (0, 0))) if edge else x
    wide = kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel))  # (out, in, y, x) -> (y x in, out)
    found = np.empty((height, width, len(kernel)), np.float32)
    rows = max(WINDOWS // (width * max(wide.shape)), 1)
    for first in range(0, height, rows):
        windows, strip = _windows(x, node, first, min(first + rows, height), width), found[first : first + rows]
        if node.kind == "depthwise":
            np.multiply(windows[0], wide[0], out=strip)
            for window, factor in zip(windows[1:], wide[1:], strict=True):
                strip += window * factor
        else:
            np.matmul(windows[0] if len(windows) == 1 else np.concatenate(windows, axis=2), wide, out=strip)
        strip += bias
        if bends:
            strip *= np.where(strip >= 0, np.float32(1), slope)
    return found


def _windows(x: Array, node: PlanNode, first: int, last: int, width: int) -> list[Array]:
    """For each place (y, x) of the kernel, in order, what it covers of the padded map, for rows first to last - 1."""
    step, far = node.stride, node.dilation
    rows, columns = step * (last - first - 1) + 1, step * (width - 1) + 1
    corners = [(step * first + i * far, j * far) for i in range(node.kernel) for j in range(node.kernel)]
    return [x[i : i + rows : step, j : j + columns : step] for i, j in corners]


def graph_key(net: str, model: Mapping[str, Any]) -> str:
    """Digest of a net's name and its settings, by which a graph is known to be that of the weights beside it."""
    text = json.dumps([net, model], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_graph(weights: Path, key: str) -> tuple[NetGraph, bool] | None:
    """The graph beside weights, and whether the net has landmarks; None without a file, or one of another net.

    Raises CheckpointError for a file that is damaged.
    """
    path = weights.with_name(GRAPH)
    if not path.is_file():
        return None
    try:
        content = json.loads(read_text(path))
        if content["key"] != key:
            return None
        return NetGraph.from_json(content["graph"]), bool(content["has_landmarks"])
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError):
        raise CheckpointError(f"{path} is damaged; expected what `mtcnn weights import` wrote; copy it again") from None
