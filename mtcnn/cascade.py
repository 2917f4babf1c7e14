"""The detector: a proposer finds candidates, refiners filter and improve them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, cast, overload

from . import boxes as box
from .checkpoint import has_weights, load_weights, packaged_weights, weights_path
from .detector_settings import DetectorSettings
from .detectors.load import load_detector
from .devices import check_device, device_name
from .engine.threads import spread, threads
from .images import Source, is_image, read_image
from .proposer import PNetProposer
from .refiner import NetRefiner, touches
from .runtimes import engine_of
from .runtimes.cascade import Net
from .types import Faces, Proposer, Refiner
from .weights import SECOND

if TYPE_CHECKING:
    import torch

__all__ = ["Detector", "finished"]


def _taken(images: Iterable[Source]) -> Iterator[list[Source]]:
    """A few at a time: the iterable may be endless, or produce each image on demand."""
    source = iter(images)
    while some := list(islice(source, threads())):
        yield some


class Detector:
    """Finds faces with a proposer, followed by refiners.

        faces = Detector().detect("photo.jpg")

    models        folder with models-12 to models-48 and models-full; None: the packaged weights.
    min_face      smallest face to find, pixels: 20 for PNet. Single-stage detectors look for faces of every size; faces
                  whose longer side is smaller are left out.
    scale_factor  ratio of pyramid levels, 0.709; only for PNet, which has a pyramid.
    thresholds    minimum score of each stage that runs, or one number for all. None: those that the weights carry; 0.6,
                  0.7, 0.7 for the packaged cascade.
    device        where torch computes, such as "cpu" or "cuda".
    stage1        "pnet", or a single-stage detector of `detectors.DETECTORS`.
    refine        the nets that follow: "rnet,onet" (the default after PNet), "rnet", or "none".
    engine        runtime of a single-stage detector: "torch", "onnx", "openvino" or None, see
                  `detectors.load.load_detector`; "openvino" also for RNet and ONet.
    detector      instead of stage1: a single-stage detector, alone or with refine behind it; instead of both: "mtcnn",
                  the cascade; "fast" or "best", for those who do not want to choose (`detector_settings.PRESETS`).
    score         minimum score of a face: the threshold of the last stage.
    max_side      maximum longer side, pixels, at which a single-stage detector looks at an image; larger are shrunk.
    coarse        whether it also looks at smaller copies of an image that has room for faces larger than its largest
                  anchor; True by default.
    enlarge       times as long as an image's are the sides at which a single-stage detector looks at it, at most
                  `max_side`: 2 finds faces half as large, in four times the time; 1 by default.
    precision     of a single-stage detector's convolutions: "float32", or "bf16" on processors that have it.

    `settings` holds them all, with defaults filled in. Raises SettingsError for settings that are invalid or that the
    chosen stages do not use, CheckpointError if weights are missing or do not fit.
    """

    _smallest = 0.0  # minimum longer side of a face

    def __init__(
        self,
        models: str | PathLike[str] | None = None,
        min_face: float | None = None,
        scale_factor: float | None = None,
        thresholds: float | Sequence[float] | None = None,
        device: str | torch.device | None = "cpu",
        stage1: str | None = None,
        refine: str | None = None,
        engine: str | None = None,
        *,
        detector: str | None = None,
        score: float | None = None,
        max_side: float | None = None,
        coarse: bool | None = None,
        precision: str | None = None,
        enlarge: float | None = None,
    ) -> None:
        device = device_name(device)
        check_device(device)
        self.settings = chosen = DetectorSettings(
            models,
            min_face,
            scale_factor,
            thresholds,
            device,
            stage1,
            refine,
            engine,
            detector,
            score,
            max_side,
            coarse,
            precision,
            enlarge,
        )
        folder = packaged_weights() if models is None else Path(models)

        def net(name: str) -> Net:
            path = weights_path(folder, name)
            if device == "cpu":
                return load_weights(path, name)
            from .nets import load_net

            return load_net(path, name, device)

        self.stages, self.device = chosen.stages, device
        first, *rest = zip(chosen.stages, cast(tuple[float, ...], chosen.thresholds), strict=True)
        self.proposer: Proposer
        if chosen.min_face is not None and chosen.scale_factor is not None:
            self.proposer = PNetProposer(net("pnet"), chosen.min_face, chosen.scale_factor, first[1], device)
        else:
            looks = max_side, bool(chosen.coarse)
            self.proposer = load_detector(
                first[0], folder, first[1], device, engine, *looks, precision, chosen.enlarge or 1.0
            )
            self._smallest = chosen.min_face or 0.0
        crops = engine if engine == "openvino" else None
        if crops and rest:
            import_module(".runtimes.openvino", __package__).openvino_package()
        second = net(SECOND) if "onet" in chosen.stages and has_weights(folder, SECOND) else None
        self.refiners: list[Refiner] = [
            NetRefiner(net(name), name, threshold, device, first[0] != "pnet", crops,
                       second=second if name == "onet" else None)
            for name, threshold in rest
        ]  # fmt: skip

    @property
    def engines(self) -> dict[str, str]:
        """What computes each net, by the name of the net."""
        runtime = getattr(self.proposer, "runtime", None)
        found = dict.fromkeys(self.stages, engine_of(None) if self.device == "cpu" else f"torch on {self.device}")
        if self.settings.engine == "openvino":
            found |= dict.fromkeys(self.stages[1:], "OpenVINO")
        return found if runtime is None else {**found, self.stages[0]: engine_of(runtime)}

    @overload
    def detect(self, images: Source) -> Faces: ...  # type: ignore[overload-overlap]  # a str is one path

    @overload
    def detect(self, images: Iterable[Source]) -> list[Faces]: ...

    def detect(self, images: Source | Iterable[Source]) -> Faces | list[Faces]:
        """Faces of an image (anything `read_image` accepts) by descending score, clipped to the image.

        A list or other iterable of images, of any sizes, gives a list of Faces, equal to one call per image. Boxes
        whose offsets moved them out of the image or inverted them are dropped. Raises ImageError for an image that
        cannot be read, and for anything that is not an image.
        """
        if isinstance(images, list | tuple):
            return spread(self._detect, images)
        if isinstance(images, Iterator | Sequence) and not is_image(images):
            return [faces for some in _taken(cast(Iterable[Source], images)) for faces in spread(self._detect, some)]
        return self._detect(cast(Source, images))

    def _detect(self, image: Source) -> Faces:
        pixels = read_image(image)
        faces = self.proposer(pixels)
        for refine in self.refiners:
            faces = refine(pixels, faces)
        height, width = pixels.shape[:2]
        return finished(faces, height, width, self._smallest)


def finished(faces: Faces, height: int, width: int, smallest: float = 0.0) -> Faces:
    """Faces of an image of this size that lie at least partly in it, clipped to it, by descending score; those with a
    longer side below `smallest` are left out."""
    faces = faces[touches(faces.boxes, height, width)]
    if smallest:
        faces = faces[faces.sizes.max(axis=1) >= smallest]
    return Faces(box.clip(faces.boxes, height, width), faces.scores, faces.landmarks).sorted()
