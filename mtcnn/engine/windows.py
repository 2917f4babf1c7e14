"""Weighted means over rectangular windows of an image, used by every resampling rule of the project.

A rule gives, for the rows and for the columns of the output, the first source pixel of each window and the share of
each source pixel from there on. Rows are mixed first, in vectors; then columns, a pixel at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiling import inner
from .vectors import mix_pixels

__all__ = ["mix_row"]

Array = NDArray[Any]


@inner(fastmath={"contract"})
def _mix_rows(image: Array, first: int, shares: Array, left: int, right: int, row: Array) -> None:
    """The weighted sum of rows from `first` on, values [left, right) of each, into row (right - left,)."""
    line, only = image[first, left:right], shares[0]
    for k in range(len(row)):
        row[k] = only * np.float32(line[k])
    whole = 1 + (len(shares) - 1) // 4 * 4
    for i in range(1, whole, 4):  # four at a time, for fewer passes over `row`
        one, two = image[first + i, left:right], image[first + i + 1, left:right]
        three, four = image[first + i + 2, left:right], image[first + i + 3, left:right]
        w1, w2, w3, w4 = shares[i], shares[i + 1], shares[i + 2], shares[i + 3]
        for k in range(len(row)):
            row[k] += (w1 * np.float32(one[k]) + w2 * np.float32(two[k])) + (
                w3 * np.float32(three[k]) + w4 * np.float32(four[k])
            )
    for i in range(whole, len(shares)):
        line, only = image[first + i, left:right], shares[i]
        for k in range(len(row)):
            row[k] += only * np.float32(line[k])


@inner()
def mix_row(image: Array, first: int, down: Array, columns: Array, across: Array, row: Array, line: Array) -> None:
    """One row of output pixels, float32, into line (3 * N + 1,), whose last value is undefined.

    image    uint8 (H, W * 3).        first, down      first source row, and shares (T,) of it and the next ones.
    columns  int64 (N,), rising.      across (N, T)    the same for the columns; T of them for each output pixel.
    row      float32 scratch of 3 * W + 1 values.
    """
    left, right = 3 * columns[0], 3 * (columns[-1] + across.shape[1])  # all source columns used
    _mix_rows(image, first, down, left, right, row[: right - left])
    for j in range(len(columns)):
        mix_pixels(
            row.ctypes.data + 4 * (3 * columns[j] - left),
            across.ctypes.data + 4 * j * across.shape[1],
            across.shape[1],
            line.ctypes.data + 4 * 3 * j,
        )
