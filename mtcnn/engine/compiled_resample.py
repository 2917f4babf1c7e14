"""The resampling rule of `mtcnn.resample`, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiling import array_at, inner
from .windows import mix_row

__all__ = ["resample"]

Array = NDArray[Any]


@inner(inline="always")
def _window(start: float, step: float, index: int, limit: int) -> tuple[float, float, int, int]:
    """Edges of the window of output pixel `index`, and the source pixels [first, last) that it touches."""
    half = max(step, 1.0) * 0.5
    centre = start + (index + 0.5) * step
    low, high = centre - half, centre + half
    # Clipped as floats: values far outside would overflow an integer.
    first = int(min(max(np.floor(low), 0.0), limit))
    last = int(min(max(np.ceil(high), 0.0), limit))
    return low, high, first, last


@inner()
def _shares(start: float, step: float, limit: int, zero_outside: bool, firsts: Array, shares: Array) -> None:
    """The first source pixel of each output pixel's window, and the weight of each source pixel from there on.

    firsts (N,); shares (N, T), where T is at least the number of pixels in any window and at most `limit`.
    """
    for index in range(len(firsts)):
        low, high, first, last = _window(start, step, index, limit)
        firsts[index] = min(first, limit - shares.shape[1])
        total = 0.0
        for i in range(shares.shape[1]):
            pixel = firsts[index] + i
            share = min(high, pixel + 1.0) - max(low, float(pixel)) if first <= pixel < last else 0.0
            shares[index, i] = max(share, 0.0)
            total += shares[index, i]
        if zero_outside:
            total = high - low
        norm = np.float32(1.0 / total) if total > 0.0 else np.float32(0.0)
        for i in range(shares.shape[1]):
            shares[index, i] *= norm


@inner()
def _taps(step: float, limit: int) -> int:
    """Maximum number of source pixels of a window."""
    return int(min(np.ceil(max(step, 1.0)) + 1.0, limit))


@inner()
def _into(
    image: Array,
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    zero_outside: bool,
    shares_at: int,
    firsts: Array,
    work: Array,
    exact: int,
    out: Array,
    real_out: Array,
) -> None:
    """Image (H, W * 3), from x1, y1 to x2, y2, into out (h, w * 3), or real_out, which is `exact`."""
    height, width = image.shape[0], image.shape[1] // 3
    out_height, out_width = out.shape[0], out.shape[1] // 3
    step_y, step_x = (y2 - y1) / out_height, (x2 - x1) / out_width
    taps_x, taps_y = _taps(step_x, width), _taps(step_y, height)
    across = array_at(shares_at, (out_width, taps_x), np.float32)
    columns, rows = firsts[:out_width], firsts[out_width:]
    _shares(x1, step_x, width, zero_outside, columns, across)
    down = array_at(shares_at + 4 * out_width * taps_x, (out_height, taps_y), np.float32)
    _shares(y1, step_y, height, zero_outside, rows, down)
    row, line = work[: 3 * width + 1], work[3 * width + 1 :]
    for i in range(out_height):
        mix_row(image, rows[i], down[i], columns, across, row, line)
        if exact:
            target = real_out[i]
            for k in range(len(target)):
                target[k] = line[k]
        else:
            rounded = out[i]
            for k in range(len(rounded)):
                rounded[k] = line[k] + np.float32(0.5)


def resample(  # type: ignore[no-untyped-def]
    image_at, height, width, boxes_at, count, zero_outside, exact, out_at, out_height, out_width,
    shares_at, firsts_at, work_at,
):  # fmt: skip
    """Boxes (count, 4) of image (height, width * 3), into out, or real_out, (count, out_height, out_width * 3).

    shares, firsts, work  scratch, see `mtcnn.resample`.
    """
    image, boxes = array_at(image_at, (height, width * 3), np.uint8), array_at(boxes_at, (count, 4), np.float64)
    out = array_at(out_at, (count, out_height, out_width * 3), np.uint8)
    real_out = array_at(out_at, (count, out_height, out_width * 3), np.float32)
    firsts = array_at(firsts_at, (out_width + out_height,), np.int64)
    work = array_at(work_at, (3 * (width + out_width) + 2,), np.float32)
    for n in range(count):
        wide, high = boxes[n, 2] - boxes[n, 0], boxes[n, 3] - boxes[n, 1]
        if 0.0 < wide < np.inf and 0.0 < high < np.inf:
            _into(image, boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3], zero_outside != 0, shares_at, firsts, work,
                  exact, out[n], real_out[n])  # fmt: skip
            continue
        for i in range(out_height):
            for k in range(3 * out_width):
                if exact:
                    real_out[n, i, k] = 0.0
                else:
                    out[n, i, k] = 0
    return 0
