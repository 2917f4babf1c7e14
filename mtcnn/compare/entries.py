"""The detectors of a comparison: what runs, with which weights, at which size."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.checkpoint import has_weights, load_weights, read, weights_path
from mtcnn.detector_settings import CASCADE
from mtcnn.detectors import DETECTORS
from mtcnn.metrics.scales import ScaledDetector
from mtcnn.types import Faces
from mtcnn.weights import SECOND, Weights

__all__ = ["LOWEST", "RECALL", "Entry", "digest"]

RECALL = f"{CASCADE}-recall"
"""The cascade with the settings that find the most faces, for AP: smaller faces, lower thresholds."""

_RECALL = {"min_face": 10.0, "scale_factor": 0.79, "thresholds": (0.5, 0.5, 0.3)}
LOWEST = 0.02  # score from which single-stage detectors are measured, as published tables are
_VERSION = 1  # of cached detections; raised when the same settings give other faces


@dataclass(frozen=True)
class Entry:
    """One row of the table.

    name      CASCADE, RECALL or a name of DETECTORS, with "+rnet" or "+rnet+onet" if these follow it.
    models    the folder with the weights of its first net; None where no folder has them.
    refiners  the folder with those of RNet and ONet.
    scale     see `scales.passes`.
    given     how the user named it, if not by its name.
    """

    name: str
    models: Path | None
    refiners: Path
    scale: str = "original"
    given: str = ""

    @property
    def first(self) -> str:
        """The net that proposes: pnet, or a single-stage detector."""
        name = self.name.partition("+")[0]
        return "pnet" if name in (CASCADE, RECALL) else name

    @property
    def nets(self) -> tuple[str, ...]:
        """The nets that run, in order."""
        return (self.first, *(("rnet", "onet") if self.first == "pnet" else self.name.split("+")[1:]))

    @property
    def title(self) -> str:
        """Name of its rows: those of all sizes."""
        return self.given or self.name

    @property
    def label(self) -> str:
        """The title, with the size if it is not the original."""
        return self.title if self.scale == "original" else f"{self.title} @{self.scale}"

    @property
    def weights(self) -> tuple[str, ...]:
        """The nets that run with weights from a folder."""
        return self.nets

    @property
    def second(self) -> tuple[str, ...]:
        """The net of ONet's second pass, if it has one."""
        return (SECOND,) if "onet" in self.weights and has_weights(self.folder("onet"), SECOND) else ()

    def folder(self, net: str) -> Path:
        """The folder of models that `net` is read from."""
        return self.models if net == self.first and self.models is not None else self.refiners

    def missing(self) -> str:
        """Why it cannot run: the package that it lacks, or the nets without weights, as text; or ""."""
        package = DETECTORS[self.first].missing_package if self.first in DETECTORS else None
        if package is not None:
            return f"no package {package}"
        nowhere = self.first if self.models is None else ""
        lacking = [net for net in self.weights if net == nowhere or not has_weights(self.folder(net), net)]
        return f"no weights of {', '.join(lacking)}" if lacking else ""

    def key(self) -> str:
        """Hex digest of everything that its detections depend on, but the photos."""
        return digest([self.name, self.scale, self._content(), _RECALL if self.name == RECALL else LOWEST])

    def _content(self) -> dict[str, str]:
        return {net: _digest(weights_path(self.folder(net), net)) for net in (*self.weights, *self.second)}

    def detector(self, measured: bool = True) -> Callable[[NDArray[np.uint8]], Faces]:
        """The detector. measured: down to the scores that AP counts; otherwise with default thresholds."""
        from mtcnn.cascade import Detector

        settings: dict[str, Any] = {"models": self.models}
        if self.first != "pnet":
            settings |= {"stage1": self.first, "coarse": False}
            settings |= {"thresholds": LOWEST} if measured else {}
        elif self.name == RECALL:
            settings |= _RECALL
        found = Detector(**settings)
        if self.first != "pnet":
            found.refiners = [self.refiner(net, measured) for net in self.nets[1:]]
        return found.detect

    def refiner(self, net: str, measured: bool) -> Any:
        """RNet or ONet behind a detector."""
        from mtcnn.refiner import NetRefiner

        def weights(name: str) -> Weights:
            return load_weights(weights_path(self.refiners, name), name)

        second = [weights(name) for name in self.second if net == "onet"]
        stage = NetRefiner(weights(net), net, behind_detector=True, second=second[0] if second else None)
        return replace(stage, threshold=LOWEST) if measured else stage

    def __call__(self) -> ScaledDetector:
        """Makes the detector at its scale, in a worker process (`detections.detect_all`)."""
        return ScaledDetector(self.detector(), self.scale)


def digest(content: Any) -> str:
    """Hex digest of plain values, as the key of an entry."""
    return hashlib.sha256(json.dumps([_VERSION, *content]).encode()).hexdigest()[:16]


def _digest(path: Path) -> str:
    """Digest of a weights file's content, independent of its format."""
    found = read(path)
    digest = hashlib.sha256(repr((found.model, found.scoring, found.colour, found.scaling, found.threshold)).encode())
    for name, values in sorted(found.arrays().items()):
        digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
