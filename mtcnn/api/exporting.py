"""`mtcnn.export`: a net, or a whole detector, as a file for ONNX or OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..detector_settings import CASCADE, PRESETS, DetectorSettings
from ..detectors import DETECTORS
from ..errors import SettingsError
from ..files.outputs import check_place
from ..onnx_graph.formats import FORMATS, TITLES, check_format
from ..settings import as_path, require
from ..weights import SIDES

if TYPE_CHECKING:
    from ..onnx_graph.exported import Exported

__all__ = ["export"]

Location: TypeAlias = str | PathLike[str]
WHOLE = (CASCADE, *PRESETS)
"""Names of detectors that have more than a net; that of a net gives a whole detector `with_nms`."""


def export(
    net: str,
    path: Location | None = None,
    models: Location | None = None,
    *,
    shape: tuple[int, int] | None = None,
    batch: int | None = None,
    min_face: float | None = None,
    scale_factor: float | None = None,
    max_side: float | None = None,
    thresholds: float | Sequence[float] | None = None,
    as_inputs: bool = False,
    with_nms: bool = False,
    format: Literal["onnx", "openvino"] = "onnx",
    int8: Location | None = None,
) -> Exported:
    """Write a net, or a whole detector, as a file for ONNX or OpenVINO, after comparing its outputs there with ours.

        mtcnn.export("retinaface", "retinaface.onnx", shape=(480, 640)).outputs
        mtcnn.export("mtcnn", "cascade.onnx", min_face=40)
        mtcnn.export("retinaface", with_nms=True, format="openvino", int8="photos").agreement

    net     "pnet", "rnet", "onet", "cnet", the net of ONet's second pass, or one of `detectors.DETECTORS`; or a whole
            detector: "mtcnn", the cascade, "fast" or "best", from image to faces.
    path    ends in .onnx, or .xml for OpenVINO, whose weights lie beside it, .bin; None: <net>.onnx or <net>.xml in the
            current folder.
    models  folder with its weights; None: the packaged ones.
    shape   of a net: height and width of the images, if all are alike: then the graph is simplified, and takes `batch`
            of them (1). Without a shape it takes any number of images of any size.
    with_nms  make a whole detector of one of `detectors.DETECTORS`: image in, faces out.
    min_face, scale_factor, max_side, thresholds  of a whole detector, as for `Detector`.
    format  "onnx", or "openvino", whose IR is made of the ONNX file.
    int8    folder with photos, a hundred or so, of the kind to be searched: the net of a single-stage detector computes
            in int8, with ranges from half of them; the result's `agreement` compares its faces on the others.
    as_inputs  of a whole detector: these settings become inputs, which have to be given with each image.

    A net takes RGB from 0 to 255, float32 (N, 3, H, W), and returns logits and codes; a whole detector takes one image,
    uint8 (H, W, 3), and returns boxes, scores and landmarks: see docs/detectors.md.

    Raises SettingsError for settings out of range, or that do not fit the net; CheckpointError if the weights are
    missing or do not fit; MtcnnError without the packages of the extra `export` or `openvino`, if the file cannot be
    written, if no photo can be read, or if its outputs differ from those of torch or `Detector`.
    """
    names = [*SIDES, *DETECTORS, *WHOLE]
    require(net in names, "net", net, f"one of {', '.join(names)}")
    require(format in tuple(FORMATS), "format", format, f"one of {', '.join(FORMATS)}")
    suffix = FORMATS[format]
    target = as_path("path", f"{net}{suffix}" if path is None else path)
    if target.suffix.lower() != suffix:
        raise SettingsError(
            f"{target} is no name for an {TITLES[format]} file; expected a suffix {suffix}, such as {net}{suffix}"
        )
    check_place(target, "name another file")
    photos = None if int8 is None else as_path("int8", int8)
    others = (*SIDES, CASCADE)
    require(
        photos is None or net not in others, "int8", int8, f"none for {net}: it is for single-stage detectors, and best"
    )
    require(photos is None or batch in (None, 1), "batch", batch, "1 with int8")
    check_format(format)  # before torch, which these bring along where it is missing
    given: dict[str, Any] = {
        "min_face": min_face, "scale_factor": scale_factor, "max_side": max_side, "thresholds": thresholds
    }  # fmt: skip
    require(not with_nms or net not in SIDES, "with_nms", with_nms, f"False for {net}, which is no detector")
    if net in WHOLE or with_nms:
        for name, value in {"shape": shape, "batch": batch}.items():
            require(value is None, name, value, f"none for {net}, which takes one image of any size")
        from ..onnx_graph.whole import export_whole

        looks: dict[str, Any] = {} if net == CASCADE else {"coarse": False}
        return export_whole(target, DetectorSettings(models, detector=net, **given, **looks), as_inputs, format, photos)
    for name, setting in {**given, "as_inputs": as_inputs or None}.items():
        require(
            setting is None, name, setting, f"none for {net}: it is a setting of a whole detector, such as {CASCADE}"
        )
    folder = None if models is None else as_path("models", models)
    if batch is not None and shape is None:
        raise SettingsError("batch is for a file with `shape`; without it, any number of images can be given")
    from ..onnx_export import export_onnx  # torch takes seconds to import

    return export_onnx(net, target, folder, shape, 1 if batch is None else batch, format, photos)
