"""One run of `mtcnn eval`: the detector's settings, the problems found, and the output of results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mtcnn.metrics.comparison import OWN
from mtcnn.metrics.detections import Cascade, detect_all
from mtcnn.metrics.plots import check_plot
from mtcnn.metrics.problems import Problems
from mtcnn.types import Faces
from mtcnn.workers import Workers

__all__ = ["Session"]


class Session:
    """Options shared by all evaluations.

    as_json  print one JSON object instead of a table.       strict    stop at the first problem.
    plot     draw the curves to this file.                   workers   run the detector.
    scale, flip, settings  of this project's cascade (`detections.Cascade`).

    Progress is shown where stderr is a terminal. Raises ValueError for an unknown scale.
    """

    def __init__(
        self, as_json: bool, strict: bool, plot: Path | None, workers: Workers, scale: str, flip: bool, **settings: Any
    ) -> None:
        self.as_json, self.plot, self.workers = as_json, plot, workers
        self.own = Cascade(settings, scale, flip)
        if plot is not None:
            check_plot(plot)
        self.problems = Problems(strict)
        self.progress = sys.stderr.isatty()

    def detect(self, images: Mapping[str, Path]) -> dict[str, Faces]:
        """Faces of named photos by this project's cascade."""
        return detect_all(images, self.own, self.workers, self.problems, self.progress)

    def report(
        self,
        results: Mapping[str, Any],
        table: Callable[[Any], str],
        draw: Callable[[Any, Path], object],
    ) -> None:
        """Results to stdout, as a table or as JSON, with the detector's settings where it ran; problems to stderr."""
        if len(self.problems):
            print(self.problems.summary(), file=sys.stderr)
        print(self._json(results) if self.as_json else self._text(results, table(results)))
        if self.plot is not None:
            draw(results, self.plot)

    def _json(self, results: Mapping[str, Any]) -> str:
        values = {name: result.to_dict() for name, result in results.items()}
        if OWN in values:
            values[OWN]["detector"] = self.own.to_dict()
        return json.dumps(values)

    def _text(self, results: Mapping[str, Any], table: str) -> str:
        label = next(iter(results.values())).label
        return f"{label}\n\n{table}" + (f"\n\n{OWN}: {self.own}" if OWN in results else "")
