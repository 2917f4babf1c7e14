"""Rows of a comparison that are ONNX files: what `mtcnn export` wrote, and SCRFD and YuNet of other projects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtcnn.detector_settings import REFINED
from mtcnn.errors import SettingsError
from mtcnn.types import Faces

from .entries import LOWEST, Entry, digest

__all__ = ["FileEntry", "is_file_name", "opened"]

_NAME = re.compile(r"(?P<file>.+\.onnx)(?P<nets>(\+[a-z]+)*)", re.IGNORECASE)


def is_file_name(name: str) -> bool:
    """Whether `name` is that of an ONNX file, with or without nets that follow."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class FileEntry(Entry):
    """A row whose detector is a file.

    name  its path, with "+rnet" or "+rnet+onet" if these follow it; `models` is None.
    note  what limits its AP, for the label.
    """

    note: str = ""

    @property
    def file(self) -> Path:
        return Path(_parts(self.name)[0])

    @property
    def first(self) -> str:
        return self.file.name

    @property
    def nets(self) -> tuple[str, ...]:
        return (self.first, *self.weights)

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple(_parts(self.name)[1].split("+")[1:])

    @property
    def title(self) -> str:
        plain = self.given or self.first + _parts(self.name)[1]
        return f"{plain}, {self.note}" if self.note else plain

    def missing(self) -> str:
        """As in `Entry`."""
        return "no package onnxruntime" if find_spec("onnxruntime") is None else super().missing()

    def key(self) -> str:
        """As in `Entry`."""
        content = {**self._content(), "": hashlib.sha256(self.file.read_bytes()).hexdigest()}
        return digest([_parts(self.name)[1], self.scale, content, LOWEST])

    def detector(self, measured: bool = True) -> Callable[[NDArray[np.uint8]], Faces]:
        """As in `Entry`, at one look at each image."""
        from mtcnn.cascade import finished
        from mtcnn.detectors.onnx_file import load_onnx_file

        propose = load_onnx_file(self.file, LOWEST if measured else None)
        refiners = [self.refiner(net, measured) for net in self.weights]

        def detect(image: NDArray[np.uint8]) -> Faces:
            faces = propose(image)
            for refine in refiners:
                faces = refine(image, faces)
            return finished(faces, *image.shape[:2])

        return detect


def opened(entry: FileEntry) -> FileEntry:
    """The entry after a look at its file. Raises SettingsError if no file has its name, or if other nets follow it than
    RNet and ONet; CheckpointError for a file of another form."""
    if not entry.file.is_file():
        raise SettingsError(f"{entry.file} does not exist; expected an ONNX file of a detector")
    if _parts(entry.name)[1] and ",".join(entry.weights) not in REFINED:
        raise SettingsError(f"{entry.name} is not a detector; expected nothing, +rnet or +rnet+onet after the file")
    if entry.missing():
        return entry
    from mtcnn.detectors.onnx_file import WholeFile, load_onnx_file

    found = load_onnx_file(entry.file, LOWEST)
    if isinstance(found, WholeFile) and found.lowest > LOWEST:
        return replace(entry, note=f"scores from {found.lowest:g}")
    return entry


def _parts(name: str) -> tuple[str, str]:
    """The file, and what follows it."""
    found = _NAME.fullmatch(name)
    assert found is not None
    return found["file"], found["nets"]
