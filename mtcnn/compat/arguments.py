"""Settings under the names and in the places that three packages give them."""

from __future__ import annotations

from numbers import Real
from os import PathLike
from typing import Any

from ..stages import STAGES

__all__ = ["by_position", "one_name"]


def by_position(first: Any, second: Any, third: Any, fourth: Any) -> dict[str, Any]:
    """The settings, by name, of a constructor of ipazc's mtcnn that is given its arguments by position.

    Version 1 has (stages, device), 0.1 (weights_file, min_face_size, steps_threshold, scale_factor), where
    facenet-pytorch has image_size, margin, min_face_size and thresholds. Those may be given by their names as well.
    """
    if isinstance(first, list | tuple) or (isinstance(first, str) and first in STAGES):
        place = "margin" if isinstance(second, Real) else "device"
        return {"stages": first, place: second, "min_face_size": third, "thresholds": fourth}
    if not isinstance(first, str | PathLike | None):
        raise TypeError(f"image_size is {first!r}; expected a number, or stages or weights_file in its place")
    found = {"weights_file": first, "min_face_size": second or third}
    if not isinstance(third, Real):
        found |= {"min_face_size": second or 20, "steps_threshold": third}
    return found | {"scale_factor" if isinstance(fourth, Real) else "thresholds": fourth}


def one_name(name: str, *given: Any, default: Any = None) -> Any:
    """The value of a setting that has several names; None stands for no value.

    Raises TypeError when more than one is given.
    """
    found = [value for value in given if value is not None]
    if len(found) > 1:
        raise TypeError(f"{name} is given twice, under two names; expected one of them")
    return found[0] if found else default
