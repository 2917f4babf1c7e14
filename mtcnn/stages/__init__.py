"""The stages of ipazc's mtcnn 1, by its names: which nets `MTCNN(stages=[StagePNet, StageRNet])` runs.

They name a net and a file of weights, and compute nothing: `mtcnn.cascade` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Any, ClassVar

from ..errors import SettingsError

__all__ = ["STAGES", "StageBase", "StageONet", "StagePNet", "StageRNet", "stages_of"]


class StageBase:
    """A stage: `name`, `id`, and `weights`, a file as `mtcnn weights import` takes it, or None for those of MTCNN."""

    net: ClassVar[str]
    place: ClassVar[int]

    def __init__(
        self, stage_name: str | None = None, stage_id: int | None = None, weights: str | PathLike[str] | None = None
    ) -> None:
        self.name = f"Stage {self.net[0].upper()}NET" if stage_name is None else stage_name
        self.id = self.place if stage_id is None else stage_id
        self.weights = weights


class StagePNet(StageBase):
    """Proposes."""

    net, place = "pnet", 1


class StageRNet(StageBase):
    """Refines."""

    net, place = "rnet", 2


class StageONet(StageBase):
    """Decides, and finds landmarks."""

    net, place = "onet", 3


STAGES: dict[str, tuple[type[StageBase], ...]] = {
    "face_and_landmarks_detection": (StagePNet, StageRNet, StageONet),
    "face_detection_only": (StagePNet, StageRNet),
}


def stages_of(given: str | Sequence[Any]) -> list[StageBase]:
    """Stages by a name of STAGES, or of a list of stages or their classes.

    Raises SettingsError unless they are PNet, PNet and RNet, or all three, in this order.
    """
    if isinstance(given, str) and given not in STAGES:
        raise SettingsError(f"stages is {given!r}; expected one of {', '.join(STAGES)}")
    if not isinstance(given, Iterable) or getattr(given, "ndim", 1) == 0:
        raise SettingsError(f"stages are of type {type(given).__name__}; expected a list of stages, or a name of them")
    chosen: Iterable[Any] = STAGES[given] if isinstance(given, str) else given
    listed = [stage() if isinstance(stage, type) else stage for stage in chosen]
    kinds = [getattr(stage, "net", None) for stage in listed]
    if not kinds or kinds != ["pnet", "rnet", "onet"][: len(kinds)]:
        names = ", ".join(type(stage).__name__ for stage in listed) or "none"
        raise SettingsError(
            f"stages are {names}; expected StagePNet, then StageRNet, then StageONet, or the first of them"
        )
    return listed
