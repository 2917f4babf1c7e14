"""From a torch module to a `engine.graph.NetGraph`: the module is traced by torch.fx, and each call becomes a node.

Whatever is not known here raises NotPlanned; such a net runs in torch.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from ..engine.graph import Channels, Convolution, NetGraph, OutputLevel, PlanNode
from ..engine.graph_merging import merged

__all__ = ["NotPlanned", "graph_of"]


class NotPlanned(Exception):
    """The net has something that no plan expresses; the message says what."""


@dataclass(frozen=True)
class _TracedMap:
    """A value that is a map, or several side by side."""

    parts: tuple[Channels, ...]
    upsampled: bool = False
    permuted: bool = False


@dataclass(frozen=True)
class _Rows:
    """Rows of values, level by level."""

    levels: tuple[OutputLevel, ...]
    column: int | None = None


_UNKNOWN = object()  # sizes and the like


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.GroupNorm) or super().is_leaf_module(module, name)


def graph_of(net: nn.Module) -> NetGraph:
    """The graph of a net in evaluation mode. Raises NotPlanned if a plan cannot express it."""
    try:
        traced = _Tracer().trace(net)
    except Exception as error:  # control flow that depends on values, and much else
        raise NotPlanned(f"{type(net).__name__} cannot be traced: {error}") from error
    return _Walk(net, traced).graph()


class _Walk:
    """Goes through the calls in order."""

    def __init__(self, net: nn.Module, traced: fx.Graph) -> None:
        self.modules, self.traced = dict(net.named_modules()), traced
        self.nodes = [PlanNode("image", (), 3)]
        self.values: dict[fx.Node, Any] = {}
        self.result: Any = None

    def graph(self) -> NetGraph:
        for call in self.traced.nodes:
            if call.op == "placeholder":
                self.values[call] = _TracedMap((Channels(0, 0, 3),))
            elif call.op == "output":
                self.result = self._value(call.args[0])
            elif call.op == "get_attr":
                self.values[call] = call.target
            elif call.op == "call_module":
                self.values[call] = self._module(str(call.target), self._value(call.args[0]), call)
            else:
                self.values[call] = self._function(call)
        levels = {name: rows.levels for name, rows in self.result.items() if isinstance(rows, _Rows)}
        if set(levels) != set(self.result):
            raise NotPlanned("an output is no rows of maps")
        flat = tuple(name for name, rows in self.result.items() if rows.column is not None)
        return merged(NetGraph(tuple(self.nodes), levels, flat))

    def _value(self, given: Any) -> Any:
        return fx.node.map_arg(given, lambda each: self.values[each]) if not isinstance(given, fx.Node) else (
            self.values[given])  # fmt: skip

    def _add(self, node: PlanNode) -> _TracedMap:
        self.nodes.append(node)
        return _TracedMap((Channels(len(self.nodes) - 1, 0, node.channels),))

    # ---- modules

    def _module(self, name: str, x: Any, call: fx.Node) -> Any:
        module = self.modules[name]
        if isinstance(module, nn.Identity):
            return x
        if isinstance(module, nn.Conv2d):
            return self._convolution(name, module, x)
        if isinstance(module, nn.BatchNorm2d):
            return self._changed(x, call, lambda one: _normed(one, name, module))
        if isinstance(module, nn.GroupNorm):
            one = Convolution(f"{name}.weight", f"{name}.bias", module.num_channels, epsilon=module.eps)
            return self._add(PlanNode("norm", (_plain(x),), module.num_channels, (one,), groups=module.num_groups))
        if isinstance(module, nn.ReLU):
            return self._activated(x, call, 0.0)
        if isinstance(module, nn.LeakyReLU):
            return self._activated(x, call, module.negative_slope)
        if isinstance(module, nn.MaxPool2d):
            return self._pool(x, module.kernel_size, module.stride, module.padding)
        raise NotPlanned(f"{name} is a {type(module).__name__}")

    def _convolution(self, name: str, layer: nn.Conv2d, x: Any) -> _TracedMap:
        sizes = [layer.kernel_size, layer.stride, layer.padding, layer.dilation]
        if any(isinstance(size, str) or len({*size}) > 1 for size in sizes) or layer.padding_mode != "zeros":
            raise NotPlanned(f"{name} has sides of two lengths")
        kernel, stride, padding, dilation = (int(size[0]) for size in sizes)
        one = Convolution(f"{name}.weight", f"{name}.bias" if layer.bias is not None else None, layer.out_channels)
        each = layer.groups == layer.in_channels == layer.out_channels and (layer.groups > 1 or kernel == 3)
        if not each and layer.groups != 1:
            raise NotPlanned(f"{name} has {layer.groups} groups")
        if each and (kernel, dilation, padding) != (3, 1, 1):
            raise NotPlanned(f"{name} is a depthwise convolution of {kernel} x {kernel}")
        if dilation * (kernel - 1) != 2 * padding:
            raise NotPlanned(f"{name} pads by {padding}")
        kind = "depthwise" if each else "conv"
        return self._add(PlanNode(kind, (_plain(x),), layer.out_channels, (one,), kernel, stride, padding, dilation))

    def _pool(self, x: Any, kernel: Any, stride: Any, padding: Any) -> _TracedMap:
        parts = _plain(x)
        if (kernel, stride, padding) != (2, 2, 0):
            raise NotPlanned(f"pooling of {kernel} by {stride}")
        return self._add(PlanNode("pool", (parts,), sum(part.count for part in parts), kernel=2, stride=2))

    def _activated(self, x: Any, call: fx.Node, slope: float) -> Any:
        def with_slope(one: Convolution) -> Convolution:
            if one.slope is not None:
                raise NotPlanned(f"{call.name} is an activation after another")
            return replace(one, slope=slope)

        return self._changed(x, call, with_slope, slope)

    def _changed(
        self, x: Any, call: fx.Node, change: Callable[[Convolution], Convolution], slope: float | None = None
    ) -> Any:
        """Fold a norm or an activation into the nodes that make its input, which nothing else may read."""
        for part in _plain(x):
            node = self.nodes[part.node]
            whole = (part.first, part.count) == (0, node.channels)
            if not whole or self._readers(call) > 1:
                raise NotPlanned(f"{call.name} is not all that reads its input")
            if node.kind in ("add", "norm") and slope == 0 and node.slope is None:
                self.nodes[part.node] = replace(node, slope=slope)
            elif node.kind in ("conv", "depthwise"):
                self.nodes[part.node] = replace(node, convolutions=tuple(map(change, node.convolutions)))
            else:
                raise NotPlanned(f"{call.name} follows {node.kind}")
        return x

    def _readers(self, call: fx.Node) -> int:
        """Number of calls that read an input of this one, or a part of it."""
        source = call.args[0]
        sources = [source]
        if isinstance(source, fx.Node) and source.target is torch.cat:
            sources += list(source.args[0])  # type: ignore[arg-type]
        return max(len(each.users) for each in sources if isinstance(each, fx.Node))

    # ---- functions

    def _function(self, call: fx.Node) -> Any:
        name, args = call.target, [self._value(each) for each in call.args]
        named = {key: self._value(each) for key, each in call.kwargs.items()}
        first = args[0] if args else None
        if name in (getattr, "size") or first is _UNKNOWN:
            return _UNKNOWN
        if isinstance(first, dict):
            return first[args[1]] if name is operator.getitem else _not_planned(call)
        if name is functional.max_pool2d:
            sizes = [*args[1:], *(named[key] for key in ("kernel_size", "stride") if key in named)]
            kernel, stride = sizes[:2]
            return self._pool(first, kernel, stride, named.get("padding", 0))
        if name is functional.relu:
            return self._activated(first, call, 0.0)
        if name is functional.interpolate and named.get("mode", "nearest") == "nearest":
            return _TracedMap(_plain(first), upsampled=True)
        if name is torch.cat:
            return _joined(first, named.get("dim", args[1] if len(args) > 1 else 0))
        if name in (operator.add, operator.iadd, torch.add):
            return self._sum(args[0], args[1])
        if name in ("permute", torch.permute) and [*args[1:]] == [0, 2, 3, 1] and isinstance(first, _TracedMap):
            return replace(first, permuted=True)
        if name in ("reshape", "view") and isinstance(first, _TracedMap) and first.permuted and type(args[-1]) is int:
            return _Rows((OutputLevel(first.parts, args[-1]),))
        if name in ("float", "contiguous"):
            return first
        if isinstance(first, _Rows):
            return self._rows(call, first, args)
        return _not_planned(call)

    def _rows(self, call: fx.Node, rows: _Rows, args: list[Any]) -> Any:
        if call.target is operator.getitem and args[1][0] is Ellipsis and type(args[1][1]) is int:
            return replace(rows, column=args[1][1])
        if call.target is operator.sub and (rows.column, args[1].column) == (1, 0):
            levels = tuple(replace(level, difference=True) for level in rows.levels)
            return _Rows(levels, 0) if replace(args[1], column=1) == rows else _not_planned(call)
        if call.target is operator.mul and isinstance(args[1], str):
            return _Rows(tuple(replace(level, scale=args[1]) for level in rows.levels), rows.column)
        return _not_planned(call)

    def _sum(self, one: Any, other: Any) -> _TracedMap:
        if isinstance(one, _TracedMap) and one.upsampled:
            one, other = other, one
        if not (isinstance(one, _TracedMap) and isinstance(other, _TracedMap)):
            raise NotPlanned("a sum of other things than maps")
        inputs = _plain(one), other.parts
        channels = sum(part.count for part in inputs[0])
        return self._add(PlanNode("add", inputs, channels, twice=other.upsampled))


def _not_planned(call: fx.Node) -> Any:
    raise NotPlanned(f"{call.name} calls {call.target}")


def _plain(x: Any) -> tuple[Channels, ...]:
    if not isinstance(x, _TracedMap) or x.upsampled or x.permuted:
        raise NotPlanned("a layer whose input is no map")
    return x.parts


def _normed(one: Convolution, name: str, norm: nn.BatchNorm2d) -> Convolution:
    if one.norm is not None or one.slope is not None or not norm.affine or norm.running_var is None:
        raise NotPlanned(f"{name} is no batch norm directly after a convolution")
    return replace(one, norm=name, epsilon=norm.eps)


def _joined(values: Any, dim: int) -> Any:
    if dim == 1 and all(isinstance(value, _TracedMap) for value in values):
        return _TracedMap(tuple(part for value in values for part in _plain(value)))
    if dim == 1 and all(isinstance(value, _Rows) and value.column is None for value in values):
        return _Rows(tuple(level for value in values for level in value.levels))
    raise NotPlanned(f"values are concatenated on axis {dim}")
