"""The detectors of a comparison: what runs, with which weights, at which size."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.checkpoint import has_weights, load_weights, packaged_weights, read, weights_path
from mtcnn.detector_settings import CASCADE, REFINED
from mtcnn.detectors import DETECTORS
from mtcnn.errors import SettingsError
from mtcnn.metrics.scales import ScaledDetector, check_scale
from mtcnn.types import Faces

__all__ = ["RECALL", "Entry", "choose"]

RECALL = f"{CASCADE}-recall"
"""The cascade with the settings that find the most faces, for AP: smaller faces, lower thresholds."""

_RECALL = {"min_face": 10.0, "scale_factor": 0.79, "thresholds": (0.5, 0.5, 0.3)}
_LOWEST = 0.02  # score from which single-stage detectors are measured, as published tables are
_VERSION = 1  # of cached detections; raised when the same settings give other faces


@dataclass(frozen=True)
class Entry:
    """One row of the table.

    name      CASCADE, RECALL or a name of DETECTORS, with "+rnet" or "+rnet+onet" if these follow it.
    models    the folder with the weights of its first net; None where no folder has them.
    refiners  the folder with those of RNet and ONet.
    scale     see `scales.passes`.
    """

    name: str
    models: Path | None
    refiners: Path
    scale: str = "original"

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
    def label(self) -> str:
        """The name, with the size if it is not the original."""
        return self.name if self.scale == "original" else f"{self.name} @{self.scale}"

    def folder(self, net: str) -> Path:
        """The folder of models that `net` is read from."""
        return self.models if net == self.first and self.models is not None else self.refiners

    def missing(self) -> str:
        """Why it cannot run: the package that it lacks, or the nets without weights, as text; or ""."""
        package = DETECTORS[self.first].missing_package if self.first in DETECTORS else None
        if package is not None:
            return f"no package {package}"
        lacking = [net for net in self.nets if self.models is None or not has_weights(self.folder(net), net)]
        return f"no weights of {', '.join(lacking)}" if lacking else ""

    def key(self) -> str:
        """Hex digest of everything that its detections depend on, but the photos."""
        content = {net: _digest(weights_path(self.folder(net), net)) for net in self.nets}
        plain = json.dumps([_VERSION, self.name, self.scale, content, _RECALL if self.name == RECALL else _LOWEST])
        return hashlib.sha256(plain.encode()).hexdigest()[:16]

    def detector(self, measured: bool = True) -> Callable[[NDArray[np.uint8]], Faces]:
        """The detector. measured: down to the scores that AP counts; otherwise with default thresholds."""
        from mtcnn.cascade import Detector

        settings: dict[str, Any] = {"models": self.models}
        if self.first != "pnet":
            settings |= {"stage1": self.first, "coarse": False}
            settings |= {"thresholds": _LOWEST} if measured else {}
        elif self.name == RECALL:
            settings |= _RECALL
        found = Detector(**settings)
        if self.first != "pnet":
            found.refiners = [self._refiner(net, measured) for net in self.nets[1:]]
        return found.detect

    def _refiner(self, net: str, measured: bool) -> Any:
        from mtcnn.refiner import NetRefiner

        weights = load_weights(weights_path(self.refiners, net), net)
        stage = NetRefiner(weights, net, behind_detector=True)
        return replace(stage, threshold=_LOWEST) if measured else stage

    def __call__(self) -> ScaledDetector:
        """Makes the detector at its scale, in a worker process (`detections.detect_all`)."""
        return ScaledDetector(self.detector(), self.scale)


def _digest(path: Path) -> str:
    """Digest of a weights file's content, independent of its format."""
    found = read(path)
    digest = hashlib.sha256(repr((found.model, found.scoring, found.colour, found.scaling)).encode())
    for name, values in sorted(found.arrays().items()):
        digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def choose(
    names: Iterable[str], models: Sequence[Path] = (), scales: Sequence[str] = ("original",), refine: str = "none"
) -> list[Entry]:
    """The rows for `names`, each at every scale.

    names   of `Entry`; "all" stands for the cascade and every single-stage detector.
    models  folders with weights, searched in order, the packaged weights last.
    refine  "rnet" or "rnet,onet" adds a row for each single-stage detector with weights, followed by these nets.

    Raises SettingsError for an unknown name or scale.
    """
    folders = [*models, packaged_weights()]
    names = [name for given in names for name in (_all() if given == "all" else [given])]
    behind = "".join(f"+{net}" for net in REFINED[refine])
    found: dict[str, Entry] = {}
    for scale in map(check_scale, scales):
        for name in dict.fromkeys(names):
            entry = _entry(name, folders, scale)
            found.setdefault(entry.label, entry)
            if behind and entry.first != "pnet" and "+" not in name and not entry.missing():
                more = _entry(name + behind, folders, scale)
                found.setdefault(more.label, more)
    return list(found.values())


def _all() -> list[str]:
    return [CASCADE, RECALL, *DETECTORS]


def _entry(name: str, folders: Sequence[Path], scale: str) -> Entry:
    first, *rest = name.split("+")
    if first not in _all() or (rest and (first in (CASCADE, RECALL) or ",".join(rest) not in REFINED)):
        raise SettingsError(
            f"{name} is not a detector; expected all, or one of {', '.join(_all())}, "
            "the single-stage ones also with +rnet or +rnet+onet"
        )
    start = Entry(name, None, folders[0], scale)
    models = next((folder for folder in folders if has_weights(folder, start.first)), None)
    # PNet, RNet and ONet of a cascade were trained together, so its nets come from one folder.
    refiners = next((folder for folder in folders if has_weights(folder, "rnet")), folders[-1])
    return Entry(name, models, models if start.first == "pnet" and models is not None else refiners, scale)
