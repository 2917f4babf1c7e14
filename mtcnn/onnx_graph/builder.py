"""Builds an ONNX graph node by node. Values are names; NumPy values become constants.

Types follow the values: a Python int or a list of ints is int64, a Python float is float64, and np.float32(1) float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np

__all__ = ["IR_VERSION", "OPSET", "Graph", "Value"]

OPSET = 17  # from 2022: supported by all current runtimes
IR_VERSION = 8  # of the same year
ENDLESS = 2**31 - 1  # trips of a loop that ends by its condition

Value = Any
"""The name of a value (str), or a constant: a number, a list of ints, an array."""


class Graph:
    """A graph, or the body of a loop in one, which may use the values of the graph around it.

    x = graph.op("Add", graph.input("x", np.float32, ["n"]), np.float32(1))
    """

    def __init__(self, parent: Graph | None = None) -> None:
        self._numbers: Iterator[int] = (
            count() if parent is None else parent._numbers
        )  # names are unique across all bodies
        self.nodes: list[Any] = []
        self.constants: dict[tuple[Any, ...], tuple[str, Any]] = {}
        self.inputs: list[Any] = []
        self.embedded: list[Any] = []

    def _new(self) -> str:
        return f"v{next(self._numbers)}"

    def input(self, name: str, kind: Any, shape: Sequence[int | str]) -> str:
        """An input of this NumPy type."""
        self.inputs.append(_info(name, kind, shape))
        return name

    def constant(self, value: Value) -> str:
        """The name of a value."""
        import onnx

        if isinstance(value, str):
            return value
        array = np.asarray(value, np.int64) if isinstance(value, list) else np.asarray(value)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            name = self._new()
            self.constants[key] = name, onnx.numpy_helper.from_array(array.copy(order="C"), name)
        return self.constants[key][0]

    def op(self, kind: str, *inputs: Value, **attributes: Any) -> str:
        """Add a node with one output. An input None is left out."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: Value, **attributes: Any) -> list[str]:
        """Add a node with several outputs."""
        import onnx

        names = ["" if value is None else self.constant(value) for value in inputs]
        found = [self._new() for _ in range(outputs)]
        self.nodes.append(onnx.helper.make_node(kind, names, found, **attributes))
        return found

    def cast(self, value: Value, kind: Any) -> str:
        return self.op("Cast", value, to=_kind(kind))

    def side(self, value: Value, axis: int) -> str:
        """The length of an axis of 0 or more: int64, a scalar."""
        return self.op("Squeeze", self.op("Shape", value, start=axis, end=axis + 1))

    def row(self, *parts: Value) -> str:
        """Scalars as a vector."""
        return self.op("Concat", *(self.op("Unsqueeze", part, [0]) for part in parts), axis=0)

    def columns(self, value: Value, first: int, last: int) -> str:
        """value[..., first:last] for indices of 0 or more."""
        return self.op("Slice", value, [first], [last], [-1])

    def where(self, mask: Value) -> str:
        """Indices (K,) of the true values of a mask (N,)."""
        return self.op("Squeeze", self.op("NonZero", mask), [0])

    def loop(
        self,
        body: Callable[[Graph, str, list[str]], tuple[Value, Sequence[Value], Sequence[tuple[Value, Any, Any]]]],
        state: Sequence[tuple[Value, Any, Sequence[int | str]]],
        trips: Value = None,
        condition: Value = None,
    ) -> list[str]:
        """Run `body` up to `trips` times, while a condition holds.

        body       (its graph, number of the trip, state) -> (condition or None, state, values that are stacked: each
                   with its type and shape).
        state      initial values, each with its type and shape.

        Returns the last state, then the stacks, whose first axis is the trip.
        """
        import onnx

        inner = Graph(self)
        at, before = inner._new(), inner._new()
        inner.inputs = [_info(at, np.int64, []), _info(before, np.bool_, [])]
        names = []
        for _, kind, shape in state:
            names.append(inner._new())
            inner.inputs.append(_info(names[-1], kind, shape))
        again, after, stacked = body(inner, at, names)
        outputs = [_info(inner.op("Identity", before if again is None else again), np.bool_, [])]
        for value, (_, kind, shape) in zip(after, state, strict=True):
            outputs.append(_info(inner.op("Identity", value), kind, shape))
        outputs += [_info(inner.op("Identity", value), kind, shape) for value, kind, shape in stacked]
        graph = onnx.helper.make_graph(inner.nodes, self._new(), inner.inputs, outputs, inner.initialisers())
        first = [value for value, _, _ in state]
        # Both are optional, but OpenVINO cannot read what it writes for a value that is left out.
        most, start = (ENDLESS if trips is None else trips), (True if condition is None else condition)
        return self.ops("Loop", len(state) + len(stacked), most, start, *first, body=graph)

    def embed(self, model: Any, prefix: str, inputs: Mapping[str, Value]) -> dict[str, str]:
        """Add the nodes of a ModelProto of the same opset, with a prefix to all their names: output -> value."""
        import onnx

        graph = onnx.compose.add_prefix_graph(model.graph, prefix)
        for name, value in inputs.items():
            self.nodes.append(onnx.helper.make_node("Identity", [self.constant(value)], [prefix + name]))
        self.nodes += graph.node
        self.embedded += graph.initializer
        return {output.name.removeprefix(prefix): output.name for output in graph.output}

    def initialisers(self) -> list[Any]:
        return [*self.embedded, *(tensor for _, tensor in self.constants.values())]

    def model(self, outputs: Sequence[tuple[str, Value, Any, Sequence[int | str]]], facts: dict[str, str]) -> Any:
        """The ModelProto. outputs: name, value, type and shape of each. facts: its metadata."""
        import onnx

        for name, value, _, _ in outputs:
            self.nodes.append(onnx.helper.make_node("Identity", [self.constant(value)], [name]))
        infos = [_info(name, kind, shape) for name, _, kind, shape in outputs]
        graph = onnx.helper.make_graph(self.nodes, "detector", self.inputs, infos, self.initialisers())
        opset = onnx.helper.make_opsetid("", OPSET)
        model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="mtcnn")
        onnx.helper.set_model_props(model, facts)
        onnx.checker.check_model(model)
        return model


def _kind(kind: Any) -> int:
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind)))


def _info(name: str, kind: Any, shape: Sequence[int | str]) -> Any:
    import onnx

    return onnx.helper.make_tensor_value_info(name, _kind(kind), shape)
