"""Matching of the anchors of one image with its faces: counts before and after the second stage, and a picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtcnn.boxes import iou
from mtcnn.cascade import Detector
from mtcnn.checkpoint import packaged_weights
from mtcnn.detectors.decoders import SsdCodes
from mtcnn.errors import DataError, RecipeError
from mtcnn.images import read_image
from mtcnn.metrics.tables import markdown_table
from mtcnn.pictures.draw import draw_faces
from mtcnn.types import Faces, ImageSize
from prepare.readers import read_source
from prepare.records import ImageRecord

from ..objectives.matching import Matching, MatchSettings, counts, match
from ..objectives.targets import anchor_decoder
from ..recipes import load_recipe
from .recipe import DetectorRecipe

__all__ = ["MatchReport", "match_report"]

Array = NDArray[Any]
RGB = NDArray[np.uint8]

# Okabe and Ito's sky blue and vermilion; faces are yellow.
FIRST, ADDED = (86, 180, 233), (213, 94, 0)


@dataclass(frozen=True)
class MatchReport:
    """The matching of one image at its own size.

    image uint8 RGB (H, W, 3); faces (G, 4); anchors (A, 4); first, last  int64 (A,), the matching by thresholds, with
    best anchors forced where the recipe says so, and that with S3FD's second stage, the same where there is none.
    """

    image: RGB
    faces: Array
    anchors: Array
    first: Matching
    last: Matching

    def rows(self) -> list[dict[str, Any]]:
        """Plain values for each face: box, the best IoU of any anchor, and its anchors before and after."""
        before, after = (counts(matching, len(self.faces)).tolist() for matching in (self.first, self.last))
        best = iou(self.anchors, self.faces).max(axis=0) if len(self.faces) else np.zeros(0)
        return [
            {"box": [round(float(v), 1) for v in box], "best_iou": round(float(top), 3), "before": b, "after": a}
            for box, top, b, a in zip(self.faces, best, before, after, strict=True)
        ]

    def table(self) -> str:
        """The report as a table, with averages."""
        rows = self.rows()
        lines = [
            [str(i + 1), " ".join(f"{v:.0f}" for v in row["box"]), f"{row['best_iou']:.2f}",
             str(row["before"]), str(row["after"])]
            for i, row in enumerate(rows)
        ]  # fmt: skip
        if rows:
            means = (sum(row[name] for row in rows) / len(rows) for name in ("before", "after"))
            lines.append(["mean", "", "", *(f"{mean:.2f}" for mean in means)])
        return markdown_table(["face", "box", "best IoU", "before", "after"], lines)

    def picture(self) -> RGB:
        """The image with matched anchors, blue those of the first stage and red those that the second adds."""
        drawn = self.image.copy()
        for taken, colour in ((self.first >= 0, FIRST), ((self.last >= 0) & (self.first < 0), ADDED)):
            for x1, y1, x2, y2 in np.round(self.anchors[taken]).astype(int).tolist():
                cv2.rectangle(drawn, (x1, y1), (x2 - 1, y2 - 1), colour, 1)
        faces = Faces(self.faces, np.ones(len(self.faces), np.float32))
        return draw_faces(drawn, faces, scores=False, line_width=1)


def match_report(model: str, image: Path, labels: str | None = None, work: Path | None = None) -> MatchReport:
    """Match the faces of one image with the anchors of a detector.

    model   a name of `detectors.DETECTORS`, whose recipe is used.    work  folder of the recipe; None: packaged.
    labels  a WIDER FACE text file, or FORMAT:PATH[:IMAGES]. None: the faces that the cascade detects.

    Raises DataError when the labels do not name the image, RecipeError for a net or an objective without such anchors.
    """
    pixels = read_image(image)
    record = _found(pixels, image) if labels is None else _labelled(image, labels)
    recipe = load_recipe(DetectorRecipe, work or packaged_weights(), model)
    decoder, settings = anchor_decoder(model), getattr(recipe.objective, "match", None)
    if not isinstance(settings, MatchSettings):
        raise RecipeError(
            f"recipe of {model}: objective is {recipe.objective.name}, which does not match anchors by IoU; expected "
            "multibox or distill"
        )
    return matched(pixels, record, decoder, settings)


def matched(image: RGB, record: ImageRecord, decoder: SsdCodes, settings: MatchSettings) -> MatchReport:
    """The report of one image and its faces, without ignored ones."""
    places = decoder.anchors(ImageSize(*image.shape[:2]))
    first, last = (
        match(places, record.boxes, record.ignore, chosen) for chosen in (replace(settings, compensate=0.0), settings)
    )
    kept = np.flatnonzero(~record.ignore)
    for matching in (first, last):
        matching[matching >= 0] = np.searchsorted(kept, matching[matching >= 0])
    return MatchReport(image, record.boxes[kept], places, first, last)


def _found(pixels: RGB, image: Path) -> ImageRecord:
    return ImageRecord(image, Detector().detect(pixels).boxes)


def _labelled(image: Path, labels: str) -> ImageRecord:
    """The record of `image`: by path, else by name if that is unique."""
    records, _ = read_source(f"wider:{labels}" if Path(labels).is_file() else labels)
    same = [record for record in records if record.path.resolve() == image.resolve()]
    same = same or [record for record in records if record.path.name == image.name]
    if len(same) != 1:
        raise DataError(f"{labels}: names {image.name} {len(same)} times; expected once; give the labels of this image")
    return same[0]
