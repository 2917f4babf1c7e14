"""The inner loops of evaluation, compiled: see `metrics.wider` and `metrics.voting`."""

from __future__ import annotations

import numpy as np

from .compiling import array_at

__all__ = ["best_truths", "tally", "vote_groups"]


def best_truths(rows_at, count, truth_at, faces, overlap_at_least, best_at):  # type: ignore[no-untyped-def]
    """Match detections, rows (count, 5) x y w h score, with truth (faces, 4) x y w h: indices into best (count,).

    The match is the face with the highest IoU, the first of equals, or -1 if that is below `overlap_at_least`. Widths
    and heights are one more than given, as in the WIDER FACE protocol.
    """
    rows, truth = array_at(rows_at, (count, 5), np.float64), array_at(truth_at, (faces, 4), np.float64)
    best = array_at(best_at, (count,), np.int64)
    for h in range(count):
        x1, y1 = rows[h, 0], rows[h, 1]
        x2, y2 = x1 + rows[h, 2], y1 + rows[h, 3]
        area = (x2 - x1 + 1) * (y2 - y1 + 1)
        highest = -1.0
        best[h] = -1
        for g in range(faces):
            gx2, gy2 = truth[g, 0] + truth[g, 2], truth[g, 1] + truth[g, 3]
            width = min(x2, gx2) - max(x1, truth[g, 0]) + 1
            height = min(y2, gy2) - max(y1, truth[g, 1]) + 1
            overlap = 0.0
            if width > 0 and height > 0:
                inter = width * height
                overlap = inter / ((gx2 - truth[g, 0] + 1) * (gy2 - truth[g, 1] + 1) + area - inter)
            if overlap > highest:
                highest = overlap
                best[h] = g
        if highest < overlap_at_least:
            best[h] = -1
    return 0


def tally(scores_at, best_at, count, counted_at, hit_at, points_at, thresholds):  # type: ignore[no-untyped-def]
    """Add one image to points (thresholds, 2): evaluated detections, faces found, at thresholds 1 - t / thresholds.

    scores (count,) descending; best (count,) from `best_truths`; counted, of the faces, one byte each; hit, zeros of
    the same size, scratch.
    """
    scores, best = array_at(scores_at, (count,), np.float64), array_at(best_at, (count,), np.int64)
    counted, hit = array_at(counted_at, (1,), np.uint8), array_at(hit_at, (1,), np.uint8)
    points = array_at(points_at, (thresholds, 2), np.int64)
    proposals, recalled, h = 0, 0, 0
    for t in range(thresholds):
        threshold = 1 - (t + 1) / thresholds
        while h < count and scores[h] >= threshold:
            g = best[h]
            if g < 0 or counted[g] != 0:  # a hit on an ignored face removes the detection
                proposals += 1
                if g >= 0 and hit[g] == 0:
                    hit[g] = 1
                    recalled += 1
            h += 1
        points[t, 0] += proposals
        points[t, 1] += recalled
    return 0


def vote_groups(boxes_at, order_at, count, overlap, limit, groups_at, leaders_at):  # type: ignore[no-untyped-def]
    """Group boxes (count, 4) by overlap, and return the number of groups. The group of each box goes into groups
    (count,), which must be -1 everywhere and stays so beyond `limit` groups; the best box of each into leaders
    (limit,)."""
    boxes, order = array_at(boxes_at, (count, 4), np.float64), array_at(order_at, (count,), np.int64)
    groups, leaders = array_at(groups_at, (count,), np.int64), array_at(leaders_at, (limit,), np.int64)
    found = 0
    for i in range(count):
        best = order[i]
        if groups[best] >= 0:
            continue
        if found == limit:
            break
        x1, y1, x2, y2 = boxes[best, 0], boxes[best, 1], boxes[best, 2], boxes[best, 3]
        area = (x2 - x1) * (y2 - y1)
        groups[best] = found
        for j in range(i + 1, count):
            other = order[j]
            width = min(x2, boxes[other, 2]) - max(x1, boxes[other, 0])
            height = min(y2, boxes[other, 3]) - max(y1, boxes[other, 1])
            if groups[other] >= 0 or width <= 0.0 or height <= 0.0:
                continue
            inter = width * height
            other_area = (boxes[other, 2] - boxes[other, 0]) * (boxes[other, 3] - boxes[other, 1])
            # No division, as in nms.
            if inter >= overlap * (area + other_area - inter):
                groups[other] = found
        leaders[found] = best
        found += 1
    return found
