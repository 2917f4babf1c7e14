"""`MTCNN`, a drop-in replacement for the classes of facenet-pytorch and ipazc's mtcnn, on this project's detector.

docs/migrate.md shows each call before and after, and where results differ. New programs should use `Detector`, which
does not load torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, cast

import torch

from ..settings import check_flag, is_one_of
from .arguments import by_position, one_name
from .facenet import FacenetCalls
from .finder import FilePath, Stages, one_of
from .ipazc import IpazcCalls
from .modules import ONet, PNet, RNet
from .selection import METHODS, check_size, extract_face, fixed_image_standardization, prewhiten
from .stand_in import as_facenet_pytorch

__all__ = [
    "MTCNN", "ONet", "PNet", "RNet", "as_facenet_pytorch", "extract_face", "fixed_image_standardization", "prewhiten",
]  # fmt: skip


class MTCNN(FacenetCalls, IpazcCalls):
    """A face detector with the methods, arguments and results of two other packages; an `nn.Module`.

    Settings of facenet-pytorch, for `detect`, `forward`, `select_boxes` and `extract`:

    image_size, margin    side of a face tensor in pixels, and how many of these pixels lie outside the box.
    min_face_size         smallest face to detect, pixels.        thresholds    for the scores of PNet, RNet, ONet.
    factor                ratio of pyramid levels.                post_process  scale face tensors by (x - 127.5) / 128.
    select_largest        sort by area instead of score.          keep_all      return all faces instead of one.
    selection_method      how to choose the one face: a name in `selection.METHODS`; overrides `select_largest`.
    device                of torch, such as "cpu" or "cuda:0"; TensorFlow's "CPU:0" and "GPU:0" work too.

    Settings of ipazc's mtcnn, for `detect_faces`: `device`, and `stages`, which is "face_and_landmarks_detection",
    "face_detection_only" (stops before ONet, so without landmarks), or a list of `mtcnn.stages`. Version 0.1 calls
    `weights`, `thresholds` and `factor` `weights_file`, `steps_threshold` and `scale_factor`. If the first positional
    argument is `stages` or `weights_file`, the others follow in the order of that version.

    Settings of this project:

    weights  weights files of other projects, as `mtcnn weights import` accepts them. They run with the pixel arithmetic
             of their project, see `importers.arithmetic`.
    models   a folder with models-12, models-24 and models-48. By default, the weights that ship with this project.

    `pnet`, `rnet` and `onet` are modules: load weights into them, or replace them, and the next call uses the result.

    All settings but `weights` and `models` may be changed later. Raises SettingsError for invalid settings, TypeError
    for unknown ones and for a setting given under two names, CheckpointError for unusable weights.
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
        check_size(side, margin)
        for name, flag in (("post_process", post_process), ("select_largest", select_largest), ("keep_all", keep_all)):
            check_flag(name, flag)
        self.image_size, self.margin = side, margin
        self.post_process, self.keep_all, self.select_largest = post_process, keep_all, select_largest
        usual = "largest" if select_largest else "probability"
        self.selection_method: str = usual if is_one_of(selection_method, (None, "")) else str(selection_method)
        one_of("selection_method", self.selection_method, METHODS)
