"""Single-stage detectors: one file per net, one line per detector.

`DETECTORS` is data: the class of a net, the decoder of its outputs, the scaling of its input. Nothing here imports
torch. `load` turns an entry into a net or a working detector, `decoders` decode outputs, `single_stage` runs detectors.
The code that executes a net is in `mtcnn.runtimes`, and training in `stages`.

    from mtcnn.detectors.load import load_detector
    faces = load_detector("retinaface", Path("models"))(image)
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from ..weights import MEAN_COLOUR, SCALING, UNSCALED, Scaling
from .anchors import RETINAFACE, S3FD, SSH, Level
from .decoders import Decoder, SsdCodes
from .distances import Distances
from .point_decoders import HeatMap, YuNetPoints

__all__ = ["DETECTORS", "Spec"]


@dataclass(frozen=True)
class Spec:
    """A single-stage detector.

    build     "module:Class" in this folder. The class takes the settings of the recipe's [model], all of which have
              defaults. forward takes images (N, 3, H, W) and returns a dict of tensors, batch first, whose keys are the
              decoder's names, in their order.
    decoder   decodes the outputs to boxes, logits and landmarks.
    scaling   of the input, see `nets.to_input`.
    multiple  the input is padded to sides that are multiples of this: the stride of the coarsest map.
    nms_iou   IoU threshold of NMS.
    threshold  minimum score of a face, unless the weights record their own.
    model     settings of [model] in which the published net differs from the defaults of its class.
    package   that the net is built from, if it is not among those that this project always needs; or None.
    """

    build: str
    decoder: Decoder
    scaling: Scaling = MEAN_COLOUR
    multiple: int = 32
    nms_iou: float = 0.4
    threshold: float = 0.6
    model: Mapping[str, Any] = field(default_factory=dict)
    package: str | None = None

    @property
    def missing_package(self) -> str | None:
        """The package that this net lacks here, or None."""
        return self.package if self.package is not None and find_spec(self.package) is None else None

    @property
    def padding(self) -> tuple[int, int, int]:
        """RGB of the padding: the mean, which is 0 after scaling, like the zero padding of convolutions."""
        mean = self.scaling[0]
        red, green, blue = mean if isinstance(mean, tuple) else (mean, mean, mean)
        return round(red), round(green), round(blue)


_SMALL = (Level(8, (10, 20)), Level(16, (32, 64)), Level(32, (128, 256)))
_SLIM = (Level(8, (10, 16, 24)), Level(16, (32, 48)), Level(32, (64, 96)), Level(64, (128, 192, 256)))

_THIRTEEN = (
    Level(8, (8, 10, 16, 24)), Level(16, (30, 42, 56)), Level(32, (64, 80, 96)), Level(64, (128, 192, 256)),
)  # fmt: skip
_FIFTEEN = (
    Level(8, (6, 10, 16, 24)), Level(16, (36, 42, 56, 64)), Level(32, (72, 80, 96, 118)), Level(64, (144, 192, 224)),
)  # fmt: skip

_YUNET_S = {"channels": (16, 32, 64, 64, 64, 64), "shared": 0}

# [model] of the sizes of SCRFD, where it differs from the defaults, those of 0.5g.
_SCRFD: dict[str, dict[str, Any]] = {
    "0.5g": {},
    "1g": {"stem": (32, 48), "blocks": (3, 2, 1, 5), "widths": (48, 160, 216, 312), "neck": 24, "head": 96,
           "norm_groups": 8},
    "2.5g": {"block": "basic", "stem": (24,), "blocks": (3, 5, 3, 2), "widths": (24, 48, 48, 80), "neck": 24,
             "head_block": "plain"},
    "10g": {"block": "basic", "stem": (56,), "blocks": (3, 4, 2, 3), "widths": (56, 88, 88, 224), "neck": 56,
            "head_block": "plain", "head": 80, "head_depth": 3},
    "34g": {"block": "bottleneck", "stem": (56,), "blocks": (17, 16, 2, 8), "widths": (56, 56, 144, 184), "neck": 128,
            "head_block": "plain", "head": 256, "norm_groups": 32},
}  # fmt: skip

# The NMS thresholds are those of the authors' test programs.
DETECTORS: dict[str, Spec] = {
    "retinaface": Spec("retinaface:RetinaFace", SsdCodes(RETINAFACE)),
    "retinaface-r50": Spec("retinaface:RetinaFace", SsdCodes(RETINAFACE), model={"trunk": "resnet50"}),
    "ssh": Spec("ssh:SSH", SsdCodes(SSH, has_landmarks=False), nms_iou=0.3),
    "s3fd": Spec("s3fd:S3FD", SsdCodes(S3FD, has_landmarks=False), nms_iou=0.3),
    "retinaface-small": Spec("retinaface:RetinaFace", SsdCodes(_SMALL), model={"leak": 0.0}),
    "slim": Spec("slim:Slim", SsdCodes(_SLIM), (127.0, 128.0), multiple=64, nms_iou=0.3),
    "slim-landmarks": Spec("slim:Slim", SsdCodes(_SLIM), multiple=64, model={"landmarks": True}),
    "rfb": Spec("rfb:RFB", SsdCodes(_SLIM), (127.0, 128.0), multiple=64, nms_iou=0.3),
    "rfb-landmarks": Spec("rfb:RFB", SsdCodes(_SLIM), multiple=64, model={"landmarks": True}),
    "lightface-1": Spec("lightface:LightFace", SsdCodes(_THIRTEEN), multiple=64),
    "lightface-2": Spec("lightface:LightFace", SsdCodes(_THIRTEEN), multiple=64, model={"fused": True}),
    "lightface-3": Spec(
        "slim:Slim", SsdCodes(_THIRTEEN), multiple=64, model={"anchors": (4, 3, 3, 3), "landmarks": True}
    ),
    "vgg-light": Spec("vgg_light:VggLight", SsdCodes(_FIFTEEN), multiple=64),
    "vgg-advanced": Spec("vgg_light:VggLight", SsdCodes(_FIFTEEN), multiple=64, model={"context": True}),
    "yunet-n": Spec("yunet:YuNet", YuNetPoints(), UNSCALED, nms_iou=0.45),
    "yunet-s": Spec("yunet:YuNet", YuNetPoints(), UNSCALED, nms_iou=0.45, model=_YUNET_S),
    "efficientnet-b3": Spec("efficientface:EfficientFace", SsdCodes(_FIFTEEN), multiple=64, package="timm"),
    "efficientnet-b4": Spec(
        "efficientface:EfficientFace", SsdCodes(_FIFTEEN), multiple=64, model={"trunk": "b4"}, package="timm"
    ),
    "efficientnet-b3-fpn": Spec(
        "efficientface:EfficientFace", SsdCodes(_FIFTEEN), multiple=64, model={"pyramid": True}, package="timm"
    ),
    "efficientnet-b4-fpn": Spec(
        "efficientface:EfficientFace",
        SsdCodes(_FIFTEEN),
        multiple=64,
        model={"trunk": "b4", "pyramid": True},
        package="timm",
    ),
    "efficientdet-d0": Spec("efficientdet:EfficientDet", SsdCodes(_FIFTEEN), multiple=64, package="timm"),
    "centerface": Spec("centerface:CenterFace", HeatMap(), UNSCALED, nms_iou=0.3),
    **{
        f"scrfd-{size}": Spec("scrfd:SCRFD", Distances(RETINAFACE), SCALING, threshold=0.5, model=model)
        for size, model in _SCRFD.items()
    },
}


def __getattr__(name: str) -> Any:
    if name == "proposer_named":  # its former name
        from .load import load_detector

        warnings.warn("proposer_named is now detectors.load.load_detector", DeprecationWarning, stacklevel=2)
        return load_detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
