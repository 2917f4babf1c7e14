"""The multibox objective: anchors matched by IoU, hard examples, cross-entropy for faces, smooth L1 for the rest.

Source: Liu et al. 2016 (SSD), section 2.2 (face and box), Deng et al. 2019, equation 1 (landmarks). The margin is that
of xieydd's FaceDetect (`multibox_loss2.py`): additive as in Wang et al. 2018 (CosFace), without a scale. The wing loss
is that of Feng et al. 2018, "Wing Loss for Robust Facial Landmark Localisation", equation 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from mtcnn.detectors.decoders import Decoder, SsdCodes
from mtcnn.errors import RecipeError
from mtcnn.settings import Settings, setting

from ..scene import Scene
from ..soft import excess, soft_weights
from .matching import MatchSettings
from .sampling import SampleSettings, sample, whole
from .targets import AnchorTargets, encode

__all__ = ["MultiBox", "MultiBoxSettings", "wing"]


@dataclass(frozen=True)
class MultiBoxSettings(Settings):
    """Section [objective] of a detector's recipe with `name = "multibox"`.

    match, sample      assignment of anchors to faces, and sampling of anchors.
    face box landmark  weights of the three losses.
    soft               weight in the face loss of anchors of faces that teachers scored, see `mtcnn label`.
    margin             taken off the logits of face anchors in their loss, after sampling (FaceDetect: 0.1); 0: none.
    wing, curvature    the landmark loss is the wing loss, logarithmic up to this distance, in codes, and steeper around
                       0 for a smaller curvature (3 and 2 in FaceDetect); 0 for smooth L1.
    """

    name: str = setting("multibox", choices=("multibox",))
    match: MatchSettings = field(default_factory=MatchSettings)
    sample: SampleSettings = field(default_factory=SampleSettings)
    face: float = setting(1.0, min=0)
    box: float = setting(2.0, min=0)
    landmark: float = setting(1.0, min=0)
    soft: float = setting(1.0, min=0, added=True)
    margin: float = setting(0.0, min=0, added=True)
    wing: float = setting(0.0, min=0, added=True)
    curvature: float = setting(2.0, above=0, added=True)


class MultiBox:
    """Losses of a detector with anchors.

    decoder  of the net, which has anchors. Raises RecipeError for another.
    """

    Settings = MultiBoxSettings

    def __init__(self, settings: MultiBoxSettings, decoder: Decoder, teacher: object = None) -> None:
        if not isinstance(decoder, SsdCodes):
            raise RecipeError(
                f"objective is multibox for a net with {type(decoder).__name__}; expected one with anchors"
            )
        self.settings, self.decoder = settings, decoder

    def targets(self, scene: Scene) -> AnchorTargets:
        """Targets of each anchor."""
        return encode(scene, self.decoder, self.settings.match)

    def loss(self, outputs: Mapping[str, Tensor], targets: AnchorTargets) -> dict[str, Tensor]:
        """Losses of a batch, normalised over all processes.

        The face loss uses the anchors that `sampling.sample` selects, the box loss the face anchors among them, the
        landmark loss all anchors with known points. The target of a face's score is 1, or what teachers gave it.
        """
        logits, settings = outputs["logits"], self.settings
        truth = targets.scores.to(logits.dtype)
        each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        weights = sample(excess(each, truth), targets.labels, targets.levels[0].tolist(), settings.sample)
        if settings.margin:
            each = F.binary_cross_entropy_with_logits(logits - settings.margin * truth, truth, reduction="none")
        boxes, _ = _regression(outputs["boxes"], targets.box_codes)
        face = (each * weights.face * soft_weights(truth, settings.soft)).sum()
        box = (boxes * weights.box).sum()
        landmark = face.new_zeros(())
        if "landmarks" in outputs:
            points, known = _regression(outputs["landmarks"], targets.landmark_codes, settings.wing, settings.curvature)
            landmark = points.sum() / whole(known.sum())
        total = settings.face * face + settings.box * box + settings.landmark * landmark
        return {"total": total, "face": face, "box": box, "landmark": landmark}


def wing(x: Tensor, width: float, curvature: float) -> Tensor:
    """Wing loss of distances of any shape: width * ln(1 + |x| / curvature) up to `width`, then |x| minus the constant
    that makes it continuous."""
    far = x.abs()
    constant = width - width * math.log1p(width / curvature)
    return torch.where(far < width, width * torch.log1p(far / curvature), far - constant)


def _regression(
    codes: Tensor, wanted: Tensor, wing_width: float = 0.0, curvature: float = 2.0
) -> tuple[Tensor, Tensor]:
    """Losses (N, A), 0 without a target, and which anchors have a target, bool (N, A). Smooth L1, or the wing loss if
    it has a width."""
    known = wanted.isfinite()
    near = wanted.nan_to_num(0.0)
    # A product, not an index: without any target the loss is 0 but still part of the graph.
    if wing_width:
        each = wing(codes - near, wing_width, curvature) * known
    else:
        each = F.smooth_l1_loss(codes, near, reduction="none") * known
    return each.sum(dim=-1), known.any(dim=-1)
