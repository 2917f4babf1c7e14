"""Labels of what `mtcnn detect` finds, for correction by hand."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from mtcnn.errors import SettingsError
from mtcnn.files.atomic_write import Before
from mtcnn.stream.items import Item
from mtcnn.stream.places import Places
from mtcnn.stream.run import MakeSink
from mtcnn.stream.sources import Source, kind_of
from mtcnn.terminal import tell
from mtcnn.types import ImageSize

from .photo_names import common_root, names_of
from .teachers.photo_labels import LabelSettings, PhotoLabels, labels_of
from .whole_folder import is_free, written_whole
from .writers import coco, voc, yolo

__all__ = ["DOUBTFUL", "SURE", "LabelFiles", "label_sink"]

SURE, DOUBTFUL = 0.7, 0.3  # scores

WRITERS: dict[str, Callable[[Sequence[PhotoLabels], Path, Before | None], Path]] = {
    "coco": coco.write_file,
    "voc": voc.write,
    "yolo": yolo.write_linked,
}


def label_sink(form: str, target: Path, sure: float = SURE) -> MakeSink:
    """The maker of a sink that writes labels in the format `form`, one of WRITERS, to a file or folder."""
    settings = LabelSettings(sure=sure, doubtful=0.0)
    return lambda places, _: LabelFiles(form, target, places, settings)


class LabelFiles:
    """A sink that collects the faces of photos, and writes their labels when it is closed.

    Faces whose score is below `settings.sure` are labelled doubtful. Nothing that exists is replaced, as it may be
    corrected already. Raises SettingsError for that, and for videos; DataError for photos whose names do not fit.
    """

    def __init__(self, form: str, target: Path, places: Places, settings: LabelSettings) -> None:
        if target.exists() if form == "coco" else not is_free(target):
            raise SettingsError(f"`{form}` {target} exists; expected a new name, as it may hold corrected labels")
        photos = [source for source in places.sources if isinstance(source, Path) and kind_of(source) == "image"]
        if len(photos) < len(places.sources):
            raise SettingsError(f"`{form}` is for photos; expected image files and no video, camera or stream")
        self._form, self._target, self._settings = form, target, settings
        self._root = self._root_of(photos)
        names = names_of(photos, self._root, "leave", by_stem=form != "coco", events=False)
        self._names: dict[Source, str] = dict(zip(photos, names, strict=True))
        self._found: list[PhotoLabels] = []

    def _root_of(self, photos: Sequence[Path]) -> Path:
        """The folder that names are relative to: that of the COCO file if all photos are below it, so that the file
        alone says where they are."""
        here, root = self._target.resolve().parent, common_root(photos)
        return here if self._form == "coco" and root.is_relative_to(here) else root

    def write(self, item: Item) -> None:
        height, width = item.image.shape[:2]
        path = Path(str(item.source))
        size = ImageSize(height, width)
        self._found.append(labels_of(path, self._names[item.source], size, item.faces, self._settings))

    def close(self) -> None:
        if not self._found:
            return
        self._target.parent.mkdir(parents=True, exist_ok=True)
        whole = self._form != "coco" and is_free(self._target)  # still
        with written_whole(self._target) if whole else nullcontext() as before:
            made = WRITERS[self._form](self._found, self._target, before)
        faces, doubtful = (sum(len(getattr(each, name)) for each in self._found) for name in ("boxes", "doubtful"))
        tell(f"{made}: {len(self._found):,} photos, {faces:,} faces, {doubtful:,} doubtful; correct them, then")
        tell(f"train on them as {shlex.quote(self._source())}")

    def _source(self) -> str:
        if self._form == "yolo":
            return str(self._target)
        inside = self._form == "coco" and self._root == self._target.resolve().parent
        return f"{self._form}:{self._target}{'' if inside else f':{self._root}'}"
