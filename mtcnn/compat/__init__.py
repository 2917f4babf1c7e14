"""`MTCNN`, for programs written for facenet-pytorch or for ipazc's mtcnn: the same calls, this project's detector.

docs/migrate.md shows each call before and after, and where results differ. New programs are better off with `Detector`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..errors import SettingsError
from .facenet import FacenetCalls
from .finder import FilePath, Stages, one_of
from .ipazc import IpazcCalls
from .selection import METHODS, extract_face

if TYPE_CHECKING:
    import torch

__all__ = ["MTCNN", "extract_face"]


class MTCNN(FacenetCalls, IpazcCalls):
    """Finds faces, under the names and in the shapes of two other packages.

    Settings of facenet-pytorch, for `detect`, the call itself, `select_boxes` and `extract`:

    image_size, margin    side of face tensors, pixels, and how many of those lie outside the box.
    min_face_size         smallest face to look for, pixels.      thresholds    least scores of PNet, RNet and ONet.
    factor                ratio of pyramid levels.                post_process  scale face tensors by (x - 127.5) / 128.
    select_largest        largest face first, else best first.    keep_all      all faces of an image instead of one.
    selection_method      which face is the one: a name of `selection.METHODS`; overrides `select_largest`.
    device                where torch computes: "cpu", "cuda:0", or as ipazc's users write it, "CPU:0" or "GPU:0".

    Settings of ipazc's mtcnn, for `detect_faces`: `device`, and `stages`, "face_and_landmarks_detection" or
    "face_detection_only", which stops before ONet and has no landmarks.

    Settings that neither has:

    weights  files of other projects' weights, as `mtcnn weights import` takes them; or
    models   a folder with models-12, models-24 and models-48. Without either, the weights that ship with this project.
             Weights of another project are used with its arithmetic, see `importers.arithmetic`.

    All of them but `device`, `weights` and `models` may be changed later. Raises SettingsError for impossible settings,
    TypeError for unknown ones, CheckpointError for weights of no use.
    """

    def __init__(
        self,
        image_size: int | Stages = 160,
        margin: int = 0,
        min_face_size: float = 20,
        thresholds: Sequence[float] | None = None,
        factor: float = 0.709,
        post_process: bool = True,
        select_largest: bool = True,
        selection_method: str | None = None,
        keep_all: bool = False,
        device: str | torch.device | None = None,
        *,
        stages: Stages = "face_and_landmarks_detection",
        weights: FilePath | Iterable[FilePath] | None = None,
        models: FilePath | None = None,
    ) -> None:
        side = 160 if isinstance(image_size, str) else image_size
        stages = image_size if isinstance(image_size, str) else stages  # in ipazc's package `stages` comes first
        super().__init__(min_face_size, thresholds, factor, stages, device, weights, models)
        if not 0 <= margin < side:
            raise SettingsError(f"margin is {margin}; expected 0 or more, and less than image_size, {side}")
        self.image_size, self.margin = side, margin
        self.post_process, self.keep_all, self.select_largest = post_process, keep_all, select_largest
        self.selection_method = selection_method or ("largest" if select_largest else "probability")
        one_of("selection_method", self.selection_method, METHODS)
