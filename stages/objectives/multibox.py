"""Losses of single-stage detectors.

Source: Liu et al. 2016, section 2.2 (face and box), Deng et al. 2019, equation 1 (landmarks).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from mtcnn.detectors.blocks import ProposerOutput

from ..crops.losses import Losses
from ..photos.recipe import DetectorSettings
from .sampling import SampleSettings, sample, whole
from .targets import FACE, AnchorTargets

__all__ = ["detector_loss"]


def _regression(codes: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Smooth L1 losses (N, A), 0 where nothing is known, and where something is known, bool (N, A)."""
    known = wanted.isfinite()
    # A product and not an index: where nothing is known the loss is 0, and still part of the graph.
    each = F.smooth_l1_loss(codes, wanted.nan_to_num(0.0), reduction="none") * known
    return each.sum(dim=-1), known.any(dim=-1)


def detector_loss(
    output: ProposerOutput,
    targets: AnchorTargets,
    levels: Sequence[int],
    sampling: SampleSettings,
    settings: DetectorSettings,
) -> Losses:
    """Losses of a batch; with several processes, of the batches of all of them. `levels` are the anchors of each level.

    The face score learns from the anchors that `samplers.sample` takes, the box from those of them that belong to
    faces, landmarks wherever their points are known.
    """
    logits = output.class_logits[..., 1] - output.class_logits[..., 0]  # softmax over two is a sigmoid of this
    truth = (targets.labels == FACE).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    weights = sample(each, targets.labels, levels, sampling)
    boxes, _ = _regression(output.box_codes, targets.box_codes)
    face, box = (each * weights.face).sum(), (boxes * weights.box).sum()
    landmark = face.new_zeros(())
    if output.landmark_codes is not None:
        points, known = _regression(output.landmark_codes, targets.landmark_codes)
        landmark = points.sum() / whole(known.sum())
    total = settings.face * face + settings.box * box + settings.landmark * landmark
    return Losses(total, face, box, landmark)
