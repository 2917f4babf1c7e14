"""Runtimes of PNet, RNet and ONet: compiled code on a CPU, torch on other devices and for similar modules; OpenVINO for
RNet and ONet, if asked for.

Both agree within float32 rounding; `tests/test_engine.py` compares them. torch is imported where it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast
from weakref import WeakKeyDictionary

from numpy.typing import NDArray

from ..engine.kernel_cache import COMPILES
from ..engine.pnet import Cells, FastPNet
from ..engine.refine import FastRefiner, Refined
from ..weights import SECOND, Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Cells", "CropRunner", "MapRunner", "Net", "Refined", "crop_runner", "map_runner"]

Array = NDArray[Any]
Net: TypeAlias = "Weights | nn.Module"


class MapRunner(Protocol):
    """Stage 1 on a level of the pyramid."""

    def cells(self, level: Array, min_logit: float, first: int, last: int) -> Cells:
        """The cells of level (H, W, 3), uint8 or float32 0 to 255, with a logit of at least `min_logit`, by rows.

        first, last  rows of the map to look at.
        """


class CropRunner(Protocol):
    """Stage 2 or 3 on crops (N, side, side, 3), uint8 or float32 from 0 to 255."""

    def __call__(self, crops: Array) -> Refined: ...


class _PackedNets:
    """Compiled forms of nets, each packed once, and for a module again when its weights have changed."""

    def __init__(self) -> None:
        self.nets: WeakKeyDictionary[Net, tuple[list[Tensor], list[int], Any]] = WeakKeyDictionary()

    def of(self, net: Net, make: Callable[[Weights], Any]) -> Any:
        found = self.nets.get(net)
        if found is None or found[1] != _state(found[0]):
            watched: list[Tensor] = [] if isinstance(net, Weights) else list(net.parameters())
            numbers = net if isinstance(net, Weights) else _nets().weights_of(net)
            self.nets[net] = found = (watched, _state(watched), make(numbers))
        return found[2]


def _state(watched: Sequence[Tensor]) -> list[int]:
    """What changes when weights are moved or written to."""
    return [number for tensor in watched for number in (tensor.data_ptr(), tensor._version)]


def _nets() -> ModuleType:
    """`nets`, and with it torch, which whoever has a module has loaded already."""
    return import_module("..nets", __package__)


def _compiled(net: Net, device: str, names: Container[str]) -> bool:
    """Whether compiled code can run this net."""
    name = net.net if isinstance(net, Weights) else _nets().name_of(net)
    if isinstance(net, Weights) and device != "cpu":
        raise ValueError(f"device is {device!r}; expected cpu for Weights: make a module of them, nets.module_of")
    return device == "cpu" and name in names


def _plain() -> ModuleType:
    return import_module(".plain", __package__)


_packed, _in_openvino = _PackedNets(), _PackedNets()


def map_runner(net: Net, device: str) -> MapRunner:
    """The runtime of PNet, or of a module with its cells and stride."""
    if _compiled(net, device, ("pnet",)):
        return _packed.of(net, FastPNet if COMPILES else _plain().PlainPNet)  # type: ignore[no-any-return]
    from .torch import TorchPNet

    return TorchPNet(cast("nn.Module", net), device)


def crop_runner(net: Net, device: str, engine: str | None = None) -> CropRunner:
    """The runtime of RNet, ONet, CNet or a module with their outputs. engine  "openvino", or None."""
    if _compiled(net, device, ("rnet", "onet", SECOND)):
        if engine == "openvino":
            from .openvino import OpenVinoRefiner

            return _in_openvino.of(net, OpenVinoRefiner)  # type: ignore[no-any-return]
        return _packed.of(net, FastRefiner if COMPILES else _plain().PlainRefiner)  # type: ignore[no-any-return]
    from .torch import TorchRefiner

    return TorchRefiner(cast("nn.Module", net), device)
