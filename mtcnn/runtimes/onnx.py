"""Single-stage detectors computed by onnxruntime, on the CPU."""

from __future__ import annotations

import json
import os
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detectors import DETECTORS
from ..engine.threads import threads as _threads
from ..errors import CheckpointError, MtcnnError

__all__ = ["OnnxRuntime"]

# Sessions of the process that this one was forked from: to end one would wait for its threads.
_of_parents: list[Any] = []


class OnnxRuntime:
    """A file that `onnx_export.export_onnx` wrote; its metadata names the detector, whose decoder knows the outputs. A
    net whose landmarks nothing has trained is exported without them.

    threads  None for as many as torch uses. Raises CheckpointError for a file of another net or project, MtcnnError
    without the package onnxruntime.
    """

    engine = "onnxruntime"

    def __init__(self, path: str | PathLike[str], threads: int | None = None) -> None:
        self._threads = threads or _threads()
        try:
            self._content = Path(path).read_bytes()
            self._open()
            facts = self.session.get_modelmeta().custom_metadata_map
            self.decoder = DETECTORS[facts["net"]].decoder
            self.mean, self.divisor = json.loads(facts.get("scaling", "[0, 1]"))
            self.outputs = [output.name for output in self.session.get_outputs()]
            self.has_landmarks = self.decoder.landmarks_in_file(self.outputs)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror}); expected an ONNX file") from None
        except MtcnnError:
            raise
        except Exception as error:  # onnxruntime raises half a dozen types for broken files
            raise CheckpointError(
                f"{path} is no detector for ONNX; expected a file that this project exported"
            ) from error

    def _open(self) -> None:
        """A session belongs to one process: it cannot be pickled, and its threads are not there after a fork."""
        try:
            import onnxruntime
        except ImportError:
            raise MtcnnError("no package onnxruntime; expected it: pip install 'mtcnn-cascade[export]'") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        self.session = onnxruntime.InferenceSession(self._content, options, providers=["CPUExecutionProvider"])
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("session", "_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _process=None)

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        if self._process != os.getpid():
            _of_parents.append(getattr(self, "session", None))
            self._open()
        x = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)  # (H, W, 3) -> (1, 3, H, W)
        if (self.mean, self.divisor) != (0, 1):
            x = (x - np.float32(self.mean)) * np.float32(1 / self.divisor)
        outputs = zip(self.outputs, self.session.run(None, {"images": x}), strict=True)
        return dict(self.decoder.from_file({name: output[0] for name, output in outputs}))
