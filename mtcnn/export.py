"""Export to ONNX files that take images of any size, checked against torch before they are written.

An exported net takes `images`, float32 (N, 3, H, W), RGB from 0 to 255: the scaling is part of the file, so
that users cannot get it wrong. The outputs are those of `types.NetOutput`, or those of a single-stage detector in the
order of its decoder's names. What decoding needs, such as strides and anchor sizes, is in the metadata.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .checkpoint import packaged_weights, weights_path
from .detectors import DETECTORS
from .detectors.load import load_module
from .errors import MtcnnError, SettingsError
from .files.atomic_write import atomic_write
from .nets import PooledPReLU, load_net
from .scoring import scoring_of
from .thresholds import default_threshold
from .weights import SCALING, SIZES, Scaling

__all__ = ["Exported", "export_onnx"]

OPSET = 17  # from 2022: supported by all current runtimes
TOLERANCE = 1e-3  # of an output's largest value, between torch and onnxruntime

_NAMES = {
    "pnet": ("face_logits", "offsets"),
    "rnet": ("face_logits", "offsets"),
    "onet": ("face_logits", "offsets", "landmarks"),
}
_ANY_SIZE = ((1, 64, 96), (2, 97, 131), (3, 160, 33))  # batch, height, width of the images to check with
_CROPS = (1, 2, 5)  # batch sizes of crops; their side is the net's


class Exported(NamedTuple):
    """The result of an export.

    outputs     names of its outputs.
    checked     the inputs it was checked with: batch, height, width.
    difference  the largest between torch and onnxruntime, as a share of an output's largest value.
    """

    path: Path
    outputs: tuple[str, ...]
    checked: tuple[tuple[int, int, int], ...]
    difference: float


class _Whole(nn.Module):
    """A net with its scaling in front, whose outputs are tensors in the order of `names`.

    threshold  minimum score of a face by default, for the metadata.
    """

    mean: Tensor

    def __init__(self, name: str, net: nn.Module, threshold: float) -> None:
        super().__init__()
        scaling: Scaling = DETECTORS[name].scaling if name in DETECTORS else SCALING
        mean, divisor = scaling
        self.net, self.threshold = net, threshold
        names = DETECTORS[name].decoder.names if name in DETECTORS else _NAMES[name]
        trained = getattr(net, "has_landmarks", True)
        self.names = tuple(each for each in names if each != "landmarks" or trained)
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1))
        self.factor = 1 / divisor

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        output = self.net((images - self.mean) * self.factor)
        named = output if isinstance(output, dict) else output._asdict()
        return tuple(named[name] for name in self.names)


def export_onnx(name: str, path: Path, models: Path | None = None) -> Exported:
    """Write the net `name` with the weights in the folder `models` (None: the packaged ones) to `path`.

    name  "pnet", "rnet", "onet", or one of `detectors.DETECTORS`. PNet and the detectors take images of any size, RNet
          and ONet crops of a fixed size; the batch size is free.

    Raises SettingsError for another name, CheckpointError if the weights are missing or do not fit; MtcnnError if a
    package of the extra `export` is missing, the file cannot be written, or its outputs differ from torch's.
    """
    if name not in SIZES and name not in DETECTORS:
        raise SettingsError(f"net is {name!r}; expected one of {', '.join([*SIZES, *DETECTORS])}")
    _needed("onnx")
    _needed("onnxruntime")
    path_of_weights = weights_path(packaged_weights() if models is None else models, name)
    net = load_net(path_of_weights, name) if name in SIZES else load_module(path_of_weights, name)
    whole = _Whole(name, _resolved(net), default_threshold(path_of_weights, name)).eval()
    shapes = _shapes(name)
    try:
        with atomic_write(path) as draft:
            _write(whole, draft, name, shapes[0])
            difference = _difference(whole, draft, shapes)
            if not difference < TOLERANCE:
                raise MtcnnError(
                    f"{name} exported to ONNX differs from torch by {difference:.2g}; expected less than {TOLERANCE}: "
                    "another version of torch or onnxruntime may help"
                )
    except OSError as error:
        raise MtcnnError(f"{path} cannot be written ({error.strerror}); name another file") from None
    return Exported(path, whole.names, shapes, difference)


def _needed(package: str) -> Any:
    try:
        return __import__(package)
    except ImportError:
        raise MtcnnError(f"no package {package}; expected it for ONNX: pip install 'mtcnn-cascade[export]'") from None


def _resolved(net: nn.Module) -> nn.Module:
    """The net with each PooledPReLU replaced by two layers in the order its slopes require; a graph cannot branch."""
    for parent in list(net.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, PooledPReLU):
                rises = bool((layer.prelu.weight >= 0).all())
                order = (layer.pool, layer.prelu) if rises else (layer.prelu, layer.pool)
                setattr(parent, name, nn.Sequential(*order))
    return net


def _shapes(name: str) -> tuple[tuple[int, int, int], ...]:
    if name in ("rnet", "onet"):
        return tuple((batch, SIZES[name], SIZES[name]) for batch in _CROPS)
    return _ANY_SIZE


def _images(shape: tuple[int, int, int]) -> Tensor:
    batch, height, width = shape
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0)) * 255


def _write(whole: _Whole, path: Path, name: str, shape: tuple[int, int, int]) -> None:
    sizes = {0: "batch"} if name in ("rnet", "onet") else {0: "batch", 2: "height", 3: "width"}
    axes = {"images": sizes, **_output_axes(whole, name, shape)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation of this exporter, see docs/decisions.md
        torch.onnx.export(
            whole,
            (_images(shape),),
            str(path),
            input_names=["images"],
            output_names=list(whole.names),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    _describe(whole, path, name)


def _output_axes(whole: _Whole, name: str, shape: tuple[int, int, int]) -> dict[str, dict[int, str]]:
    """Names of the axes whose length depends on the input."""
    if name in SIZES:
        return {output: {0: "batch"} for output in whole.names}
    with torch.inference_mode():
        parts = whole(_images(shape))
    # Rows (N, A), (N, A, values), or maps (N, channels, h, w).
    maps = {0: "batch", 2: "rows", 3: "columns"}
    rows = {0: "batch", 1: "anchors"}
    return {output: maps if part.ndim == 4 else rows for output, part in zip(whole.names, parts, strict=True)}


def _describe(whole: _Whole, path: Path, name: str) -> None:
    """Store what decoding needs in the metadata."""
    onnx = _needed("onnx")
    model = onnx.load(str(path))
    facts = {"net": name, "images": "float32 RGB, 0 to 255"}
    if name in ("rnet", "onet"):
        facts["scoring"] = json.dumps(asdict(scoring_of(whole.net)))
    if name in DETECTORS:
        facts |= {key: json.dumps(value) for key, value in DETECTORS[name].decoder.describe().items()}
    facts["threshold"] = json.dumps(whole.threshold)
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, str(path))


def _difference(whole: nn.Module, path: Path, shapes: Sequence[tuple[int, int, int]]) -> float:
    """The largest difference between torch and onnxruntime, as a share of the output's largest value."""
    session = _needed("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = []
    for shape in shapes:
        images = _images(shape)
        with torch.inference_mode():
            wanted = whole(images)
        for ours, theirs in zip(session.run(None, {"images": images.numpy()}), wanted, strict=True):
            if ours.shape != tuple(theirs.shape):
                return float("inf")
            found.append(float((torch.from_numpy(ours) - theirs).abs().max() / theirs.abs().max()))
    return float(np.max(found))  # unlike max(), propagates NaN
