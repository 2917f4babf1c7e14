"""ROC curves on FDDB, equal to those of the data set's C++ evaluation.

Source: Jain and Learned-Miller, "FDDB: A Benchmark for Face Detection in Unconstrained Settings" (2010), and the
evaluation program published with it. A face is an ellipse, a detection a rectangle or an ellipse. Both are drawn as
masks of the image's size, so parts outside do not count; this is why image sizes are needed. At every score threshold,
faces and detections are matched for the highest total overlap. A pair adds 1 to the discrete score if its IoU is above
0.5, and its IoU to the continuous score; a detection without a discrete hit is a false positive in both curves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mtcnn.errors import DataError
from mtcnn.metrics.fddb_files import (
    ELLIPSE,
    RECTANGLE,
    load_folds,
    load_results,
    load_sizes,
    read_roc,
    sizes_of_images,
    write_results,
    write_roc,
)
from mtcnn.metrics.matching import best_pairs
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.tables import markdown_table
from mtcnn.types import ImageSize

from ..terminal import short

__all__ = [
    "FddbResult",
    "evaluate",
    "load_folds",
    "load_results",
    "load_sizes",
    "rate_at",
    "read_roc",
    "sizes_of_images",
    "table",
    "write_results",
    "write_roc",
]

Array = NDArray[Any]

FALSE_POSITIVES = (100, 500, 1000, 2000)
LIMIT = 2**20  # pixels, and radians: far outside any image, but small enough not to overflow drawing code
LARGEST = 1 << 30  # bytes of the masks of one image: FDDB's photos have 0.2 million pixels, and few faces
_NO_DETECTION = float(np.finfo(np.float64).max)  # the threshold the original gives to an image without detections


@dataclass(frozen=True, eq=False)
class FddbResult:
    """Both ROC curves, (K,) points by rising score threshold.

    scores  float64.   discrete, continuous  float64 true positive rates.   false  int64 false positives.
    """

    scores: Array
    discrete: Array
    continuous: Array
    false: Array
    faces: int
    images: int

    def rates(self, false_positives: Sequence[int] = FALSE_POSITIVES) -> dict[int, tuple[float, float]]:
        """(discrete, continuous) true positive rate at numbers of false positives."""
        return {
            count: (rate_at(self.discrete, self.false, count), rate_at(self.continuous, self.false, count))
            for count in false_positives
        }

    def write(self, prefix: str) -> list[str]:
        """Writes <prefix>DiscROC.txt and <prefix>ContROC.txt in the original's format; returns their paths."""
        return [str(path) for path in write_roc(prefix, self.discrete, self.continuous, self.false, self.scores)]

    @property
    def label(self) -> str:
        """What was evaluated, for a heading."""
        return f"{self.images} images, true positive rate, discrete / continuous, at numbers of false positives"

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values for JSON, without the curves' points."""
        rates = {
            str(count): {"discrete": round(disc, 6), "continuous": round(cont, 6)}
            for count, (disc, cont) in self.rates().items()
        }
        return {"protocol": "fddb", "images": self.images, "faces": self.faces, "tpr_at_false_positives": rates}


def rate_at(rates: Array, false: Array, count: int) -> float:
    """The highest rate with at most `count` false positives, of curves (K,); the last value of a shorter curve."""
    inside = rates[false <= count]
    return float(inside.max()) if len(inside) else 0.0


def evaluate(
    faces: Mapping[str, Array],
    detections: Mapping[str, Array],
    sizes: Mapping[str, ImageSize],
    problems: Problems | None = None,
    progress: bool = False,
) -> FddbResult:
    """Discrete and continuous ROC over all images of `faces`.

    faces       image name -> (G, 6) ellipses (`load_folds`).
    detections  image name -> (N, 5) rectangles or (N, 6) ellipses, score last, in any order. An image without an
                entry has no detections (reported).
    sizes       image name -> size. Raises DataError if one is missing.
    """
    problems = Problems.default(problems)
    problems.add_all([name for name in faces if name not in detections], "no detections; counted as none found")
    problems.add_all([name for name in detections if name not in faces], "detections, but not in the folds; left out")
    unsized = [name for name in faces if name not in sizes]
    if unsized:
        raise DataError(
            f"{short(unsized[0])}: image size unknown ({len(unsized)} of {len(faces)} images); FDDB clips regions to "
            "the image, so give its photos or a table as `sizes`, with the columns path,width,height"
        )
    parts = []
    for name, ellipses in tqdm(faces.items(), desc="matching", unit=" images", disable=not progress):
        rows = _shapes(name, detections.get(name, np.zeros((0, RECTANGLE))))
        _check_budget(name, len(ellipses), len(rows), sizes[name])
        parts.append(_image_curve(np.asarray(ellipses, np.float64), rows, sizes[name]))
    scores, totals = _merge(parts)
    count = sum(len(ellipses) for ellipses in faces.values())
    rates = totals / max(count, 1)
    return FddbResult(scores, rates[:, 0], rates[:, 1], totals[:, 2].astype(np.int64), count, len(faces))


def _check_budget(name: str, faces: int, detections: int, size: ImageSize) -> None:
    """Raises DataError if the masks and overlaps of an image would take far more memory than FDDB's photos need."""
    needed = (faces + 2) * size.height * size.width + 8 * faces * detections
    if needed > LARGEST:
        raise DataError(
            f"{short(name)}: {faces} faces and {detections} detections in {size.width} x {size.height} pixels take "
            f"{needed} bytes; expected at most {LARGEST}, for FDDB's photos are small"
        )


def _shapes(name: str, rows: Array) -> NDArray[np.float64]:
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2 or rows.shape[1] not in (RECTANGLE, ELLIPSE):
        raise DataError(
            f"{short(name)}: detections have shape {rows.shape}; expected (N, 5) rectangles or (N, 6) ellipses"
        )
    return rows


def draw(row: Array, size: ImageSize) -> NDArray[np.uint8]:
    """The mask (height, width), 0 or 1, of a rectangle (5,) or an ellipse (6,).

    Corners of rectangles and centres of ellipses are rounded in single precision (half to even), half axes are cut to
    whole pixels, and both corners of a rectangle belong to it: that is what the original's OpenCV calls do.
    """
    mask = np.zeros(size, np.uint8)
    if len(row) == RECTANGLE:
        x, y, w, h = row[:4]
        with np.errstate(over="ignore"):
            corners = _pixels(x, x + w, y, y + h)
        (x1, x2), (y1, y2) = sorted(corners[:2]), sorted(corners[2:])
        mask[max(y1, 0) : max(y2 + 1, 0), max(x1, 0) : max(x2 + 1, 0)] = 1
        return mask
    import cv2

    major, minor, angle, cx, cy = row[:5]
    axes = [int(min(axis, LIMIT)) for axis in (major, minor)]
    angle = angle if abs(angle) < LIMIT else 0.0  # beyond it, a double cannot resolve the direction
    cv2.ellipse(mask, _pixels(cx, cy), axes, float(np.degrees(angle)), 0, 360, 1, -1)
    return mask


def _pixels(*values: float) -> list[int]:
    """Whole pixels as cvRound gives them, within LIMIT."""
    with np.errstate(over="ignore"):
        return [int(value) for value in np.clip(np.rint(np.array(values).astype(np.float32)), -LIMIT, LIMIT)]


def overlaps(faces: Array, detections: Array, size: ImageSize) -> NDArray[np.float64]:
    """Intersection over union (G, N) of the masks of faces (G, 6) and detections (N, 5 or 6)."""
    import cv2

    masks = [draw(row, size) for row in faces]
    areas = [cv2.countNonZero(mask) for mask in masks]
    out = np.zeros((len(faces), len(detections)))
    for j, row in enumerate(detections):
        found = draw(row, size)
        area = cv2.countNonZero(found)
        for i, mask in enumerate(masks):
            inter = cv2.countNonZero(mask & found)
            if inter:
                out[i, j] = inter / (areas[i] + area - inter)
    return out


def _image_curve(faces: Array, detections: Array, size: ImageSize) -> tuple[Array, Array]:
    """Ascending scores (K,), and (K, 3) discrete hits, continuous hits, false positives at each as threshold."""
    if not len(detections):
        return np.array([_NO_DETECTION]), np.zeros((1, 3))
    scores = np.unique(detections[:, -1])
    weights = overlaps(faces, detections, size)
    points = np.zeros((len(scores), 3))
    for k, score in enumerate(scores):
        valid = detections[:, -1] >= score
        part = weights[:, valid]
        pairs = best_pairs(part)
        matched = part[pairs[:, 0], pairs[:, 1]]
        hits = np.count_nonzero(matched > 0.5)
        points[k] = hits, matched.sum(), valid.sum() - hits
    return scores, points


def _merge(parts: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """All thresholds (K,), ascending, and the sums (K, 3) over images.

    At a threshold between its scores, an image counts as at its next higher score, and not at all above its highest. So
    each image adds, at each of its scores, the difference from its next higher one.
    """
    scores = np.unique(np.concatenate([own for own, _ in parts]))
    steps = np.zeros((len(scores), 3))
    for own, points in parts:
        steps[np.searchsorted(scores, own)] += points - np.vstack([points[1:], np.zeros((1, 3))])
    return scores, np.cumsum(steps[::-1], axis=0)[::-1]


def table(results: Mapping[str, FddbResult], false_positives: Sequence[int] = FALSE_POSITIVES) -> str:
    """Markdown table comparing detectors: discrete / continuous true positive rate at numbers of false positives."""
    rows = []
    for label, result in results.items():
        rates = result.rates(false_positives).values()
        rows.append([label, *(f"{disc:.4f} / {cont:.4f}" for disc, cont in rates), str(result.images)])
    return markdown_table(["detector", *(f"FP {count}" for count in false_positives), "images"], rows)
