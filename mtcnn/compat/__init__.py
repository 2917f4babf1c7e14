"""`MTCNN`, for programs written for facenet-pytorch or for ipazc's mtcnn: the same calls, this project's detector.

docs/migrate.md shows each call before and after, and where results differ. New programs are better off with `Detector`,
which does not load torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, cast

import torch

from ..errors import SettingsError
from .arguments import by_position, one_name
from .facenet import FacenetCalls
from .finder import FilePath, Stages, one_of
from .ipazc import IpazcCalls
from .modules import ONet, PNet, RNet
from .selection import METHODS, extract_face, fixed_image_standardization, prewhiten
from .stand_in import as_facenet_pytorch

__all__ = [
    "MTCNN", "ONet", "PNet", "RNet", "as_facenet_pytorch", "extract_face", "fixed_image_standardization", "prewhiten",
]  # fmt: skip


class MTCNN(FacenetCalls, IpazcCalls):
    """Finds faces, under the names and in the shapes of two other packages; an `nn.Module`.

    Settings of facenet-pytorch, for `detect`, the call itself, `select_boxes` and `extract`:

    image_size, margin    side of face tensors, pixels, and how many of those lie outside the box.
    min_face_size         smallest face to look for, pixels.      thresholds    of the scores of PNet, RNet, ONet.
    factor                ratio of pyramid levels.                post_process  scale face tensors by (x - 127.5) / 128.
    select_largest        largest face first, else best first.    keep_all      all faces of an image instead of one.
    selection_method      which face is the one: a name of `selection.METHODS`; overrides `select_largest`.
    device                where torch computes: "cpu", "cuda:0", or as ipazc's users write it, "CPU:0" or "GPU:0".

    Settings of ipazc's mtcnn, for `detect_faces`: `device`, and `stages`, "face_and_landmarks_detection" or
    "face_detection_only", which stops before ONet and has no landmarks, or a list of `mtcnn.stages`. Of its version
    0.1, `weights_file`, `steps_threshold` and `scale_factor`, other names of `weights`, `thresholds` and `factor`. The
    first argument may be `stages` or `weights_file` too, and then those follow that follow it there.

    Settings that neither has:

    weights  files of other projects' weights, as `mtcnn weights import` takes them; or
    models   a folder with models-12, models-24 and models-48. Without either, the weights that ship with this project.
             Weights of another project are used with its arithmetic, see `importers.arithmetic`.

    `pnet`, `rnet` and `onet` are modules: what is loaded into them, or put in their place, is what detects.

    All settings but `weights` and `models` may be changed later. Raises SettingsError for impossible settings,
    TypeError for unknown ones and for two names of one, CheckpointError for weights of no use.
    """

    def __init__(
        self,
        image_size: int | Stages | FilePath | None = 160,
        margin: Any = 0,
        min_face_size: Any = 20,
        thresholds: Any = None,
        factor: float | None = None,
        post_process: bool = True,
        select_largest: bool = True,
        selection_method: str | None = None,
        keep_all: bool = False,
        device: str | torch.device | None = None,
        *,
        stages: Stages = "face_and_landmarks_detection",
        weights: FilePath | Iterable[FilePath] | None = None,
        models: FilePath | None = None,
        weights_file: FilePath | None = None,
        steps_threshold: Sequence[float] | None = None,
        scale_factor: float | None = None,
    ) -> None:
        named: dict[str, Any] = {}
        if not isinstance(image_size, Real):
            named = by_position(image_size, margin, min_face_size, thresholds)
            image_size, margin, thresholds = 160, named.get("margin", 0), named.get("thresholds")
        super().__init__(
            named.get("min_face_size", min_face_size),
            one_name("thresholds", thresholds, steps_threshold, named.get("steps_threshold")),
            one_name("factor", factor, scale_factor, named.get("scale_factor"), default=0.709),
            named.get("stages", stages),
            one_name("device", device, named.get("device")),
            one_name("weights", weights, weights_file, named.get("weights_file")),
            models,
        )
        side = cast(int, image_size)
        if not 0 <= margin < side:
            raise SettingsError(f"margin is {margin}; expected 0 or more, and less than image_size, {side}")
        self.image_size, self.margin = side, margin
        self.post_process, self.keep_all, self.select_largest = post_process, keep_all, select_largest
        self.selection_method = selection_method or ("largest" if select_largest else "probability")
        one_of("selection_method", self.selection_method, METHODS)
