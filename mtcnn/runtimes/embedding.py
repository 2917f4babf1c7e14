"""A recognition model in ONNX: aligned faces in, embeddings out. This project ships none."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.threads import threads
from ..errors import CheckpointError, MtcnnError, SettingsError
from ..importers.protobuf import Message
from ..pictures.align import TEMPLATE_SIDE

__all__ = ["OnnxEmbedding"]

_GRAPH, _NODE, _OPERATOR = 7, 1, 4  # fields of ModelProto, GraphProto and NodeProto in onnx.proto
_FIRST = 8  # steps among which a model that scales by itself does so


class OnnxEmbedding:
    """An .onnx file of the ArcFace family: a callable for `Faces.embed` and `Spared`.

    Takes uint8 RGB (N, 112, 112, 3) and returns float32 (N, D). The model gets RGB, (x - 127.5) / 127.5, or the values
    as they are if it subtracts and multiplies in its first steps, which is how insightface tells files of MXNet
    (model_zoo/arcface_onnx.py). Its input is (N, 3, 112, 112) or (N, 112, 112, 3). Other models fit behind a function
    of your own.

    Without crops the result is (0, 0).

    Raises MtcnnError without the package onnxruntime; CheckpointError for a file that is no model in ONNX, or one with
    another input.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MtcnnError("no package onnxruntime; expected it: pip install 'mtcnn-cascade[export]'") from None
        self.path = Path(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 3
        try:
            content = self.path.read_bytes()
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            self._scales = not _has_scaling(content)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror}); expected a model in ONNX") from None
        except Exception:  # onnxruntime raises half a dozen types for broken files
            raise CheckpointError(
                f"{path} is no model in ONNX; expected a recognition model, such as ArcFace"
            ) from None
        self._last, self._at_once = self._layout()

    def _layout(self) -> tuple[bool, bool]:
        """Whether colours are the last axis; whether a call takes any number of faces. Raises CheckpointError."""
        given = self._session.get_inputs()
        shape = list(given[0].shape)
        sides = [shape[1:3], shape[2:]]  # where colours are last, and first
        colours = [shape[3:], shape[1:2]]
        for last in (False, True):
            fits = len(shape) == 4 and colours[not last] == [3]
            free = fits and all(side == TEMPLATE_SIDE or not isinstance(side, int) for side in sides[not last])
            if free and len(given) == 1 and given[0].type == "tensor(float)":
                return last, not isinstance(shape[0], int) or shape[0] < 1
        expected = f"one float32 input (N, 3, {TEMPLATE_SIDE}, {TEMPLATE_SIDE})"
        raise CheckpointError(
            f"{self.path} takes {len(given)} inputs, the first {given[0].type} {shape}; expected {expected}; in Python "
            "any function fits"
        )

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        if not len(crops):
            return np.zeros((0, 0), np.float32)
        x = crops.astype(np.float32)
        if self._scales:
            x = (x - np.float32(127.5)) * np.float32(1 / 127.5)
        if not self._last:
            x = x.transpose(0, 3, 1, 2)  # (N, H, W, 3) -> (N, 3, H, W)
        x = np.ascontiguousarray(x)
        groups = [x] if self._at_once else [x[i : i + 1] for i in range(len(x))]
        found = [np.asarray(self._run(group), np.float32).reshape(len(group), -1) for group in groups]
        return np.concatenate(found)

    def _run(self, x: NDArray[np.float32]) -> Any:
        try:
            return self._session.run(None, {self._session.get_inputs()[0].name: x})[0]
        except Exception as error:
            why = " ".join(str(error).split())[:120]
            raise SettingsError(f"{self.path} fails on aligned faces ({why}); expected a recognition model") from None


def _has_scaling(content: bytes) -> bool:
    (graph, *_) = Message(content).messages(_GRAPH)
    first = {(node.texts(_OPERATOR) or [""])[0] for node in graph.messages(_NODE)[:_FIRST]}
    return {"Sub", "Mul"} <= first
