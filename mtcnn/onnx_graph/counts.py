"""Parameters and multiply-adds of an ONNX file, counted while onnxruntime computes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .exported import needed

__all__ = ["counted"]

MULTIPLE = 32  # of the sides that detectors in files of others take
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_LEARNED = (*_WEIGHTED, "PRelu", "BatchNormalization", "InstanceNormalization", "Mul", "Add")


def counted(path: Path, sizes: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """`parameters` in the ONNX file at `path`, and for a net millions of multiply-adds by the names of `sizes`, height
    and width.

    Empty without the package onnx. Multiply-adds are missing for a size that a file of one size does not take, and
    for a whole detector, where they depend on the image. Arrays that a file stores once are counted once.
    """
    try:
        model = needed("onnx").load(str(path))
    except Exception:  # the row lacks its counts
        return {}
    arrays = _floats(model)
    used = {name for node in model.graph.node if node.op_type in _LEARNED for name in node.input if name in arrays}
    counts: dict[str, float] = {"parameters": sum(math.prod(arrays[name]) for name in used if len(arrays[name]))}
    takes = model.graph.input[0].type.tensor_type
    if len(takes.shape.dim) == 4 and takes.elem_type == needed("onnx").TensorProto.FLOAT:
        fixed = tuple(each.dim_value for each in takes.shape.dim[2:])
        fitting = {name: size for name, size in sizes.items() if fixed in ((0, 0), size)}
        counts |= {name: _in_millions(model, arrays, size) for name, size in fitting.items()}
    return counts


def _in_millions(model: Any, arrays: Mapping[str, tuple[int, ...]], size: tuple[int, int]) -> float:
    """Of an image of this size, extended to multiples of MULTIPLE if the net takes no other."""
    try:
        return _multiply_adds(model, arrays, size) / 1e6
    except Exception:  # onnxruntime's own types
        height, width = (-(-side // MULTIPLE) * MULTIPLE for side in size)
        return math.nan if (height, width) == size else _in_millions(model, arrays, (height, width))


def _floats(model: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the float arrays of a graph, by name."""
    kinds = [getattr(needed("onnx").TensorProto, name) for name in ("FLOAT", "FLOAT16", "BFLOAT16", "INT8", "UINT8")]
    found = {each.name: each for each in model.graph.initializer}
    constants = [node for node in model.graph.node if node.op_type == "Constant"]
    found |= {node.output[0]: each.t for node in constants for each in node.attribute if each.name == "value"}
    return {name: tuple(each.dims) for name, each in found.items() if each.data_type in kinds}


def _multiply_adds(model: Any, arrays: Mapping[str, tuple[int, ...]], size: tuple[int, int]) -> int:
    onnx, onnxruntime = needed("onnx"), needed("onnxruntime")
    nodes = [node for node in model.graph.node if node.op_type in _WEIGHTED and node.input[1] in arrays]
    watched = [node.input[0] if node.op_type == "ConvTranspose" else node.output[0] for node in nodes]
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    given = model.graph.input[0].name
    shown.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in dict.fromkeys(watched)
        if name != given
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # a size that a net does not take is an error, and tried
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    image = np.zeros((1, 3, *size), np.float32)
    names = [output.name for output in session.get_outputs()]
    values = {given: image.shape}
    values |= {name: value.shape for name, value in zip(names, session.run(names, {given: image}), strict=True)}
    return sum(_cost(node.op_type, arrays[node.input[1]], values[at]) for node, at in zip(nodes, watched, strict=True))


def _cost(kind: str, kernel: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """Of a kernel (out, in / groups, height, width), or (in, out / groups, height, width) if transposed; (in, out) of a
    matrix, which `Gemm` may have transposed."""
    if kind in ("Conv", "ConvTranspose"):
        return math.prod(shape) * math.prod(kernel[1:])
    return math.prod(shape) * math.prod(kernel) // shape[-1]
