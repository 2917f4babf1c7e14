"""The sink for traces: for each image a picture a stage, a JSON file, and lines on stderr."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cascade import Detector
from ...errors import SettingsError
from ...files.outputs import note_output
from ...metrics.text_files import write_text
from ...metrics.wider_truth import GroundTruth, image_key
from ...pictures.draw import save_image
from ...terminal import tell
from ...trace import Trace, Verdict, judge, pictures, record
from ..items import Item
from ..places import Names, Places
from ..sources import Source

__all__ = ["TraceFiles", "truth_of"]

Array = NDArray[Any]
Box = Sequence[float]


class TraceFiles:
    """Traces what it is given, by the detector that found it.

    folder   for `<image>.json` and the pictures `<image>-1-proposals.jpg`, `-2-pnet`, `-3-rnet`, `-4-onet`.
    places   those of the run, or all its sources.
    boxes    faces that should be found in the only source, x1 y1 x2 y2 pixels.
    truth    labels of many images, as `GroundTruth.load` reads them.

    Raises SettingsError when `boxes` are no boxes, or are given for several sources.
    """

    def __init__(
        self,
        folder: Path,
        places: Places | Iterable[Source],
        detector: Detector,
        boxes: Sequence[Box] = (),
        truth: GroundTruth | None = None,
    ) -> None:
        places = Places.of(places)
        if boxes and len(places.sources) > 1:
            raise SettingsError(
                f"`trace_box` is a face of one image and there are {len(places.sources)}; "
                "expected one image, or labels for all of them in `trace_truth`"
            )
        for box in boxes:
            if not (np.isfinite(box).all() and box[0] < box[2] and box[1] < box[3]):
                given = " ".join(f"{value:g}" for value in box)
                raise SettingsError(f"`trace_box` {given}; expected pixels x1 y1 x2 y2 with x1 < x2 and y1 < y2")
        self._detector, self._boxes, self._truth = detector, boxes, truth
        self._texts = Names(folder, places, lambda source: ".json")
        self._pictures = Names(folder, places, lambda source: ".jpg")
        self._lost: Counter[str] = Counter()
        self._found = 0

    def write(self, item: Item) -> None:
        trace = record(self._detector, item.image, item.faces)
        verdicts = [judge(trace, box) for box in self._faces(item.source)]
        self._found += sum(verdict.found for verdict in verdicts)
        self._lost.update(verdict.lost_by for verdict in verdicts if verdict.lost_by)
        self._tell(item, trace, verdicts)
        content = json.dumps(_to_dict(item, trace, verdicts), ensure_ascii=False, indent=1)
        text = self._texts.path(item.source, item.frame)
        note_output(text)
        write_text(text, content + "\n")
        for name, picture in pictures(item.image, trace, verdicts).items():
            target = self._pictures.path(item.source, item.frame, f"-{name}")
            note_output(target)
            save_image(target, picture)

    def _faces(self, source: Source) -> list[Box]:
        """The faces that should be found in a source."""
        labelled = [] if self._truth is None else truth_of(self._truth, source)
        if labelled is None:
            tell(f"{source}: not in the labels; expected {image_key(source.as_posix())} among them")
        return [*self._boxes, *(labelled or [])]

    def _tell(self, item: Item, trace: Trace, verdicts: Sequence[Verdict]) -> None:
        name = str(item.source) if item.frame is None else f"{item.source} frame {item.frame}"
        tell(f"{name}: {_summary(trace)}")
        for verdict in verdicts:
            # What was found of thousands of labelled faces needs no line each.
            if self._boxes or not verdict.found:
                place = " ".join(f"{value:.0f}" for value in verdict.box)
                fate = "" if verdict.found else f"lost by {verdict.lost_by}: "
                score = "" if verdict.score is None or not verdict.found else f", score {verdict.score:.2f}"
                overlap = f", IoU {verdict.iou:.2f}" if verdict.found else ""
                tell(f"{name}: face [{place}] {fate}{verdict.why}{score}{overlap}")

    def close(self) -> None:
        if total := self._found + sum(self._lost.values()):
            lost = ", ".join(f"{count} lost by {name}" for name, count in self._lost.most_common())
            tell(f"{self._found} of {total} faces found{', ' if lost else ''}{lost}")


def truth_of(truth: GroundTruth, source: Source) -> list[Box] | None:
    """The labelled boxes of an image, x1 y1 x2 y2; None for an image that the labels do not name.

    An image is known by "<event>/<image>", the last two parts of its path, or by its own name where only one has it.
    """
    key = image_key(source.as_posix())
    alike = [name for name in truth.boxes if name == key] or [
        name for name in truth.boxes if name.split("/")[-1] == key.split("/")[-1]
    ]
    if len(alike) != 1:
        return None
    rows = np.asarray(truth.boxes[alike[0]], np.float64)
    rows = rows[(rows[:, 2] > 0) & (rows[:, 3] > 0)]
    return np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:]], axis=1).tolist()  # type: ignore[no-any-return]


def _summary(trace: Trace) -> str:
    """Counts and milliseconds of all stages in a line."""
    parts = []
    for stage in trace.stages:
        seen = stage.candidates
        if seen is not None and seen.pyramid:
            counts = f"{seen.steps[0].kept.sum()} of {len(seen.scores)} cells, {len(stage.found)} boxes"
        else:
            first = stage is trace.stages[0]
            counts = f"{len(stage.found)} boxes" if first else f"{len(stage.given)} to {len(stage.found)}"
        parts.append(f"{stage.name} {counts} in {stage.ms:.1f} ms")
    return f"{'; '.join(parts)}; {len(trace.faces)} face{'' if len(trace.faces) == 1 else 's'}"


def _to_dict(item: Item, trace: Trace, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    frame = {} if item.frame is None else {"frame": item.frame, "time": item.time}
    return {
        "image": str(item.source),
        **frame,
        "width": trace.size.width,
        "height": trace.size.height,
        "stages": [stage.to_dict() for stage in trace.stages],
        "faces": trace.faces.to_dicts(),
        "truth": [verdict.to_dict() for verdict in verdicts],
    }
