"""Maps the argument names and positions of other packages to this project's settings."""

from __future__ import annotations

from numbers import Real
from os import PathLike
from typing import Any

from ..stages import STAGES

__all__ = ["by_position", "one_name"]


def by_position(first: Any, second: Any, third: Any, fourth: Any) -> dict[str, Any]:
    """Positional arguments of ipazc's constructors, by name.

    Version 1 has (stages, device) and version 0.1 (weights_file, min_face_size, steps_threshold, scale_factor) in the
    positions of facenet-pytorch's (image_size, margin, min_face_size, thresholds), any of which may also come by name.

    Raises TypeError if `first` fits neither version.
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
    """The value of a setting that has several names; None means not given.

    Raises TypeError if it is given under more than one name.
    """
    found = [value for value in given if value is not None]
    if len(found) > 1:
        raise TypeError(f"{name} is given twice, under two names; expected one of them")
    return found[0] if found else default
