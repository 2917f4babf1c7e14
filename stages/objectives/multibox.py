"""The multibox objective: anchors matched by IoU, hard examples, cross-entropy for faces, smooth L1 for the rest.

Source: Liu et al. 2016 (SSD), section 2.2 (face and box), Deng et al. 2019, equation 1 (landmarks).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from mtcnn.detectors.decoders import Decoder, SsdCodes
from mtcnn.errors import RecipeError
from mtcnn.settings import Settings, setting

from ..photos.crops import Scene
from .matching import MatchSettings
from .sampling import SampleSettings, sample, whole
from .targets import FACE, AnchorTargets, encode

__all__ = ["MultiBox", "MultiBoxSettings"]


@dataclass(frozen=True)
class MultiBoxSettings(Settings):
    """Section [objective] of a detector's recipe with `name = "multibox"`.

    match, sample      assignment of anchors to faces, and sampling of anchors.
    face box landmark  weights of the three losses.
    """

    name: str = setting("multibox", choices=("multibox",))
    match: MatchSettings = field(default_factory=MatchSettings)
    sample: SampleSettings = field(default_factory=SampleSettings)
    face: float = setting(1.0, min=0)
    box: float = setting(2.0, min=0)
    landmark: float = setting(1.0, min=0)


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
        landmark loss all anchors with known points.
        """
        logits = outputs["logits"]
        truth = (targets.labels == FACE).to(logits.dtype)
        each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        weights = sample(each, targets.labels, targets.levels[0].tolist(), self.settings.sample)
        boxes, _ = _regression(outputs["boxes"], targets.box_codes)
        face, box = (each * weights.face).sum(), (boxes * weights.box).sum()
        landmark = face.new_zeros(())
        if "landmarks" in outputs:
            points, known = _regression(outputs["landmarks"], targets.landmark_codes)
            landmark = points.sum() / whole(known.sum())
        total = self.settings.face * face + self.settings.box * box + self.settings.landmark * landmark
        return {"total": total, "face": face, "box": box, "landmark": landmark}


def _regression(codes: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Smooth L1 losses (N, A), 0 without a target, and which anchors have a target, bool (N, A)."""
    known = wanted.isfinite()
    # A product, not an index: without any target the loss is 0 but still part of the graph.
    each = F.smooth_l1_loss(codes, wanted.nan_to_num(0.0), reduction="none") * known
    return each.sum(dim=-1), known.any(dim=-1)
