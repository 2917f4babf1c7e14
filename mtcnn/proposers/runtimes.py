"""What computes a single-stage detector: code compiled here, torch, or onnxruntime."""

from __future__ import annotations

import json
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..engine.retinaface import FastRetinaFace
from ..errors import CheckpointError, MtcnnError
from ..nets import to_input
from .anchors import RETINAFACE, Layout, Level
from .retinaface import RetinaFace

__all__ = ["AnchorValues", "CompiledRuntime", "OnnxRuntime", "Runtime", "TorchRuntime", "fold_norms"]

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
    def of(cls, net: nn.Module) -> CompiledRuntime | None:
        """What runs `net` with its present weights; None for any other architecture or width."""
        state = net.state_dict()
        shapes = {name: value.shape for name, value in state.items()}
        if type(net) is not RetinaFace or shapes != _shapes():
            return None
        return cls(FastRetinaFace(state))

    def __call__(self, image: NDArray[np.uint8]) -> AnchorValues:
        return AnchorValues(*self.net(image))


@lru_cache
def _shapes() -> dict[str, torch.Size]:
    """Of the parameters of the one net that is compiled."""
    with torch.device("meta"):
        return {name: value.shape for name, value in RetinaFace().state_dict().items()}


class TorchRuntime:
    """A net of torch, with a `layout` and a `scaling`, that returns a ProposerOutput."""

    def __init__(self, net: nn.Module, device: str = "cpu") -> None:
        self.net, self.device = net, device
        self.layout: Layout = net.layout  # type: ignore[assignment]

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> AnchorValues:
        output = self.net(to_input(image[None], self.device, self.net.scaling))  # type: ignore[arg-type]
        logits = output.class_logits[0, :, 1] - output.class_logits[0, :, 0]
        points: Tensor | None = output.landmark_codes
        return AnchorValues(
            logits.cpu().numpy(), output.box_codes[0].cpu().numpy(), None if points is None else points[0].cpu().numpy()
        )


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
        options.intra_op_num_threads = threads or torch.get_num_threads()
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
                f"{path} is no detector for ONNX; expected a file that `mtcnn export --net retinaface onnx` wrote"
            ) from error

    def __call__(self, image: NDArray[np.uint8]) -> AnchorValues:
        x = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)  # (H, W, 3) -> (1, 3, H, W)
        logits, boxes, *points = self.session.run(None, {"images": x})
        return AnchorValues(logits[0], boxes[0], points[0][0] if points else None)


def fold_norms(net: nn.Module) -> nn.Module:
    """Batch norms behind convolutions folded into them, in place: the same values to a millionth, in less time.

    Only where the two follow each other in an nn.Sequential, as most of them do. For a net that trains no more.
    """
    for layer in list(net.modules()):
        if not isinstance(layer, nn.Sequential):
            continue
        for place in range(len(layer) - 1):
            convolution, norm = layer[place], layer[place + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                layer[place], layer[place + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    return net
