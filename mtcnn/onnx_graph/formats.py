"""The formats of an export: a graph in each of them is run, to compare it, and written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from numpy.typing import NDArray

from ..errors import MtcnnError
from ..files.atomic_write import atomic_write
from ..runtimes import Runtime
from .exported import needed

__all__ = ["FORMATS", "TITLES", "Computes", "check_format", "opened", "runtime_of", "stored"]

FORMATS = {"onnx": ".onnx", "openvino": ".xml"}
"""Format -> suffix. An IR of OpenVINO is two files: the graph, and beside it the weights, .bin."""
TITLES = {"onnx": "ONNX", "openvino": "OpenVINO"}

Computes = Callable[[Mapping[str, NDArray[Any]]], list[NDArray[Any]]]


def check_format(form: str) -> None:
    """Raise MtcnnError if a package that the format needs is missing."""
    needed("onnx")
    needed("onnxruntime")
    if form == "openvino":
        from ..runtimes.openvino import openvino_package

        openvino_package()


def opened(content: bytes, form: str) -> Computes:
    """What computes an ONNX file as a file of this format will be: inputs by name -> outputs in their order."""
    if form == "openvino":
        from ..runtimes.openvino import OpenVinoGraph

        graph = OpenVinoGraph(content, threads=1)
        return lambda values: graph(*(values[name] for name in graph.inputs))
    onnxruntime = needed("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    taken = {each.name for each in session.get_inputs()}
    return lambda values: session.run(None, {name: values[name] for name in taken})


def runtime_of(content: bytes, form: str) -> Runtime:
    """What runs an ONNX file of a single-stage detector as a file of this format will be run."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        path.write_bytes(content)
        if form == "openvino":
            from ..runtimes.openvino import OpenVinoRuntime

            return OpenVinoRuntime(path, threads=1)
        from ..runtimes.onnx import OnnxRuntime

        return OnnxRuntime(path, threads=1)


def stored(content: bytes, path: Path, form: str) -> None:
    """Write an ONNX file in a format. Raises MtcnnError if it cannot be written."""
    try:
        with atomic_write(path, FORMATS[form]) as draft:
            if form == "openvino":
                _store_ir(content, draft, path.with_suffix(".bin"))
            else:
                draft.write_bytes(content)
    except OSError as error:
        raise MtcnnError(f"{path} cannot be written ({error.strerror}); name another file") from None


def _store_ir(content: bytes, draft: Path, weights: Path) -> None:
    """The graph at `draft`; its weights go to their place before it does."""
    from ..runtimes.openvino import OpenVinoGraph, openvino_package

    beside = draft.with_suffix(".bin")
    try:
        model = OpenVinoGraph(content, threads=1).model
        try:
            openvino_package().save_model(model, draft, compress_to_fp16=False)
        except RuntimeError as error:  # of a stream of C++, which knows no reason
            raise OSError(errno.EIO, "the disk may be full") from error
        os.replace(beside, weights)
    finally:
        beside.unlink(missing_ok=True)
