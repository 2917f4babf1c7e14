"""Single-stage detectors, which can stand in for the cascade's first stage or detect alone.

    from mtcnn.detectors import proposer_named
    faces = proposer_named("retinaface", Path("models"))(image)

A plain dict of names; a net's code is loaded when it is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from ..runtimes import Runtime
    from ..types import Proposer

__all__ = ["PROPOSERS", "build_like", "proposer_named"]


def _retinaface(width: float = 1.0) -> nn.Module:
    from .retinaface import RetinaFace
    from .trunks.mobilenet import MobileNet

    return RetinaFace(MobileNet(width), round(64 * width))


def _retinaface_r50(width: float = 1.0) -> nn.Module:
    from .retinaface import RetinaFace
    from .trunks.resnet import ResNet

    return RetinaFace(ResNet(width), round(256 * width))


def _ssh(width: float = 1.0) -> nn.Module:
    from .ssh import SSH

    return SSH(width)


def _s3fd(width: float = 1.0) -> nn.Module:
    from .s3fd import S3FD

    return S3FD(width)


PROPOSERS: dict[str, Callable[..., nn.Module]] = {
    "retinaface": _retinaface,
    "retinaface-r50": _retinaface_r50,
    "ssh": _ssh,
    "s3fd": _s3fd,
}
"""Name -> what builds the net with random weights. `width` multiplies its numbers of channels; 1 is the published net.

Each net has a `layout` (see `anchors`) and a `scaling` (see `nets.to_input`), and returns a `blocks.ProposerOutput`.
"""


# IoU above which the lower of two boxes goes, as the authors' test programs have it.
_OVERLAPS = {"retinaface": 0.4, "retinaface-r50": 0.4, "ssh": 0.3, "s3fd": 0.3}


def build_like(name: str, state: Mapping[str, Any]) -> nn.Module:
    """The net `name` with random weights, as wide as the one whose parameters, tensors or arrays, `state` holds.

    Raises ValueError for a name that is not in PROPOSERS, or parameters that do not begin as that net's do.
    """
    import torch

    if name not in PROPOSERS:
        raise ValueError(f"holds a net {name!r}; expected pnet, rnet, onet, {', '.join(PROPOSERS)}")
    with torch.device("meta"):  # shapes alone
        first, kernel = next(iter(PROPOSERS[name]().state_dict().items()))
    if first not in state:
        raise ValueError(f"lacks {first}; expected the parameters of {name}")
    return PROPOSERS[name](width=len(state[first]) / len(kernel))


def proposer_named(
    name: str, models: Path | None = None, threshold: float = 0.5, device: str = "cpu", engine: str | None = None
) -> Proposer:
    """The single-stage detector `name` with the weights in the folder `models`, models-12/weights-<name>.pt.

    models     None takes the weights that ship with the project.
    threshold  least score of a face, 0 to 1.        device  where torch computes, such as "cpu" or "cuda".
    engine     "torch", or "onnx": onnxruntime on the CPU; the export takes a second or two. None takes what is compiled
               here for `retinaface` on the CPU, the fastest of all, and torch for the others.

    Raises ValueError for another name, threshold or engine, CheckpointError when the weights are missing or do not fit,
    MtcnnError without the packages that an engine needs.
    """
    from ..checkpoint import packaged_weights, weights_path
    from .single_stage import AnchorProposer

    if name not in PROPOSERS:
        raise ValueError(f"stage 1 is {name!r}; expected one of {', '.join(PROPOSERS)}")
    if engine not in (None, "torch", "onnx") or (engine == "onnx" and device != "cpu"):
        raise ValueError(f"engine is {engine!r} on {device}; expected torch, or onnx on cpu")
    folder = packaged_weights() if models is None else Path(models)
    if engine == "onnx":
        return AnchorProposer(_exported(name, folder), threshold, _OVERLAPS[name])
    path = weights_path(folder, name)
    compiled = _compiled(path, name) if engine is None and device == "cpu" else None
    return AnchorProposer(compiled or _in_torch(path, name, device), threshold, _OVERLAPS[name])


def _compiled(path: Path, name: str) -> Runtime | None:
    """Compiled code for a checkpoint, or None where there is none for such a net. torch is not imported."""
    from ..checkpoint import load_state
    from ..runtimes import CompiledRuntime
    from ..weights import MEAN_COLOUR

    return CompiledRuntime.of(load_state(path, name, MEAN_COLOUR)) if name == "retinaface" else None


def _in_torch(path: Path, name: str, device: str) -> Runtime:
    from ..checkpoint import load_net
    from ..runtimes.torch import TorchRuntime, fold_norms

    return TorchRuntime(fold_norms(load_net(path, name, device)), device)


def _exported(name: str, models: Path) -> Runtime:
    from tempfile import TemporaryDirectory

    from ..export import export_onnx
    from ..runtimes import OnnxRuntime

    with TemporaryDirectory() as folder:
        return OnnxRuntime(export_onnx(name, Path(folder) / f"{name}.onnx", models).path)
