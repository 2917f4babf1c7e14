"""torchvision's `batched_nms` for facenet-pytorch, whose torchvision cannot be installed beside every torch.

The same greedy pass as in torchvision's C++ for the CPU, compiled by Numba, so that the package is as fast as it was.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit


@njit(cache=True, nogil=True)
def _greedy(boxes: Any, order: Any, threshold: float) -> Any:
    count = len(order)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    gone = np.zeros(count, np.bool_)
    kept = np.empty(count, np.int64)
    number = 0
    for rank in range(count):
        i = order[rank]
        if gone[i]:
            continue
        kept[number] = i
        number += 1
        for k in range(rank + 1, count):
            j = order[k]
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            inter = max(width, np.float32(0)) * max(height, np.float32(0))
            if inter / (areas[i] + areas[j] - inter) > threshold:
                gone[j] = True
    return kept[:number]


def batched_nms(boxes: torch.Tensor, scores: torch.Tensor, groups: torch.Tensor, threshold: float) -> torch.Tensor:
    """Indices (K,) of the boxes (N, 4) that stay, by falling score (N,); those of one group suppress each other."""
    if not len(boxes):
        return torch.empty(0, dtype=torch.int64)
    apart = boxes + (groups.to(boxes) * (boxes.max() + 1))[:, None]
    order = scores.sort(stable=True, descending=True)[1]
    return torch.from_numpy(_greedy(apart.numpy(), order.numpy(), threshold))
