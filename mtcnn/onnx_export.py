"""Export to ONNX files that take images of any size, checked against torch before they are written.

An exported net takes `images`, float32 (N, 3, H, W), RGB from 0 to 255: the scaling is part of the file, so
that users cannot get it wrong. The outputs are those of `types.NetOutput`, or those of a single-stage detector in the
order of its decoder's names. What decoding needs, such as strides and anchor sizes, is in the metadata.

A net with a method `deployed` is exported as programs of others expect it: with these outputs, for images that are
scaled already.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .checkpoint import packaged_weights, weights_path
from .detectors import DETECTORS
from .detectors.load import load_module
from .detectors.single_stage import SingleStage
from .devices import plain_torch
from .errors import MtcnnError, SettingsError
from .nets import PooledPReLU, load_net
from .onnx_graph.builder import OPSET
from .onnx_graph.exported import Exported, Shape, needed
from .onnx_graph.formats import TITLES, Computes, check_format, opened, runtime_of, stored
from .onnx_graph.int8 import Agreement, CalibrationPhotos, agreement, quantised
from .scoring import scoring_of
from .settings import Range, check, require
from .thresholds import default_threshold
from .types import ImageSize
from .weights import SCALING, SECOND, SIDES, Scaling

__all__ = ["export_onnx", "write_net"]

TOLERANCE = 1e-3  # of an output's largest value, between torch and onnxruntime

_NAMES = {
    "pnet": ("face_logits", "offsets"),
    "rnet": ("face_logits", "offsets"),
    "onet": ("face_logits", "offsets", "landmarks"),
    SECOND: ("face_logits", "offsets", "landmarks"),
}
_OF_CROPS = ("rnet", "onet", SECOND)
_ANY_SIZE = ((1, 64, 96), (2, 97, 131), (3, 160, 33))  # batch, height, width of the images to check with
_CROPS = (1, 2, 5)  # batch sizes of crops; their side is the net's
LARGEST, MOST = 8192, 1024  # sides and batch of a file with one shape: it is computed before it is handed over


class _Whole(nn.Module):
    """A net with its scaling in front, whose outputs are tensors in the order of `names`.

    threshold  minimum score of a face by default, for the metadata.
    """

    mean: Tensor

    def __init__(self, name: str, net: nn.Module, threshold: float) -> None:
        super().__init__()
        self.net, self.threshold = net, threshold
        self.scaling: Scaling = DETECTORS[name].scaling if name in DETECTORS else SCALING
        mean, divisor = self.scaling
        names = DETECTORS[name].decoder.names if name in DETECTORS else _NAMES[name]
        trained = getattr(net, "has_landmarks", True)
        self.names = tuple(each for each in names if each != "landmarks" or trained)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(-1, 1, 1))
        self.factor = 1 / divisor

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        output = self.net((images - self.mean) * self.factor)
        named = output if isinstance(output, dict) else output._asdict()
        return tuple(named[name] for name in self.names)

    def rows(self, output: str) -> str:
        """Name of the axis of an output that has a row for each prediction."""
        return "anchors"

    def prepared(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """The input, of images (N, 3, H, W) from 0 to 255."""
        return images

    def images(self, shape: Shape) -> Tensor:
        """Random input."""
        batch, height, width = shape
        chance = torch.Generator().manual_seed(0)
        return torch.rand(batch, 3, height, width, dtype=torch.float32, generator=chance) * 255


class _Deployed(_Whole):
    """The same as programs of others expect it."""

    def __init__(self, name: str, net: nn.Module, threshold: float) -> None:
        super().__init__(name, net, threshold)
        with torch.inference_mode():
            self.names = tuple(net.deployed(torch.zeros(1, 3, 32, 32, dtype=torch.float32)))  # type: ignore[operator]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.net.deployed(images).values())  # type: ignore[operator]

    def rows(self, output: str) -> str:
        return f"anchors_{output.partition('_')[2]}"  # each level has its own number of them

    def prepared(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return ((torch.from_numpy(images) - self.mean) * self.factor).numpy()

    def images(self, shape: Shape) -> Tensor:
        return (super().images(shape) - self.mean) * self.factor


@plain_torch()
def export_onnx(
    name: str,
    path: Path,
    models: Path | None = None,
    shape: tuple[int, int] | None = None,
    batch: int = 1,
    form: str = "onnx",
    int8: Path | None = None,
) -> Exported:
    """Write the net `name` with the weights in the folder `models` (None: the packaged ones) to `path`.

    name   "pnet", "rnet", "onet", "cnet", or one of `detectors.DETECTORS`. PNet and the detectors take images of any
           size, the others crops of a fixed size; the batch size is free.
    shape  height and width of the images, if all are alike: then the graph is simplified, and takes `batch` of them.
    form   "onnx", or "openvino": the IR that OpenVINO makes of the ONNX file.
    int8   folder with photos, for a detector in int8: see `onnx_graph.int8`.

    Raises SettingsError for another name, and a shape that the net does not take; CheckpointError if the weights are
    missing or do not fit; MtcnnError if a package of the extra `export` is missing, the file cannot be written, or its
    outputs differ from torch's.
    """
    if name not in SIDES and name not in DETECTORS:
        raise SettingsError(f"net is {name!r}; expected one of {', '.join([*SIDES, *DETECTORS])}")
    check_format(form)
    path_of_weights = weights_path(packaged_weights() if models is None else models, name)
    net = load_net(path_of_weights, name) if name in SIDES else load_module(path_of_weights, name)
    threshold = default_threshold(path_of_weights, name)
    whole = (_Deployed if hasattr(net, "deployed") else _Whole)(name, _resolved(net), threshold).eval()
    shapes = _shapes(name) if shape is None else (_fixed(name, shape, batch),)
    with TemporaryDirectory() as folder:
        draft = Path(folder) / "net.onnx"
        _write(whole, draft, name, shapes[0], shape is not None)
        content = draft.read_bytes()
    difference = _difference(whole, opened(content, form), shapes)
    if not difference < TOLERANCE:
        raise MtcnnError(
            f"{name} exported to {TITLES[form]} differs from torch by {difference:.2g}; expected less than "
            f"{TOLERANCE}: another version of torch, onnxruntime or openvino may help"
        )
    agrees = None
    if int8 is not None:
        content, agrees = _in_int8(whole, content, name, CalibrationPhotos(int8, DETECTORS[name], shape), form)
    stored(content, path, form)
    return Exported(path, whole.names, shapes, difference, agreement=agrees)


def _in_int8(whole: _Whole, content: bytes, name: str, photos: CalibrationPhotos, form: str) -> tuple[bytes, Agreement]:
    made = quantised(content, photos, whole.prepared)
    finds = [
        SingleStage(runtime_of(part, form), DETECTORS[name], whole.threshold, coarse=False) for part in (content, made)
    ]
    return made, agreement(photos, *finds)


@plain_torch()
def write_net(name: str, path: Path, models: Path | None = None) -> None:
    """Write a single-stage detector as `export_onnx` does, without a comparison and always with the outputs of its
    decoder."""
    path_of_weights = weights_path(packaged_weights() if models is None else models, name)
    whole = _Whole(name, load_module(path_of_weights, name), default_threshold(path_of_weights, name)).eval()
    _write(whole, path, name, _shapes(name)[0], fixed=False)


def _resolved(net: nn.Module) -> nn.Module:
    """The net with each PooledPReLU replaced by two layers in the order its slopes require; a graph cannot branch."""
    for parent in list(net.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, PooledPReLU):
                rises = bool((layer.prelu.weight >= 0).all())
                order = (layer.pool, layer.prelu) if rises else (layer.prelu, layer.pool)
                setattr(parent, name, nn.Sequential(*order))
    return net


def _shapes(name: str) -> tuple[Shape, ...]:
    if name in _OF_CROPS:
        return tuple((batch, SIDES[name], SIDES[name]) for batch in _CROPS)
    return _ANY_SIZE


def _fixed(name: str, shape: tuple[int, int], batch: int) -> Shape:
    """The one shape of a file. Raises SettingsError where the net takes no such images."""
    side = SIDES.get(name, 0)
    pair = isinstance(shape, Sequence) and len(shape) == 2 and all(map(Range(min=1, whole=True).holds, shape))
    require(pair, "shape", shape, "a height and a width in pixels")
    if name in _OF_CROPS:
        require(tuple(shape) == (side, side), "shape", shape, f"{side} {side} for {name}")
    multiple = DETECTORS[name].multiple if name in DETECTORS else 1
    good = all(length >= side and length % multiple == 0 and 0 < length <= LARGEST for length in shape)
    require(good, "shape", shape, f"multiples of {multiple} for {name}, from {max(side, multiple)} to {LARGEST}")
    check("batch", batch, Range(min=1, max=MOST, whole=True))
    return int(batch), *ImageSize(*map(int, shape))


def _write(whole: _Whole, path: Path, name: str, shape: Shape, fixed: bool) -> None:
    sizes = {0: "batch"} if name in _OF_CROPS else {0: "batch", 2: "height", 3: "width"}
    axes = None if fixed else {"images": sizes, **_output_axes(whole, name, shape)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation of this exporter, see docs/decisions.md
        torch.onnx.export(
            whole,
            (whole.images(shape),),
            str(path),
            input_names=["images"],
            output_names=list(whole.names),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    if fixed:
        _simplify(path)
    _describe(whole, path, name)


def _simplify(path: Path) -> None:
    """Replace all that depends on the shape alone by its value. The result has standard operators only."""
    onnxruntime = needed("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def _output_axes(whole: _Whole, name: str, shape: Shape) -> dict[str, dict[int, str]]:
    """Names of the axes whose length depends on the input."""
    if name in SIDES:
        return {output: {0: "batch"} for output in whole.names}
    with torch.inference_mode():
        parts = whole(whole.images(shape))
    # Rows (N, A), (N, A, values), or maps (N, channels, h, w).
    maps = {0: "batch", 2: "rows", 3: "columns"}
    pairs = zip(whole.names, parts, strict=True)
    return {output: maps if part.ndim == 4 else {0: "batch", 1: whole.rows(output)} for output, part in pairs}


def _describe(whole: _Whole, path: Path, name: str) -> None:
    """Store what decoding needs in the metadata."""
    onnx = needed("onnx")
    model = onnx.load(str(path))
    facts = {"net": name, "images": "float32 RGB, 0 to 255"}
    if isinstance(whole, _Deployed):
        mean, divisor = whole.scaling
        facts |= {"images": f"float32 RGB, (x - {mean}) / {divisor}", "scaling": json.dumps(whole.scaling)}
    if name in _OF_CROPS:
        facts["scoring"] = json.dumps(asdict(scoring_of(whole.net)))
    if name in DETECTORS:
        facts |= {key: json.dumps(value) for key, value in DETECTORS[name].decoder.describe().items()}
    facts["threshold"] = json.dumps(whole.threshold)
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, str(path))


def _difference(whole: _Whole, computes: Computes, shapes: Sequence[Shape]) -> float:
    """The largest difference between torch and the file, as a share of the output's largest value."""
    found = []
    for shape in shapes:
        images = whole.images(shape)
        with torch.inference_mode():
            wanted = whole(images)
        for ours, theirs in zip(computes({"images": images.numpy()}), wanted, strict=True):
            if ours.shape != tuple(theirs.shape):
                return float("inf")
            found.append(float((torch.from_numpy(ours) - theirs).abs().max() / theirs.abs().max()))
    return float(np.max(found))  # unlike max(), propagates NaN
