"""Runtimes of nets: torch, onnxruntime, or code compiled here.

`torch`, `onnx`, `openvino` and `plans` each run one kind of net; `cascade` chooses for PNet, RNet and ONet,
`detectors.load` for single-stage detectors. Outputs are decoded elsewhere: see `detectors.decoders`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["BoxesAlone", "Runtime", "engine_of", "padding_of", "sparse_outputs"]


class Runtime(Protocol):
    """Computes a single-stage detector over a prepared image.

    image  uint8 RGB (H, W, 3), padded to sides that the net takes. Returns the net's outputs, named arrays without a
           batch axis, in the order of the decoder's names; without "landmarks" if nothing has trained them.
    """

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]: ...


def engine_of(runtime: Runtime | None) -> str:
    """What computes a net, in words; None for the nets of the cascade on a CPU."""
    return "compiled code" if runtime is None else str(getattr(runtime, "engine", type(runtime).__name__))


@dataclass(frozen=True)
class BoxesAlone:
    """A runtime without its landmarks, which nothing has trained: see `checkpoint.Checkpoint`."""

    runtime: Runtime
    has_landmarks: ClassVar[bool] = False

    @property
    def engine(self) -> str:
        return engine_of(self.runtime)

    @property
    def padding(self) -> tuple[int, int, int] | None:
        return padding_of(self.runtime)

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        return _without_landmarks(self.runtime(image))

    def sparse(self, image: NDArray[np.uint8]) -> dict[str, Any]:
        """As a call, see `sparse_outputs`."""
        return _without_landmarks(sparse_outputs(self.runtime, image))


def padding_of(runtime: Runtime) -> tuple[int, int, int] | None:
    """The colour by which a runtime pads images itself; None if it expects padded ones."""
    found: tuple[int, int, int] | None = getattr(runtime, "padding", None)
    return found


def sparse_outputs(runtime: Runtime, image: NDArray[np.uint8]) -> dict[str, Any]:
    """The outputs of a runtime; those other than logits may be computed only for the rows by which they are indexed,
    and are then valid until this thread runs the net again."""
    outputs: dict[str, Any] = getattr(runtime, "sparse", runtime)(image)
    return outputs


def _without_landmarks(outputs: dict[str, Any]) -> dict[str, Any]:
    return {name: output for name, output in outputs.items() if name != "landmarks"}
