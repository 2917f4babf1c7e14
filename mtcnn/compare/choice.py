"""Which rows a comparison has, from the names that a user gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mtcnn.checkpoint import check_models, has_weights, packaged_weights
from mtcnn.detector_settings import CASCADE, REFINED
from mtcnn.detectors import DETECTORS
from mtcnn.errors import CheckpointError, SettingsError
from mtcnn.metrics.scales import check_scale

from .entries import RECALL, Entry
from .files import FileEntry, is_file_name, opened

__all__ = ["choose"]


def choose(
    names: Iterable[str], models: Sequence[Path] = (), scales: Sequence[str] = ("original",), refine: str = "none"
) -> list[Entry]:
    """The rows for `names`, each at every scale.

    names   of `Entry`; "all" stands for the cascade and every single-stage detector. "FOLDER/NAME" takes the weights
            from that folder of models; a name that ends in .onnx is a file, see `files`.
    models  folders with weights, searched in order, the packaged weights last.
    refine  "rnet" or "rnet,onet" adds a row for each single-stage detector with weights, followed by these nets.

    Raises SettingsError for an unknown name or scale, CheckpointError for a missing file or folder, a file of another
    form, or if none of the names has weights.
    """
    for folder in models:
        check_models(folder)
    folders = [*models, packaged_weights()]
    names = list(names)
    every = [name for given in names for name in (_all() if given == "all" else [given])]
    start = _distinct([_entry(name, folders) for name in dict.fromkeys(every)])
    if "all" not in names:
        _check_any_runs(start)
    behind = "".join(f"+{net}" for net in REFINED[refine])
    found: dict[str, Entry] = {}
    for scale in (check_scale(scale, "sizes") for scale in scales):
        for entry in (replace(each, scale=scale) for each in start):
            found.setdefault(entry.label, entry)
            if behind and entry.first != "pnet" and len(entry.nets) == 1 and not entry.missing():
                more = replace(entry, name=entry.name + behind, given=entry.given and entry.given + behind)
                found.setdefault(more.label, more)
    return list(found.values())


def _all() -> list[str]:
    return [CASCADE, RECALL, *DETECTORS]


def _entry(name: str, folders: Sequence[Path]) -> Entry:
    # PNet, RNet and ONet of a cascade were trained together, so its nets come from one folder.
    refiners = next((folder for folder in folders if has_weights(folder, "rnet")), folders[-1])
    if is_file_name(name):
        return opened(FileEntry(name, None, refiners))
    folder, slash, plain = name.rpartition("/")
    first, *rest = plain.split("+")
    if first not in _all() or (rest and (first in (CASCADE, RECALL) or ",".join(rest) not in REFINED)):
        raise SettingsError(
            f"{name} is not a detector; expected all, a file that ends in .onnx, or one of {', '.join(_all())}, "
            "the single-stage ones also with +rnet or +rnet+onet"
        )
    start = Entry(plain, None, refiners, given=name if slash else "")
    if slash:
        folders = [Path(folder or slash)]
        if not has_weights(folders[0], start.first):
            raise CheckpointError(f"{folder or slash} has no weights of {start.first}; expected a folder of models")
    found = next((folder for folder in folders if has_weights(folder, start.first)), None)
    return replace(start, models=found, refiners=found if start.first == "pnet" and found is not None else refiners)


def _check_any_runs(entries: Sequence[Entry]) -> None:
    why = {entry.title: entry.missing() for entry in entries}
    if why and all(why.values()):
        lacking = "; ".join(f"{title}: {reason}" for title, reason in why.items())
        lacks_package = any(reason.startswith("no package") for reason in why.values())
        fix = "install it" if lacks_package else "train them or import them, and name their folder as `models`"
        raise CheckpointError(f"{lacking}; expected a detector that runs; {fix}")


def _distinct(entries: Sequence[Entry]) -> list[Entry]:
    """Files of equal names are told apart by their paths."""
    count = Counter(entry.title for entry in entries)
    return [
        replace(entry, given=str(entry.file)) if isinstance(entry, FileEntry) and count[entry.title] > 1 else entry
        for entry in entries
    ]
