"""Soft targets: the probability that teachers gave a face is the target of its score, in place of 1."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["excess", "soft_weights"]


def excess(losses: Tensor, truth: Tensor) -> Tensor:
    """How far cross-entropies exceed the smallest that their targets allow, of any shape.

    That is the Kullback-Leibler divergence, by which hard examples are ranked: a target of 0.6 costs at least 0.67,
    and by its loss a perfectly learned face would be among the hardest. For targets of 0 and 1, the loss itself.
    """
    entropy: Tensor = torch.special.entr(truth) + torch.special.entr(1 - truth)
    return losses.detach() - entropy


def soft_weights(truth: Tensor, soft: float) -> Tensor:
    """Weights of face losses, of any shape: `soft` for targets between 0 and 1, which teachers gave; 1 for others."""
    return torch.where((truth > 0) & (truth < 1), soft, 1.0).to(truth.dtype)
