"""The base of both packages' methods: a detector with changeable settings, whose nets are modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..cascade import Detector
from ..checkpoint import packaged_weights, read, weights_path
from ..devices import check_device, device_name
from ..errors import CheckpointError, SettingsError
from ..nets import module_of
from ..proposer import PNetProposer
from ..refiner import NetRefiner
from ..runtimes.cascade import Net
from ..settings import as_path, is_one_of, require
from ..stages import StageBase, stages_of
from ..types import Faces
from ..weights import SIZES, Weights
from .modules import CascadeNet, ONet, PNet, RNet
from .watch import Watch, device_of, net_of

__all__ = ["FilePath", "Finder", "Stages", "one_of"]

FilePath = str | PathLike[str]
Stages = Literal["face_and_landmarks_detection", "face_detection_only"] | Sequence[StageBase | type[StageBase]]

KINDS: Mapping[str, type[CascadeNet]] = {"pnet": PNet, "rnet": RNet, "onet": ONet}


class _SecondNet(NamedTuple):
    """The net of ONet's second pass, and the ONet whose errors it has learned from."""

    onet: ONet
    weights: Weights

    @classmethod
    def of(cls, stage: PNetProposer | NetRefiner) -> _SecondNet | None:
        """That of the last stage as loaded, if it has one."""
        second = getattr(stage, "second", None)
        return None if second is None else cls(ONet.of(cast(Weights, stage.net)), second)

    def behind(self, module: nn.Module) -> Net | None:
        """The net for a module in ONet's place, on its device; None behind another ONet. As for `scoring`, the same one
        may be fine-tuned, compiled or quantised."""
        known = next((part for part in module.modules() if isinstance(part, CascadeNet)), module)
        if not self.onet.resembles(dict(known.named_parameters())):
            return None
        place = device_of(module)
        return self.weights if place == "cpu" else module_of(self.weights).to(place)


class Finder(nn.Module):
    """A detector whose settings are attributes, read at each call. `MTCNN` documents them.

    pnet, rnet, onet  the nets in facenet-pytorch's layout. When one has changed, the detector is updated from it.
    """

    pnet: Any  # a CascadeNet until a program puts another module there
    rnet: Any
    onet: Any
    _second: _SecondNet | None = None

    def __init__(
        self,
        min_face_size: float,
        thresholds: Sequence[float] | None,
        factor: float,
        stages: Stages,
        device: str | torch.device | None,
        weights: FilePath | Iterable[FilePath] | None,
        models: FilePath | None,
    ) -> None:
        super().__init__()
        if weights is not None and models is not None:
            raise SettingsError("weights and models are both given; expected one of them")
        self.min_face_size, self.factor, self.stages = min_face_size, factor, stages_of(stages)
        given: Any = (0.6, 0.7, 0.7) if thresholds is None else thresholds
        several = isinstance(given, Iterable) and getattr(given, "ndim", 1) > 0
        self.thresholds = list(given) if several else [given]  # `Detector` checks them
        self.own_thresholds = thresholds is not None
        place = _device_name(device)
        check_device(place)
        self._watched: dict[str, Watch] = {}
        with TemporaryDirectory() as imported:
            given = packaged_weights() if models is None else models
            folder = given if weights is None else _imported(weights, Path(imported))
            self._detector = Detector(folder, min_face_size, factor, self.thresholds)
            self._take_modules(_adopted(self._detector, Path(folder)))
            self._second = _SecondNet.of(self._placed()[-1])
        for stage in self.stages:
            if stage.weights is not None:
                _fill(getattr(self, stage.net), stage.weights)
        if place != "cpu":
            self.to(place)
        self.eval()

    def _take_modules(self, arithmetic: str) -> None:
        """Create modules from the detector's nets, which keep running until the modules change."""
        for name, stage in zip(SIZES, self._placed(), strict=True):
            setattr(self, name, KINDS[name].of(cast(Weights, stage.net), arithmetic))
            self._watched[name] = Watch(getattr(self, name))

    def _placed(self) -> list[PNetProposer | NetRefiner]:
        return cast(list[PNetProposer | NetRefiner], [self._detector.proposer, *self._detector.refiners])

    @property
    def device(self) -> torch.device:
        """The device of the nets."""
        return torch.device(device_of(self.pnet))

    @device.setter
    def device(self, device: str | torch.device) -> None:
        self.to(device)

    def to(self, *place: Any, **options: Any) -> Self:
        """Move the nets, as `nn.Module.to` does. TensorFlow's device names work too."""
        place = tuple(_device_name(word) if isinstance(word, str) else word for word in place)
        if isinstance(options.get("device"), str):
            options["device"] = _device_name(options["device"])
        for word in (*place, options.get("device")):
            if isinstance(word, str | torch.device):
                check_device(str(word))
        return super().to(*place, **options)

    @property
    def stages(self) -> list[StageBase]:
        """The stages that run, as in ipazc's mtcnn 1. May be set to whatever the constructor accepts."""
        return self._stages

    @stages.setter
    def stages(self, stages: Stages) -> None:
        self._stages = stages_of(stages)

    def get_stage(self, stage_id: int | None = None, stage_name: str | None = None) -> StageBase | None:
        """The stage with this id or name, or None."""
        return next((stage for stage in self.stages if stage.id == stage_id or stage.name == stage_name), None)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_watched": {}}  # refers to this process's memory

    def _current(self) -> Detector:
        """The detector, updated from the modules that have changed."""
        for at, name in enumerate(SIZES):
            module = getattr(self, name)
            watch = self._watched.get(name)
            if watch is None or not watch.holds(module):
                new = Watch(module)  # before the weights are read, so that a concurrent change is noticed next time
                changed = _stage_of(name, module, None if watch is None else watch.module)
                if at == 0:
                    self._detector.proposer = cast(PNetProposer, changed)
                else:
                    self._detector.refiners[at - 1] = cast(NetRefiner, changed)
                if name == "onet" and self._second is not None:
                    cast(NetRefiner, changed).second = self._second.behind(module)
                self._watched[name] = new
        return self._detector

    def find(
        self,
        image: NDArray[np.uint8],
        min_face: float | None = None,
        factor: float | None = None,
        thresholds: Sequence[float] | None = None,
        fit: bool = True,
    ) -> Faces:
        """Faces of image (H, W, 3) uint8 RGB by falling score. Settings given here override the attributes.

        fit  clip boxes to the image, and drop those outside.
        """
        first, *rest = self.thresholds if thresholds is None else thresholds
        detector = copy(self._current())
        detector.proposer = replace(
            cast(PNetProposer, detector.proposer),
            min_face=self.min_face_size if min_face is None else min_face,
            scale_factor=self.factor if factor is None else factor,
            threshold=first,
        )
        refiners = cast(list[NetRefiner], detector.refiners)[: len(self.stages) - 1]
        detector.refiners = [replace(stage, threshold=value) for stage, value in zip(refiners, rest, strict=False)]
        if fit:
            return detector.detect(image)
        faces = detector.proposer(image)
        for refine in detector.refiners:
            faces = refine(image, faces)
        return faces.sorted()


def one_of(name: str, value: Any, known: Iterable[str]) -> None:
    """Raise SettingsError unless `value` of the setting `name` is among the known ones."""
    names = list(known)
    require(is_one_of(value, names), name, value, f"one of {', '.join(names)}")


def _device_name(device: str | torch.device | None) -> str:
    """As `devices.device_name`, for a device that torch knows; "" is the CPU."""
    name = device_name(None if is_one_of(device, [""]) else device)
    if name == "cpu":
        return name
    try:
        return str(torch.device(name))
    except RuntimeError:
        raise SettingsError(f"device is {device!r}; expected a name such as cpu, cuda:0, CPU:0 or GPU:0") from None


def _stage_of(name: str, module: nn.Module, before: nn.Module | None) -> PNetProposer | NetRefiner:
    """The detector's stage that runs a module. Its thresholds are set at each call."""
    net, arithmetic = net_of(module, before)
    place = device_of(module)
    plain: PNetProposer | NetRefiner
    if name == "pnet":
        plain = PNetProposer(net, device=place)
    else:
        plain = NetRefiner(net, name, device=place)
    if not arithmetic:
        return plain
    from ..importers.arithmetic import ARITHMETICS

    if arithmetic not in ARITHMETICS:
        raise CheckpointError(f"{name} needs the arithmetic of {arithmetic}; expected {', '.join(ARITHMETICS)}")
    make: Any = ARITHMETICS[arithmetic].proposer if name == "pnet" else ARITHMETICS[arithmetic].refiner
    return cast(PNetProposer | NetRefiner, make(**vars(plain)))


def _adopted(detector: Detector, folder: Path) -> str:
    """Make the detector use the arithmetic that the weights in a folder need, and return its name."""
    if not read(weights_path(folder, "pnet")).recipe.get("imported", {}).get("arithmetic"):
        return ""
    from ..importers.arithmetic import adopt_arithmetic

    return adopt_arithmetic(detector, folder)


def _fill(module: CascadeNet, file: FilePath) -> None:
    """Load the net of a module's name from another project's file."""
    from ..importers import read_weights

    found = next((one for one in read_weights(file) if one.net == module.net), None)
    if found is None:
        raise CheckpointError(f"{file} holds no {module.net}; name a file that does")
    weights = Weights(module.net, {name: value.numpy() for name, value in found.tensors().items()})
    module.fill(weights, str(found.recipe["imported"]["arithmetic"]))


def _imported(weights: FilePath | Iterable[FilePath], folder: Path) -> Path:
    """Import other projects' weights files into `folder`, and return it. Raises CheckpointError if a net is missing."""
    from ..importers import import_weights

    several = isinstance(weights, Iterable) and not isinstance(weights, str | bytes)
    given: Any = weights if several else [weights]
    files = [as_path("weights", each) for each in given]
    missing = SIZES.keys() - {found.net for found in import_weights(files, folder)}
    if missing:
        given = ", ".join(map(str, files)) or "no file"
        lack = ", ".join(net for net in SIZES if net in missing)
        raise CheckpointError(f"weights are {given}, without {lack}; name the files of all three nets")
    return folder
