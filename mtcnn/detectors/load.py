"""Builds a net, or a working detector, from an entry of DETECTORS and its weights."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checkpoint import Checkpoint, packaged_weights, read, read_for, weights_path
from ..devices import check_device, plain_torch
from ..errors import CheckpointError, LibraryError, SettingsError
from ..libraries import FULL, has_torch
from ..runtimes import BoxesAlone
from ..settings import require
from . import DETECTORS, Spec
from .decoders import SsdCodes
from .single_stage import SingleStage

if TYPE_CHECKING:
    from torch import nn

    from ..runtimes import Runtime

__all__ = ["build", "load_detector", "load_module", "load_runtime", "load_trunk", "model_of", "shapes_only", "typed"]

MAX_NUMBER = 10_000  # limit of a setting of [model]: an untrusted file may ask for any number of layers or channels
MAX_LENGTH = 1000
ENGINES = ("torch", "onnx", "openvino")
PRECISIONS = ("float32", "bf16")

# Detectors whose old files lack [model]: their width is that of the first kernel.
BEFORE_MODEL = ("retinaface", "retinaface-r50", "ssh", "s3fd")


def named(name: str) -> Spec:
    """The entry of DETECTORS. Raises SettingsError for an unknown name."""
    if name not in DETECTORS:
        raise SettingsError(f"detector is {name!r}; expected one of {', '.join(DETECTORS)}")
    return DETECTORS[name]


def model_of(name: str, model: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All settings of [model] for a detector: defaults of its class, those of its entry, and those given.

    Raises SettingsError for a setting that the net does not have, or a value of another type than its default.
    """
    spec = named(name)
    defaults = {key: each.default for key, each in inspect.signature(_class(spec)).parameters.items()}
    settings = {**defaults, **spec.model}
    for key, value in (model or {}).items():
        if key not in defaults:
            raise SettingsError(f"model.{key} is not a setting of {name}; expected one of {', '.join(defaults)}")
        settings[key] = typed(value, defaults[key], key)
    return settings


def typed(value: Any, default: Any, key: str) -> Any:
    """A setting of [model], of the type of its default. Raises SettingsError for another, and for wild numbers."""
    values = value if isinstance(value, tuple | list) else [value]
    numbers = [number for number in values if isinstance(number, int | float)]
    if len(values) > MAX_LENGTH or not all(abs(number) <= MAX_NUMBER for number in numbers):  # NaN fails too
        expected = f"{MAX_LENGTH} numbers or fewer, up to {MAX_NUMBER}"
        raise SettingsError(f"model.{key} is {repr(value)[:40]}; expected {expected}")
    if isinstance(default, tuple | list) and isinstance(value, tuple | list):
        return type(default)(value)
    if type(default) is float and type(value) is int:
        return float(value)
    if default is not None and type(value) is not type(default):
        raise SettingsError(f"model.{key} is {value!r}; expected a value like {default!r}")
    return value


def _class(spec: Spec) -> Callable[..., nn.Module]:
    module, name = spec.build.split(":")
    return getattr(import_module(f".{module}", __package__), name)  # type: ignore[no-any-return]


def build(name: str, model: Mapping[str, Any] | None = None) -> nn.Module:
    """The net of a detector with random weights.

    model  settings of [model]; missing ones are as published.

    Raises SettingsError for an unknown name, and for settings from which no net can be built.
    """
    settings = model_of(name, model)
    _check_anchors(name, settings)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # rejected below
            net = _class(named(name))(**settings)
    except (ValueError, RuntimeError, TypeError, ArithmeticError, LookupError, MemoryError) as error:
        raise SettingsError(f"model is {settings}, which makes no {name}: {error}") from error
    if not all(values.numel() for values in net.parameters()):
        raise SettingsError(f"model is {settings}, which has a layer without channels; expected larger numbers")
    return net


def _check_anchors(name: str, settings: Mapping[str, Any]) -> None:
    """Raise SettingsError unless the net has the anchors of its decoder, if they are a setting of the net."""
    decoder = named(name).decoder
    if "anchors" in settings and isinstance(decoder, SsdCodes):
        wanted = tuple(len(level.sizes) for level in decoder.layout)
        require(tuple(settings["anchors"]) == wanted, "model.anchors", settings["anchors"], f"{wanted} for {name}")


@contextmanager
def shapes_only() -> Iterator[None]:
    """Nets that are built here have no numbers: an untrusted file may describe one of any size.

    They are not initialised either: for a net without numbers, `torch.nn.init` imports torch's compiler, for a second.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Uninitialised(TorchFunctionMode):
        def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = kwargs or {}
            if getattr(function, "__module__", None) == "torch.nn.init":
                return args[0] if args else given["tensor"]
            return function(*args, **given)

    with torch.device("meta"), Uninitialised():
        yield


@plain_torch()
def load_module(path: Path, name: str, device: str = "cpu") -> nn.Module:
    """The net of the detector `name` with the weights at `path`, in evaluation mode, for RGB input with the scaling of
    its entry. Its attribute `has_landmarks` is False if it has none, or they were not trained.

    Raises CheckpointError if the file is damaged, holds another net, or expects another scaling; MtcnnError for a
    device that torch does not have.
    """
    check_device(device)
    import torch

    found = read_for(path, name, named(name).scaling)
    try:
        model = _guessed(name, found) if found.model is None else found.model
        with shapes_only():
            _compare(build(name, model).state_dict(), found.state)
        module = build(name, model).float()  # whatever torch's default dtype is
        module.load_state_dict(found.tensors())
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit {name}: {' '.join(str(error).split())[:160]}") from error
    module.has_landmarks = found.has_landmarks and getattr(module, "has_landmarks", True)  # type: ignore[assignment]
    return module.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]


def _compare(wanted: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Raise ValueError if names or shapes differ."""
    for key in sorted(wanted.keys() ^ state.keys()):
        raise ValueError(f"{'lacks' if key in wanted else 'unexpected'} {key}; expected {len(wanted)} arrays")
    for key, value in wanted.items():
        if tuple(value.shape) != state[key].shape:
            raise ValueError(f"size mismatch: {key} is {state[key].shape}; expected {tuple(value.shape)}")


def _guessed(name: str, found: Checkpoint) -> dict[str, Any]:
    """[model] of an old file that does not store it."""

    if name not in BEFORE_MODEL:
        raise ValueError("the file lacks the settings of its net; train or import it again")
    with shapes_only():
        first, kernel = next(iter(build(name).state_dict().items()))
    if first not in found.state or found.state[first].ndim != kernel.ndim:
        raise ValueError(f"lacks {first}; expected the parameters of {name}")
    return {"width": len(found.state[first]) / len(kernel)}


def load_trunk(net: nn.Module, path: Path) -> None:
    """Load the weights at `path`, as `mtcnn weights import` writes them, into the trunk of a single-stage detector.

    Raises CheckpointError if the file is damaged, or holds another trunk or another width.
    """
    from .trunks import TRUNKS

    found = read(path)
    trunk: nn.Module = net.trunk  # type: ignore[assignment]
    if found.net not in TRUNKS:
        raise CheckpointError(f"{path} holds {found.net}; expected one of {', '.join(TRUNKS)}")
    try:
        trunk.load_state_dict(found.tensors())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{path} does not fit the trunk {type(trunk).__name__}: {reason}") from error


def load_detector(
    name: str,
    models: Path | None = None,
    threshold: float = 0.5,
    device: str = "cpu",
    engine: str | None = None,
    max_side: float | None = None,
    coarse: bool = True,
    precision: str | None = None,
    enlarge: float = 1.0,
) -> SingleStage:
    """The single-stage detector `name` with its weights in the folder `models`, ready to find faces.

    models     None: the weights that ship with the project.
    threshold  minimum score of a face, 0 to 1.        device  of torch, such as "cpu" or "cuda".
    engine     "torch"; "onnx" or "openvino": onnxruntime or OpenVINO on the CPU, for which the net is exported first,
               in a second or two. None: compiled code on the CPU where a plan can express the net, see
               `runtimes.plans`, which is fastest; otherwise torch, or NumPy where that is missing.
    max_side, coarse, enlarge  the sizes at which an image is processed, see `SingleStage`.
    precision  "float32", the default; "bf16": convolutions multiply in bfloat16 and sum in float32, by compiled code on
               processors that have AMX, or bfloat16 in AVX-512.

    Raises SettingsError for an invalid name, threshold or engine, CheckpointError if the weights are missing or do not
    fit, MtcnnError if a package that the engine needs is missing, or the processor has no bfloat16.
    """
    spec = named(name)
    if engine not in (None, *ENGINES) or (engine in ("onnx", "openvino") and device != "cpu"):
        raise SettingsError(f"engine is {engine!r} on {device}; expected torch, or onnx or openvino on cpu")
    require(precision in (None, *PRECISIONS), "precision", precision, " or ".join(PRECISIONS))
    folder = packaged_weights() if models is None else Path(models)
    runtime: Runtime
    if precision == "bf16":
        if engine is not None or device != "cpu":
            given = f"engine {engine!r} on {device}"
            raise SettingsError(f"precision is 'bf16' with {given}; expected compiled code, on cpu")
        runtime = _in_bf16(weights_path(folder, name), name)
    elif engine == "onnx":
        runtime = _exported(name, folder)
    elif engine == "openvino":
        runtime = _in_openvino(name, folder)
    else:
        runtime = load_runtime(weights_path(folder, name), name, device, engine)
    return SingleStage(runtime, spec, threshold, max_side=max_side, coarse=coarse, enlarge=enlarge)


def load_runtime(path: Path, name: str, device: str = "cpu", engine: str | None = None) -> Runtime:
    """The runtime of the detector `name` with the weights at `path`: compiled code, torch or NumPy, as in
    `load_detector`.

    Its outputs lack landmarks if they were not trained.
    """
    if engine is not None or device != "cpu":
        return _in_torch(path, name, device)
    return _compiled(path, name) or (_in_torch(path, name, device) if has_torch() else _in_numpy(path, name))


def _compiled(path: Path, name: str) -> Runtime | None:
    """Compiled code for a checkpoint, or None if no plan expresses its net. torch is imported only by the first process
    that runs a net which does not ship with the project."""
    from ..engine.kernel_cache import COMPILES

    spec = DETECTORS[name]
    return _planned(name, read_for(path, name, spec.scaling), spec) if COMPILES else None


def _planned(name: str, found: Checkpoint, spec: Spec, bf16: bool = False) -> Runtime | None:
    from ..runtimes.plans import planned_runtime

    planned = planned_runtime(name, found, spec, bf16)
    return planned if planned is None or planned.has_landmarks else BoxesAlone(planned)


def _in_bf16(path: Path, name: str) -> Runtime:
    from ..engine.bf16 import why_not

    if (reason := why_not()) is not None:
        raise LibraryError(f"precision is 'bf16' and {reason}; expected 'float32'")
    spec = DETECTORS[name]
    runtime = _planned(name, read_for(path, name, spec.scaling), spec, bf16=True)
    if runtime is None:
        raise SettingsError(f"precision is 'bf16' for {name}, which no plan expresses; expected 'float32'")
    return runtime


def _in_numpy(path: Path, name: str) -> Runtime:
    from ..runtimes.plain_graph import PlainGraph, graph_key, read_graph

    spec = DETECTORS[name]
    found = read_for(path, name, spec.scaling)
    graph = read_graph(path, graph_key(name, {**spec.model, **(found.model or {})}))
    if graph is None:
        beside = "graph.json beside its weights, which `mtcnn weights import` and `mtcnn train` write"
        raise LibraryError(f"no package torch; without it {name} needs {beside}; or {FULL}", name="torch")
    try:
        net = PlainGraph(graph[0], found.state, spec.scaling, graph[1] and found.has_landmarks)
        net(np.zeros((spec.multiple, spec.multiple, 3), np.uint8))
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
        raise CheckpointError(f"{path} does not fit the graph.json beside it; import it again") from None
    return net if net.has_landmarks else BoxesAlone(net)


def _in_torch(path: Path, name: str, device: str) -> Runtime:
    from ..runtimes.torch import TorchRuntime, fold_norms

    net = load_module(path, name, device)
    runtime = TorchRuntime(fold_norms(net), DETECTORS[name].scaling, device)
    return runtime if net.has_landmarks else BoxesAlone(runtime)


def _exported(name: str, models: Path) -> Runtime:
    from tempfile import TemporaryDirectory

    from ..onnx_export import export_onnx
    from ..runtimes.onnx import OnnxRuntime

    with TemporaryDirectory() as folder:
        return OnnxRuntime(export_onnx(name, Path(folder) / f"{name}.onnx", models).path)


def _in_openvino(name: str, models: Path) -> Runtime:
    from tempfile import TemporaryDirectory

    from ..runtimes.openvino import OpenVinoRuntime, openvino_package

    openvino_package()  # before the export, which takes a while
    from ..onnx_export import write_net

    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        write_net(name, path, models)
        return OpenVinoRuntime(path)
