"""Slow, obvious references for the fast code: plain loops over Python floats, one step of the source per line.

Tests and benchmarks compare the fast code with these. Nothing here uses the library's own arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "plain_assignment",
    "plain_average_precision",
    "plain_fddb",
    "plain_ios",
    "plain_iou",
    "plain_nms",
    "plain_rectangle",
    "plain_resample",
    "plain_vote",
    "plain_wider",
]

Row = Sequence[float]
Rows = Sequence[Row]


def _intersection_and_areas(a: Row, b: Row) -> tuple[float, float, float]:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = width * height if width > 0 and height > 0 else 0.0
    return inter, (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])


def plain_iou(a: Row, b: Row) -> float:
    """Intersection over union of two boxes xyxy; 0 where they do not meet."""
    inter, area_a, area_b = _intersection_and_areas(a, b)
    return inter / (area_a + area_b - inter) if inter else 0.0


def plain_ios(a: Row, b: Row) -> float:
    """Intersection over the smaller area of two boxes xyxy; 0 where they do not meet."""
    inter, area_a, area_b = _intersection_and_areas(a, b)
    return inter / min(area_a, area_b) if inter else 0.0


def plain_nms(boxes: Rows, scores: Row, threshold: float, by_smaller: bool = False) -> list[int]:
    """Greedy suppression: the best box left stays, and removes all that overlap it by more than the threshold.

    Of equal scores the earlier goes first. The overlap is not divided, so that exact thresholds come out exact.
    """
    left = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        stays = []
        for i in left:
            inter, area_a, area_b = _intersection_and_areas(boxes[best], boxes[i])
            whole = min(area_a, area_b) if by_smaller else area_a + area_b - inter
            if inter == 0 or not inter > threshold * whole:
                stays.append(i)
        left = stays
    return kept


def plain_vote(boxes: Rows, scores: Row, values: Rows, overlap: float, limit: int) -> list[tuple[float, list[float]]]:
    """(score, merged values) of each group of boxes: the best box left, and all that overlap it by `overlap` or more.

    The score is the best box's, the values (such as its coordinates) are means weighted by score; NaN is unknown and
    does not count. Scores of 0 alone weigh alike.
    """
    left = sorted(range(len(boxes)), key=lambda i: -scores[i])
    merged: list[tuple[float, list[float]]] = []
    while left and len(merged) < limit:
        group, stays = left[:1], left[:0]
        for i in left[1:]:
            inter, area_a, area_b = _intersection_and_areas(boxes[group[0]], boxes[i])
            joins = inter > 0 and inter >= overlap * (area_a + area_b - inter)
            (group if joins else stays).append(i)
        left, means = stays, list[float]()
        for k in range(len(values[group[0]])):
            known = [i for i in group if not math.isnan(values[i][k])]
            weights = [scores[i] if any(scores[j] for j in known) else 1.0 for i in known]
            total = sum(weight * values[i][k] for weight, i in zip(weights, known, strict=True))
            means.append(total / sum(weights) if known else math.nan)
        merged.append((scores[group[0]], means))
    return merged


# --- images: rows of columns of channels ---


def _plain_weights(start: float, end: float, outputs: int, pixels: int, zero_outside: bool) -> list[list[float]]:
    """For each output pixel the share of each source pixel in its window, along one axis."""
    step = (end - start) / outputs
    rows = []
    for i in range(outputs):
        centre = start + (i + 0.5) * step
        low, high = centre - max(step, 1.0) / 2, centre + max(step, 1.0) / 2
        covered = [max(min(high, p + 1) - max(low, p), 0.0) for p in range(pixels)]
        whole = high - low if zero_outside else sum(covered)
        rows.append([part / whole for part in covered])
    return rows


def plain_resample(
    image: Sequence[Sequence[Row]], box: Row, height: int, width: int, zero_outside: bool
) -> list[list[list[float]]]:
    """The box xyxy of an image at another size, not rounded: each output pixel is the mean over its window.

    The window is one output pixel wide, or one source pixel where that is more. Outside, the image is 0; or, without
    `zero_outside`, the mean is over that part of the window that lies in the image.
    """
    down = _plain_weights(box[1], box[3], height, len(image), zero_outside)
    across = _plain_weights(box[0], box[2], width, len(image[0]), zero_outside)
    return [
        [
            [
                sum(
                    wy * wx * image[y][x][channel]
                    for y, wy in enumerate(down[i])
                    for x, wx in enumerate(across[j])
                    if wy and wx
                )
                for channel in range(len(image[0][0]))
            ]
            for j in range(width)
        ]
        for i in range(height)
    ]


# --- WIDER FACE: boxes are x y w h, detections x y w h score ---


def _wider_overlap(truth: Row, found: Row) -> float:
    """boxoverlap.m: corners x + w and y + h, and 1 more for every width and height."""
    tx2, ty2, fx2, fy2 = truth[0] + truth[2], truth[1] + truth[3], found[0] + found[2], found[1] + found[3]
    width = min(tx2, fx2) - max(truth[0], found[0]) + 1
    height = min(ty2, fy2) - max(truth[1], found[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    truth_area = (tx2 - truth[0] + 1) * (ty2 - truth[1] + 1)
    found_area = (fx2 - found[0] + 1) * (fy2 - found[1] + 1)
    return inter / (truth_area + found_area - inter)


def _wider_image(truth: Rows, counted: Sequence[bool], found: Rows) -> tuple[list[int], list[int]]:
    """image_evaluation: proposal_list, and pred_recall after each detection."""
    recall_list = [0] * len(truth)
    proposal_list = [1] * len(found)
    recalled = []
    for h, row in enumerate(found):
        most, index = -math.inf, -1
        for g, face in enumerate(truth):
            overlap = _wider_overlap(face, row)
            if overlap > most:
                most, index = overlap, g
        if most >= 0.5:
            if not counted[index]:
                recall_list[index] = -1
                proposal_list[h] = -1
            elif recall_list[index] == 0:
                recall_list[index] = 1
        recalled.append(recall_list.count(1))
    return proposal_list, recalled


def plain_average_precision(precision: Row, recall: Row) -> float:
    """VOCap.m; comparisons with NaN are false, so that NaN precision is passed over as in Matlab's max."""
    mrec = [0.0, *recall, 1.0]
    mpre = [0.0, *precision, 0.0]
    for i in range(len(mpre) - 2, -1, -1):
        if math.isnan(mpre[i]) or mpre[i + 1] > mpre[i]:
            mpre[i] = mpre[i + 1]
    return sum((mrec[i] - mrec[i - 1]) * mpre[i] for i in range(1, len(mrec)) if mrec[i] != mrec[i - 1])


def plain_wider(
    boxes: Mapping[str, Rows],
    counted: Mapping[str, Sequence[bool]],
    detections: Mapping[str, Rows],
    images: Iterable[str] | None = None,
    thresholds: int = 1000,
) -> tuple[float, list[float], list[float]]:
    """AP, precision and recall for one setting: read_pred.m (sorting), norm_score.m, evaluation.m, VOCap.m."""
    names = list(boxes) if images is None else list(images)
    found = {name: sorted((list(row) for row in detections.get(name, ())), key=lambda row: -row[4]) for name in names}
    low, high = 3.4028234663852886e38, 1.1754943508222875e-38  # realmax('single'), realmin('single')
    for rows in found.values():
        for row in rows:
            low, high = min(low, row[4]), max(high, row[4])
    points = [[0, 0] for _ in range(thresholds)]
    faces = 0
    for name in names:
        faces += sum(counted[name])
        if not len(found[name]) or not len(boxes[name]):
            continue
        scores = [(row[4] - low) / (high - low) if high != low else math.nan for row in found[name]]
        proposals, recalled = _wider_image(boxes[name], counted[name], found[name])
        last, valid = -1, 0
        for t in range(thresholds):
            while last + 1 < len(scores) and scores[last + 1] >= 1 - (t + 1) / thresholds:
                last += 1
                valid += proposals[last] == 1
            if last >= 0:
                points[t][0] += valid
                points[t][1] += recalled[last]
    precision = [r / p if p else math.nan for p, r in points]
    recall = [r / faces if faces else math.nan for _, r in points]
    return plain_average_precision(precision, recall), precision, recall


# --- FDDB ---


def plain_rectangle(x: float, y: float, w: float, h: float, height: int, width: int) -> list[list[int]]:
    """The mask of a rectangle: the pixels between its rounded corners, both included (Python rounds half to even)."""
    x1, x2 = sorted((round(x), round(x + w)))
    y1, y2 = sorted((round(y), round(y + h)))
    return [[int(x1 <= column <= x2 and y1 <= row <= y2) for column in range(width)] for row in range(height)]


def plain_assignment(weights: Rows) -> list[tuple[int, int]]:
    """The pairs of highest total weight, by trying all of them; pairs of weight 0 are left out."""

    def best(i: int, used: frozenset[int]) -> tuple[float, list[tuple[int, int]]]:
        if i == len(weights):
            return 0.0, []
        choice = best(i + 1, used)
        for j, weight in enumerate(weights[i]):
            if j not in used and weight > 0:
                total, pairs = best(i + 1, used | {j})
                if total + weight > choice[0]:
                    choice = total + weight, [(i, j), *pairs]
        return choice

    return best(0, frozenset())[1]


def plain_fddb(images: Sequence[tuple[Rows, Row]]) -> list[tuple[float, float, float, int]]:
    """(score, discrete hits, continuous hits, false positives) at every threshold, by rising score.

    images  for each the overlaps (G, N) of its faces and detections, and the scores (N,). At every threshold each image
            is matched afresh with the detections that reach it: what the original's merging of results comes to.
    """
    points = []
    for threshold in sorted({score for _, scores in images for score in scores}):
        hits, total, false = 0, 0.0, 0
        for weights, scores in images:
            valid = [j for j, score in enumerate(scores) if score >= threshold]
            part = [[row[j] for j in valid] for row in weights]
            matched = [part[i][j] for i, j in plain_assignment(part)]
            hits += sum(weight > 0.5 for weight in matched)
            total += sum(matched)
            false += len(valid) - sum(weight > 0.5 for weight in matched)
        points.append((threshold, float(hits), total, false))
    return points
