"""Weights given to a training: copied into the work folder, where later commands find them, and hashed."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from mtcnn.checkpoint import SUFFIX, has_weights, packaged_weights, weights_path
from mtcnn.detectors import DETECTORS
from mtcnn.errors import CheckpointError, MtcnnError
from mtcnn.files.atomic_write import atomic_write

__all__ = ["PACKAGED", "content_hash", "given_file", "input_of", "keep"]

PACKAGED = "packaged"
"""Instead of a file name: the weights of the net that ship with the project."""


def given_file(given: Path | None, net: str, option: str) -> Path | None:
    """Resolve `given`, which may be PACKAGED, or for a teacher the name of a detector whose weights ship.

    Raises CheckpointError where no file has its name, MtcnnError if no weights of `net` ship.
    """
    if given is not None and option == "teacher" and str(given) in DETECTORS and not given.exists():
        net, given = str(given), Path(PACKAGED)
    if given is None or str(given) != PACKAGED:
        if given is not None and not given.is_file():
            what = "a folder" if given.is_dir() else "no file"
            kinds = "weights of the net or of its trunk" if option == "start" else "weights of a teacher"
            raise CheckpointError(
                f"`{option}` is {given}, which is {what}; expected {kinds}, as `mtcnn train` and `mtcnn "
                f"weights import` write them, or {PACKAGED}"
            )
        return given
    if not has_weights(packaged_weights(), net):
        raise MtcnnError(f"`{option}` is {PACKAGED}, but no weights of {net} ship with this project; name a file")
    return weights_path(packaged_weights(), net)


def _paths(work: Path, net: str, kind: str) -> list[Path]:
    """Possible locations of an input: a file of version 0.1 keeps its format."""
    return [weights_path(work, net).with_name(f"{kind}-{net}{suffix}") for suffix in (SUFFIX, ".pt")]


def input_of(work: Path, net: str, kind: str) -> Path | None:
    """The input of this kind, "start" or "teacher", in a work folder; None if there is none."""
    return next((path for path in _paths(work, net, kind) if path.is_file()), None)


def content_hash(path: Path) -> str:
    """A hash of an input, for a node's key."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def keep(given: Path, work: Path, net: str, kind: str) -> None:
    """Copy an input into a work folder, replacing an existing one."""
    paths = _paths(work, net, kind)
    target = paths[1] if given.read_bytes()[:2] == b"PK" else paths[0]
    with atomic_write(target) as draft:  # the processes of torchrun all do this at once
        shutil.copyfile(given, draft)
    for other in paths:
        if other != target:
            other.unlink(missing_ok=True)
