"""Average precision on WIDER FACE by the official protocol.

Source: the Matlab code published with the data set (Yang et al. 2016): read_pred.m, norm_score.m, evaluation.m,
boxoverlap.m, VOCap.m. Differences from most Python ports that affect AP: 1 is added to widths and heights in overlaps,
the best match is searched among all faces, including ignored ones, a second hit on a face is a false positive, scores
are normalised over all images together, and AP is the full area under the curve of 1000 thresholds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mtcnn.engine.kernel_cache import kernel
from mtcnn.errors import DataError
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.tables import markdown_table
from mtcnn.metrics.wider_detections import faces_to_rows, load_detections, sort_rows, write_detections
from mtcnn.metrics.wider_truth import GroundTruth, image_key, load_image_list

from ..terminal import short

__all__ = [
    "Curve",
    "GroundTruth",
    "WiderResult",
    "evaluate",
    "faces_to_rows",
    "load_detections",
    "load_image_list",
    "table",
    "write_detections",
]

Array = NDArray[Any]

THRESHOLDS = 1000
OVERLAP = 0.5
# Where norm_score.m starts its search for the highest and lowest score: realmin and realmax of single precision.
_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall, float64 (1000,) each, at descending thresholds; precision is NaN without detections.

    faces  number of faces evaluated; ap is NaN without any.
    """

    precision: Array
    recall: Array
    faces: int
    ap: float


@dataclass(frozen=True, eq=False)
class WiderResult:
    """Curves by setting: easy, medium, hard, or face heights for ground truth from a text file.

    images      number of images evaluated.       detections  number of detections in them.
    restricted  only the images of a list were evaluated, so AP is not comparable with published figures.
    """

    curves: dict[str, Curve]
    images: int
    detections: int
    restricted: bool

    @property
    def ap(self) -> dict[str, float]:
        return {name: curve.ap for name, curve in self.curves.items()}

    @property
    def label(self) -> str:
        """What was evaluated, for a heading."""
        kind = "by difficulty" if "hard" in self.curves else "by face height in pixels"
        return f"{self.images} images{' of a list' if self.restricted else ''}, AP {kind}"

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values for JSON, without the curves' points. AP is None without any face."""
        ap = {name: None if np.isnan(curve.ap) else round(curve.ap, 6) for name, curve in self.curves.items()}
        faces = {name: curve.faces for name, curve in self.curves.items()}
        return {
            "protocol": "wider",
            "images": self.images,
            "restricted": self.restricted,
            "detections": self.detections,
            "faces": faces,
            "ap": ap,
        }


def evaluate(
    ground_truth: GroundTruth,
    detections: Mapping[str, Array],
    images: Iterable[str] | None = None,
    problems: Problems | None = None,
    progress: bool = False,
) -> WiderResult:
    """AP and curves of detections, over all images of the ground truth or over some of them.

    detections  "<event>/<image>" -> (N, 5) x y w h score; an image without an entry has no detections (reported).
    images      names "<event>/<image>" (a suffix is cut). Everything, the score normalisation included, is then done
                over these images alone.
    problems    collects unknown images, missing detections and the like. None: each becomes a warning.
    Raises DataError for arrays of another shape, or if no image is left.
    """
    problems = Problems.default(problems)
    names = _select(ground_truth, images, problems)
    _report_strangers(ground_truth, detections, problems)
    problems.add_all([name for name in names if name not in detections], "no detections; counted as none found")
    found = {name: _rows_of(name, detections, problems) for name in names}
    low, high = _score_range(found, problems)
    points = np.zeros((len(ground_truth.settings), THRESHOLDS, 2), np.int64)
    for name in tqdm(names, desc="matching", unit=" images", disable=not progress):
        rows, truth = found[name], ground_truth.boxes[name]
        if len(rows) and len(truth):
            with np.errstate(invalid="ignore", over="ignore"):
                scores = (rows[:, 4] - low) / np.float64(high - low)
            best = _best_truths(rows, truth)
            for k, setting in enumerate(ground_truth.settings):
                _tally(scores, best, ground_truth.counted[setting][name], points[k])
    curves = {}
    for k, setting in enumerate(ground_truth.settings):
        faces = sum(int(ground_truth.counted[setting][name].sum()) for name in names)
        curves[setting] = _curve(points[k], faces)
    return WiderResult(curves, len(names), sum(map(len, found.values())), images is not None)


def _select(truth: GroundTruth, images: Iterable[str] | None, problems: Problems) -> list[str]:
    """The images to evaluate, in the order of the ground truth."""
    if images is None:
        return list(truth.boxes)
    wanted = {name if name in truth.boxes else image_key(name) for name in images}
    strangers = sorted(wanted - truth.boxes.keys())
    problems.add_all(strangers, "in the list of images, but not in the ground truth; left out")
    names = [name for name in truth.boxes if name in wanted]
    if not names:
        raise DataError("no image of the list is in the ground truth; expected names like '0--Parade/0_Parade_..._20'")
    return names


def _report_strangers(truth: GroundTruth, detections: Mapping[str, Array], problems: Problems) -> None:
    events = {name.split("/")[0] for name in truth.boxes}
    strangers = [name for name in detections if name not in truth.boxes]
    for event in dict.fromkeys(name.split("/")[0] for name in strangers):
        if event not in events:
            problems.add(event, "is not an event of the ground truth; its detections are left out")
    known = [name for name in strangers if name.split("/")[0] in events]
    problems.add_all(known, "detections, but not in the ground truth; left out")


def _rows_of(name: str, detections: Mapping[str, Array], problems: Problems) -> NDArray[np.float64]:
    """Detections of one image, float64 (N, 5), sorted; empty without any."""
    rows = np.asarray(detections.get(name, ()), np.float64)
    if rows.size == 0:
        return np.zeros((0, 5))
    if rows.ndim != 2 or rows.shape[1] != 5:
        raise DataError(f"{short(name)}: detections have shape {rows.shape}; expected (N, 5) x y w h score")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        problems.add(name, f"{np.count_nonzero(~finite)} detections with NaN or infinity; left out")
    return sort_rows(rows[finite], name, problems)


def _score_range(found: Mapping[str, Array], problems: Problems) -> tuple[float, float]:
    """Lowest and highest score of all images (norm_score.m)."""
    low, high = _MOST, _LEAST
    for rows in found.values():
        if len(rows):
            low, high = min(low, float(rows[-1, 4])), max(high, float(rows[0, 4]))
    if low == high:
        problems.add("detections", f"all scores are {low:g}; the official normalisation divides by zero, AP is 0")
    return low, high


def _best_truths(rows: Array, truth: Array) -> NDArray[np.int64]:
    """int64 (N,): the first ground truth of highest overlap for each detection, -1 if below OVERLAP."""
    rows, truth = np.ascontiguousarray(rows, np.float64), np.ascontiguousarray(truth, np.float64)
    best = np.empty(len(rows), np.int64)
    kernel("best_truths")(rows.ctypes.data, len(rows), truth.ctypes.data, len(truth), OVERLAP, best.ctypes.data)
    return best


def _tally(scores: Array, best: Array, counted: Array, points: NDArray[np.int64]) -> None:
    """Add one image to points (1000, 2): evaluated detections, faces found, at thresholds 1 - t / 1000.

    scores (N,) descending; best (N,) from `_best_truths`; counted bool (G,).
    """
    scores, counted = np.ascontiguousarray(scores, np.float64), np.ascontiguousarray(counted, np.bool_)
    hit = np.zeros(len(counted), np.bool_)
    kernel("tally")(
        scores.ctypes.data, best.ctypes.data, len(scores), counted.ctypes.data, hit.ctypes.data, points.ctypes.data,
        len(points),
    )  # fmt: skip


def _curve(points: Array, faces: int) -> Curve:
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = points[:, 1] / points[:, 0]
        recall = points[:, 1] / np.float64(faces)
    return Curve(precision, recall, faces, average_precision(precision, recall))


def average_precision(precision: Array, recall: Array) -> float:
    """The area under the curve (N,), after precision is made monotonic (VOCap.m). NaN precision is ignored,
    as by Matlab's max."""
    recall = np.concatenate([[0.0], recall, [1.0]])
    envelope = np.fmax.accumulate(np.concatenate([[0.0], precision, [0.0]])[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope[1:]))


def table(results: Mapping[str, WiderResult]) -> str:
    """Markdown table comparing detectors: one row per name, AP to four digits."""
    settings = list(dict.fromkeys(name for result in results.values() for name in result.curves))
    rows = []
    for label, result in results.items():
        values = [f"{result.ap[name]:.4f}" if name in result.ap else "" for name in settings]
        rows.append([label, *values, str(result.images)])
    return markdown_table(["detector", *settings, "images"], rows)
