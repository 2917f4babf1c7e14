"""EfficientDet: EfficientNet, layers of a bidirectional feature pyramid, and heads that all levels share.

Source: Tan et al. 2020, "EfficientDet: Scalable and Efficient Object Detection", sections 3 and 4, D0 of table 1. For
faces it has four levels at strides 8 to 64 instead of five, square anchors, and a third head for landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from .bifpn import BiFPN, depthwise_separable
from .conv import conv
from .heads import Heads, face_logits
from .trunks.efficientnet import efficientnet

__all__ = ["EfficientDet"]


class EfficientDet(nn.Module):
    """Four maps at strides 8, 16, 32 and 64.

    trunk      "b0", "b3" or "b4".
    width      multiplies all channel counts.
    neck       channels of the pyramid and the heads at width 1.
    layers     of the pyramid.
    depth      separable convolutions of a head.
    anchors    per cell of each map.
    landmarks  whether there is a landmark head.
    """

    def __init__(
        self,
        trunk: str = "b0",
        width: float = 1.0,
        neck: int = 64,
        layers: int = 3,
        depth: int = 3,
        anchors: Sequence[int] = (4, 4, 4, 3),
        landmarks: bool = True,
    ) -> None:
        super().__init__()
        self.trunk = efficientnet(trunk, width)
        fine: list[int] = self.trunk.trunk_channels  # type: ignore[assignment]
        inner, levels = round(neck * width), len(fine) + 1
        self.coarsest = conv(fine[-1], inner, 3, 2, leak=None)
        self.lateral = nn.ModuleList([conv(channels, inner, 1, leak=None) for channels in fine])
        self.pyramid = nn.Sequential(*[BiFPN(levels, inner) for _ in range(layers)])
        self.classes = _SharedHead(inner, anchors, depth, 2)
        self.boxes = _SharedHead(inner, anchors, depth, 4)
        self.landmarks = _SharedHead(inner, anchors, depth, 10) if landmarks else None
        self.has_landmarks = landmarks  # a checkpoint may record that they were not trained

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) to logits (N, A), box codes (N, A, 4) and, if enabled, landmark codes (N, A, 10)."""
        fine = self.trunk(x)
        coarsest = self.coarsest(fine[-1])
        maps = self.pyramid([*(lateral(x) for lateral, x in zip(self.lateral, fine, strict=True)), coarsest])
        outputs = {"logits": face_logits(self.classes(maps)), "boxes": self.boxes(maps)}
        if self.landmarks is not None:
            outputs["landmarks"] = self.landmarks(maps)
        return outputs


class _SharedHead(nn.Module):
    """Separable convolutions shared by all levels, each with batch norm of its own, then a prediction for each level,
    since numbers of anchors differ."""

    def __init__(self, channels: int, anchors: Sequence[int], depth: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([depthwise_separable(channels) for _ in range(depth)])
        # Of level l and layer i the norm l * depth + i.
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels) for _ in range(depth * len(anchors))])
        self.predict = Heads([channels] * len(anchors), anchors, outputs, kernel=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(N, A, outputs)"""
        found, norms = [], iter(self.norms)
        for x in maps:
            for layer in self.layers:
                x = functional.silu(next(norms)(layer(x)))
            found.append(x)
        predictions: Tensor = self.predict(found)
        return predictions
