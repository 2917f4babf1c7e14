"""Nets computed by OpenVINO, on the CPU, in float32: single-stage detectors, RNet and ONet."""

from __future__ import annotations

import json
import os
from collections import Counter
from importlib import import_module
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detectors import DETECTORS
from ..engine.refine import Refined
from ..engine.threads import threads as _threads
from ..errors import CheckpointError, MtcnnError
from ..weights import Weights

__all__ = ["OpenVinoGraph", "OpenVinoRefiner", "OpenVinoRuntime", "openvino_package"]

Array = NDArray[Any]

# A graph for any size takes a quarter more time than one for the size of the images, which takes half a second to
# compile: as long as it saves in some hundred images.
STEADY = 100  # images of a size before a graph is compiled for it
SIZES_COMPILED = 2

_of_parents: list[Any] = []  # graphs of the process that this one was forked from: their threads are not here


def openvino_package() -> Any:
    """The package openvino. Raises MtcnnError if it is missing."""
    try:
        return import_module("openvino")
    except ImportError:
        raise MtcnnError("no package openvino; expected it: pip install 'mtcnn-cascade[openvino]'") from None


class OpenVinoGraph:
    """A compiled graph. Threads may share it.

    content  an ONNX file, or the .xml file of an IR with the content of its .bin file as `weights`.
    pixels   the graph takes one input, float32 (N, 3, H, W), and is given (N, H, W, 3) of this type.
    sizes    whether inputs of many sizes are expected: then frequent ones get a graph of their own.
    """

    def __init__(
        self,
        content: bytes,
        weights: bytes = b"",
        pixels: type[np.generic] | None = None,
        threads: int | None = None,
        sizes: bool = False,
    ) -> None:
        self._content, self._weights, self._pixels, self._sizes = content, weights, pixels, sizes
        self._threads = threads or _threads()
        self._open()

    def _open(self) -> None:
        """A compiled graph belongs to one process: it cannot be pickled, and its threads are not there after a fork."""
        self.package = openvino_package()
        self._core, self._lock, self._seen = self.package.Core(), Lock(), Counter[tuple[int, ...]]()
        self.model = self._read()
        self.inputs = [value.any_name for value in self.model.inputs]
        self.outputs = [output.any_name for output in self.model.outputs]
        self._free: dict[tuple[int, ...] | None, list[Any]] = {}
        self._compiled: dict[tuple[int, ...] | None, Any] = {None: self._compile(self.model)}
        self._process = os.getpid()

    def _read(self) -> Any:
        ov = self.package
        model = self._core.read_model(self._content, self._weights) if self._weights else None
        model = self._core.read_model(self._content) if model is None else model
        if self._pixels is None:
            return model
        steps = ov.preprocess.PrePostProcessor(model)
        steps.input().tensor().set_element_type(ov.Type(self._pixels)).set_layout(ov.Layout("NHWC"))
        steps.input().model().set_layout(ov.Layout("NCHW"))
        facts = dict(model.rt_info.items()).get("framework", {})
        if "scaling" in facts:  # a file for programs that scale images themselves
            mean, divisor = json.loads(facts["scaling"].value)
            colour = [float(value) for value in np.broadcast_to(mean, 3)]
            steps.input().preprocess().convert_element_type(ov.Type(np.float32)).mean(colour).scale(float(divisor))
        return steps.build()

    def _compile(self, model: Any) -> Any:
        # Where a processor has bfloat16 it would be the default, and move boxes by pixels.
        options = {"INFERENCE_NUM_THREADS": self._threads, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
        return self._core.compile_model(model, "CPU", options)

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: vars(self)[name]
            for name in ("_content", "_weights", "_pixels", "_sizes", "_threads", "inputs", "outputs")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _process=None)

    def __call__(self, *values: Array) -> list[Array]:
        """The outputs, arrays in the order of `outputs`, for values in the order of `inputs`."""
        if self._process != os.getpid():
            _of_parents.append(vars(self).copy())
            self._open()
        shape = self._shape(values[0].shape)
        requests = self._free.setdefault(shape, [])
        try:
            request = requests.pop()  # a request computes one input at a time
        except IndexError:
            request = self._compiled[shape].create_infer_request()
        found = request.infer(list(values), share_inputs=True)
        requests.append(request)
        return [found[output] for output in range(len(self.outputs))]

    def _shape(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """The shape of the graph to use: that of the input, or None for the graph that takes any."""
        if not self._sizes:
            return None
        with self._lock:
            self._seen[shape] += 1
            if shape not in self._compiled and self._seen[shape] >= STEADY and len(self._compiled) <= SIZES_COMPILED:
                model = self._read()
                model.reshape(list(shape))
                self._compiled[shape] = self._compile(model)
            return shape if shape in self._compiled else None


class OpenVinoRuntime:
    """A single-stage detector: a file that `onnx_export` wrote, or an IR (.xml, with .bin beside it) made of one; its
    metadata names the detector, whose decoder knows the outputs.

    Raises CheckpointError for a file of another net or project, MtcnnError without the package openvino.
    """

    engine = "OpenVINO"

    def __init__(self, path: str | PathLike[str], threads: int | None = None) -> None:
        openvino_package()
        path = Path(path)
        try:
            weights = path.with_suffix(".bin").read_bytes() if path.suffix.lower() == ".xml" else b""
            self._graph = OpenVinoGraph(path.read_bytes(), weights, np.uint8, threads, sizes=True)
            facts = self._graph.model.rt_info["framework"]
            self.decoder = DETECTORS[facts["net"].value].decoder
            self._of_decoder = set(self._graph.outputs) <= set(self.decoder.names)
            named = "landmarks" in self._graph.outputs
            self.has_landmarks = named if self._of_decoder else self.decoder.landmarks_in_file(self._graph.outputs)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror}); expected an ONNX file or an IR") from None
        except MtcnnError:
            raise
        except Exception as error:  # openvino raises RuntimeError for anything, and lacks what no file of ours lacks
            raise CheckpointError(f"{path} is no detector; expected a file that this project exported") from error

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, Array]:
        found = zip(self._graph.outputs, self._graph(np.ascontiguousarray(image)[None]), strict=True)
        outputs = {name: output[0] for name, output in found}
        return outputs if self._of_decoder else dict(self.decoder.from_file(outputs))


class OpenVinoRefiner:
    """RNet, ONet or the net of its second pass on crops: see `cascade.CropRunner`."""

    engine = "OpenVINO"

    def __init__(self, net: Weights) -> None:
        openvino_package()
        from ..onnx_graph.cascade import crop_net

        self._graph = OpenVinoGraph(crop_net(net).SerializeToString(), pixels=np.float32)

    def __call__(self, crops: Array) -> Refined:
        if not len(crops):
            shapes = [(0, 5, 2) if name == "landmarks" else (0, 4)[: 1 + (name == "offsets")]
                      for name in self._graph.outputs]  # fmt: skip
            return _refined(self._graph.outputs, [np.zeros(shape, np.float32) for shape in shapes])
        return _refined(self._graph.outputs, self._graph(np.ascontiguousarray(crops, np.float32)))


def _refined(names: list[str], arrays: list[Array]) -> Refined:
    found = dict(zip(names, arrays, strict=True))
    return Refined(found["logits"], found["offsets"], found.get("landmarks"))
