"""ONNX files computed by onnxruntime, on the CPU."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detectors import DETECTORS
from ..engine.threads import threads as _threads
from ..errors import CheckpointError, MtcnnError

__all__ = ["OnnxRuntime", "OnnxSession", "planes"]

# Sessions of the process that this one was forked from: to end one would wait for its threads.
_of_parents: list[Any] = []

_ERRORS = 3  # of onnxruntime; below, it warns of every output whose size the file states wrongly


class OnnxSession:
    """An ONNX file, whatever it holds.

    threads  None for as many as torch uses. Raises CheckpointError for a file that onnxruntime cannot load, MtcnnError
    without the package onnxruntime.
    """

    engine = "onnxruntime"

    def __init__(self, path: str | PathLike[str], threads: int | None = None) -> None:
        self.path = Path(path)
        self._threads = threads or _threads()
        try:
            self._content = self.path.read_bytes()
            self._open()
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror}); expected an ONNX file") from None
        except MtcnnError:
            raise
        except Exception as error:  # onnxruntime raises half a dozen types for broken files
            raise CheckpointError(
                f"{path} is no detector for ONNX; expected a file that onnxruntime can load"
            ) from error
        self.facts: Mapping[str, str] = self.session.get_modelmeta().custom_metadata_map
        self.outputs = [output.name for output in self.session.get_outputs()]

    def _open(self) -> None:
        """A session belongs to one process: it cannot be pickled, and its threads are not there after a fork."""
        try:
            import onnxruntime
        except ImportError:
            raise MtcnnError("no package onnxruntime; expected it: pip install 'mtcnn-cascade[export]'") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = _ERRORS
        self.session = onnxruntime.InferenceSession(self._content, options, providers=["CPUExecutionProvider"])
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("session", "_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _process=None)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The outputs by name, in the order of the file, for the inputs by name."""
        if self._process != os.getpid():
            _of_parents.append(getattr(self, "session", None))
            self._open()
        return dict(zip(self.outputs, self.session.run(None, dict(feeds)), strict=True))


class OnnxRuntime(OnnxSession):
    """A file that `onnx_export.export_onnx` wrote; its metadata names the detector, whose decoder knows the outputs. A
    net whose landmarks nothing has trained is exported without them.

    Raises also CheckpointError for a file of another net or project.
    """

    def __init__(self, path: str | PathLike[str], threads: int | None = None) -> None:
        super().__init__(path, threads)
        if self.facts.get("net") not in DETECTORS:
            raise CheckpointError(f"{path} is no detector for ONNX; expected a file that this project exported")
        self.decoder = DETECTORS[self.facts["net"]].decoder
        self.mean, self.divisor = json.loads(self.facts.get("scaling", "[0, 1]"))
        self.has_landmarks = self.decoder.landmarks_in_file(self.outputs)

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        outputs = self.run({"images": planes(image, self.mean, self.divisor)})
        return dict(self.decoder.from_file({name: output[0] for name, output in outputs.items()}))


def planes(image: NDArray[np.uint8], mean: float = 0.0, divisor: float = 1.0) -> NDArray[np.float32]:
    """image (H, W, 3) as the input of a net, float32 (1, 3, H, W)."""
    x = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
    return x if (mean, divisor) == (0, 1) else (x - np.float32(mean)) * np.float32(1 / divisor)
