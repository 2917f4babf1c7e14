"""What computes a single-stage detector: code compiled here, or onnxruntime; `in_torch` has torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..detectors.anchors import RETINAFACE, Layout, Level
from ..engine.retinaface import FastRetinaFace, shapes
from ..engine.threads import threads as _threads
from ..errors import CheckpointError, MtcnnError

__all__ = ["AnchorValues", "CompiledRuntime", "OnnxRuntime", "Runtime"]

Array = NDArray[Any]


class AnchorValues(NamedTuple):
    """What a net says of one image, for A anchors: a `ProposerOutput` in NumPy, with one logit an anchor.

    face_logits (A,), of face against no face.    box_codes (A, 4).    landmark_codes (A, 10), or None.
    """

    face_logits: Array
    box_codes: Array
    landmark_codes: Array | None


class Runtime(Protocol):
    """Computes a net over an image, uint8 RGB (H, W, 3), whose anchors are laid out by `layout`."""

    @property
    def layout(self) -> Layout: ...

    def __call__(self, image: NDArray[np.uint8]) -> AnchorValues: ...


class CompiledRuntime:
    """RetinaFace with MobileNet-0.25 on the CPU, compiled: see `engine.retinaface`. Sides are multiples of 32."""

    layout: Layout = RETINAFACE

    def __init__(self, net: FastRetinaFace) -> None:
        self.net = net

    @classmethod
    def of(cls, state: Mapping[str, Array]) -> CompiledRuntime | None:
        """What runs the net with these parameters; None for those of any other width or trunk."""
        found = {name: value.shape for name, value in state.items() if not name.endswith(".num_batches_tracked")}
        return cls(FastRetinaFace(state)) if found == shapes() else None

    def __call__(self, image: NDArray[np.uint8]) -> AnchorValues:
        return AnchorValues(*self.net(image))


class OnnxRuntime:
    """A file that `export.export_onnx` wrote, computed by onnxruntime on the CPU; anchors are told by its metadata.

    threads  None for as many as torch uses. Raises CheckpointError for a file of another net or project, MtcnnError
    without the package onnxruntime.
    """

    def __init__(self, path: str | PathLike[str], threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MtcnnError("no package onnxruntime; expected it: pip install 'mtcnn-cascade[export]'") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or _threads()
        try:
            self.session = onnxruntime.InferenceSession(
                Path(path).read_bytes(), options, providers=["CPUExecutionProvider"]
            )
            facts = self.session.get_modelmeta().custom_metadata_map
            self.layout: Layout = tuple(
                Level(level["stride"], tuple(level["sizes"])) for level in json.loads(facts["anchors"])
            )
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror}); expected an ONNX file") from None
        except Exception as error:  # onnxruntime raises half a dozen types for broken files
            raise CheckpointError(
                f"{path} is no detector for ONNX; expected a file that this project exported"
            ) from error

    def __call__(self, image: NDArray[np.uint8]) -> AnchorValues:
        x = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)  # (H, W, 3) -> (1, 3, H, W)
        logits, boxes, *points = self.session.run(None, {"images": x})
        return AnchorValues(logits[0], boxes[0], points[0][0] if points else None)
