"""Names of object classes: which of them are faces."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mtcnn.errors import DataError

__all__ = ["DOUBTFUL", "is_doubtful", "noted_classes", "taken_classes"]

SHOWN = 8  # class names listed in a message
FACE = "face"
DOUBTFUL = ("doubtful", "ignore", "ignored")  # classes of regions that are neither faces nor background


def is_doubtful(name: str) -> bool:
    """Whether a class is one of ignore regions; the writers call theirs "doubtful"."""
    return name.lower() in DOUBTFUL


def taken_classes(where: Path, form: str, counts: Mapping[str, int], names: Collection[str] | None) -> set[str]:
    """The names of the classes whose objects are faces or ignore regions.

    counts  objects by class.
    names   classes that are faces, chosen by the user. None: those named "face", in any case, if there are any;
            otherwise all.

    Raises DataError for a chosen class that no object has.
    """
    doubtful = {name for name in counts if is_doubtful(name)}
    if names is None:
        return doubtful | ({name for name in counts if name.lower() == FACE} or set(counts))
    absent = sorted(set(names) - counts.keys())
    if absent:
        known = ", ".join(sorted(counts)[:SHOWN]) or "none"
        raise DataError(f"{where}: no object is named {absent[0]!r}; expected one of {known}, as {_choice(form)}")
    return set(names) | doubtful


def noted_classes(form: str, counts: Mapping[str, int], taken: Collection[str]) -> str:
    """The classes used and those left out, most frequent first; "" if there is one class alone."""
    order = sorted(counts, key=lambda name: (-counts[name], name))
    took = [name for name in order if name in taken and not is_doubtful(name)]
    ignored = [name for name in order if name in taken and is_doubtful(name)]
    left = [name for name in order if name not in taken]
    if len(order) - len(ignored) < 2 and not left:
        return ""
    text = f"took {_listed(took, counts)} for faces"
    text += f", ignores {_listed(ignored, counts)}" if ignored else ""
    return f"{text}, left {_listed(left, counts)}" if left else f"{text}; name those that are: {_choice(form)}"


def _choice(form: str) -> str:
    """How classes are chosen."""
    return f"{form}:{'DIR' if form in ('labelme', 'voc') else 'PATH'}:IMAGES:NAME"


def _listed(names: Sequence[str], counts: Mapping[str, int]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"{name[:40] or 'objects without a name'} {counts[name]}" for name in names[:SHOWN]) + more
