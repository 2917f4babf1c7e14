"""`mtcnn.export`: a net as an ONNX file."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..detectors import DETECTORS
from ..errors import SettingsError
from ..settings import require
from ..weights import SIZES

if TYPE_CHECKING:
    from ..onnx_export import Exported

__all__ = ["export"]

Location: TypeAlias = str | PathLike[str]


def export(
    net: str,
    path: Location | None = None,
    models: Location | None = None,
    *,
    shape: tuple[int, int] | None = None,
    batch: int | None = None,
) -> Exported:
    """Write a net as an ONNX file, after comparing its outputs in onnxruntime with torch's.

        mtcnn.export("retinaface", "retinaface.onnx", shape=(480, 640)).outputs

    net     "pnet", "rnet", "onet", or one of `detectors.DETECTORS`.
    path    ends in .onnx; None: <net>.onnx in the current folder.
    models  folder with its weights; None: the packaged ones.
    shape   height and width of the images, if all are alike: then the graph is simplified, and takes `batch` of them
            (1). Without a shape it takes any number of images of any size.

    The input is RGB from 0 to 255, float32 (N, 3, H, W); outputs are logits and codes, see docs/detectors.md.

    Raises SettingsError for settings out of range, CheckpointError if the weights are missing or do not fit, MtcnnError
    without the packages of the extra `export`, if the file cannot be written, or if its outputs differ from torch's.
    """
    names = [*SIZES, *DETECTORS]
    require(net in names, "net", net, f"one of {', '.join(names)}")
    target = Path(f"{net}.onnx" if path is None else path)
    if target.suffix.lower() != ".onnx":
        raise SettingsError(f"{target} is no name for an ONNX file; expected a suffix .onnx, such as {net}.onnx")
    if batch is not None and shape is None:
        raise SettingsError("batch is for a file with `shape`; without it, any number of images can be given")
    from ..onnx_export import export_onnx  # torch takes seconds to import

    return export_onnx(net, target, None if models is None else Path(models), shape, batch or 1)
