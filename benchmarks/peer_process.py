"""The parent's side of peer_worker.py: start a detector, ask it, and end it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from peer_packages import Settings
from peers import FOLDER, python_of

from mtcnn import Faces

WORKER = Path(__file__).with_name("peer_worker.py")
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


class PeerProcess:
    """A detector in its environment and process, pinned to cores; ends with the `with` block.

    cores     to run on; empty for all.        settings  of the detector, with as many threads as it may use.
    clock     "wall", or "cpu" for the time that the process computes.
    started   seconds from the start of the process to its readiness; `loaded`: of them, to import and load.
    files     the weights in its package.

    Raises SystemExit, naming its log, when the process ends or cannot load its detector.
    """

    def __init__(self, name: str, settings: Settings, cores: Sequence[int] = (), clock: str = "wall") -> None:
        self.name, self.clock = name, clock
        FOLDER.mkdir(exist_ok=True)
        self.log = FOLDER / f"{name}.log"
        given = {"name": name, "cores": list(cores), "settings": settings._asdict()}
        environment = dict(os.environ) | dict.fromkeys(POOLS, str(settings.threads))
        begin = time.perf_counter()
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [str(python_of(name)), str(WORKER), json.dumps(given)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
            )  # fmt: skip
        answer = self.answer()
        self.started, self.loaded = time.perf_counter() - begin, float(answer["seconds"])
        self.files = [Path(path) for path in answer["files"]]

    def ask(self, do: str, **values: Any) -> None:
        """Send a request; `answer` waits for what comes of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **values}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with status {self._process.wait()}; {self.log} tells why")
        return dict(json.loads(line))

    def detect(self, image: Path, times: int = 1) -> tuple[list[float], Faces]:
        """Seconds (times,) and the faces in the array of an .npy file."""
        self.ask("detect", image=str(image), times=times, clock=self.clock)
        return self.found()

    def found(self) -> tuple[list[float], Faces]:
        """The answer to a `detect` that was asked."""
        answer = self.answer()
        boxes, points = _array(answer["boxes"], 4), _array(answer["points"], 5, 2)
        return answer["seconds"], Faces(boxes, np.array(answer["scores"], np.float32), points).sorted()

    def peak_mb(self) -> float:
        """Peak memory so far; NaN if unknown."""
        self.ask("memory")
        peak = self.answer()["peak_mb"]
        return float("nan") if peak is None else float(peak)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _array(values: Any, *shape: int) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(-1, *shape)
