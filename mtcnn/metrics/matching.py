"""One-to-one matching of detections and labelled faces with the highest total weight."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtcnn.errors import MtcnnError

__all__ = ["best_pairs"]

Array = NDArray[Any]


def best_pairs(weights: Array) -> NDArray[np.int64]:
    """Index pairs (K, 2) into rows and columns of weights (G, N) >= 0, in the order of rows.

    No row or column is used twice, the sum of weights is maximal, and no pair has weight 0. Rows and columns of zeros
    are removed first, as in FDDB's tool: they only slow the assignment down. Raises MtcnnError if scipy, whose
    assignment is used, is not installed.
    """
    rows, columns = np.flatnonzero(weights.any(axis=1)), np.flatnonzero(weights.any(axis=0))
    if len(rows) == 0:
        return np.zeros((0, 2), np.int64)
    if len(rows) == 1:
        # Most photos have one face, whose best pair needs no assignment. argmax takes the first of equals.
        return np.array([[rows[0], weights[rows[0]].argmax()]], np.int64)
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise MtcnnError("matching faces needs scipy, which is missing: pip install 'mtcnn-cascade[eval]'") from None
    i, j = linear_sum_assignment(weights[np.ix_(rows, columns)], maximize=True)
    pairs = np.stack([rows[i], columns[j]], axis=1)  # (K, 2)
    return np.asarray(pairs[weights[pairs[:, 0], pairs[:, 1]] > 0], np.int64)
