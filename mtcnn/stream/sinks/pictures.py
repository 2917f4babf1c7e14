"""The sink of `--draw`: pictures of images, and videos of videos, with their faces drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import SettingsError
from ...images import SUFFIXES
from ...pictures.draw import SAVE_SUFFIXES, draw_faces, save_image
from ..items import Item, Names, real
from ..sources import VIDEO_SUFFIXES, kind_of
from ..video import CODECS, FPS, VideoFile

__all__ = ["Pictures"]


_NOT_WRITTEN = {*SUFFIXES, *VIDEO_SUFFIXES, ".heic", ".pdf", ".svg"} - {*SAVE_SUFFIXES, *CODECS}


class Pictures:
    """Writes what it is given with the faces drawn in, labelled by score, or by id and score where they are tracked.

    draw     a folder, for a picture an image and a video a video; or the file for a single one.
    sources  all sources of the run.

    Raises SettingsError when `draw` is a file and cannot take what comes of `sources`.
    """

    setting = "draw"  # as errors call it

    def __init__(self, draw: Path, sources: Sequence[Path]) -> None:
        self._file = _as_file(self.setting, draw, sources)
        self._names = Names(draw, sources, _drawn_suffix)
        self._video: VideoFile | None = None
        self._of: Path | None = None  # the source of the video being written
        self._last: NDArray[np.uint8] | None = None

    def path(self, source: Path) -> Path:
        """Where the picture, or the video, of a source goes."""
        return self._file or self._names.path(source)

    def write(self, item: Item) -> None:
        target = self.path(item.source)
        if item.source != self._of:
            self.close()
            self._of = item.source
            with suppress(OSError):  # what is wrong with the folder, the writers tell
                target.parent.mkdir(parents=True, exist_ok=True)
        picture = self.picture(item)
        if item.frame is None:
            save_image(target, picture)
        else:
            self._append(target, item, picture)

    def picture(self, item: Item) -> NDArray[np.uint8]:
        """What is written for an item: uint8 RGB (H, W, 3), its image with the faces drawn in."""
        labels = None
        if item.ids is not None:
            labels = [f"#{number} {score:.2f}" for number, score in zip(item.ids, item.faces.scores, strict=True)]
        return draw_faces(item.image, item.faces, labels=labels)

    def _append(self, target: Path, item: Item, picture: NDArray[np.uint8]) -> None:
        fps = item.fps or FPS
        if self._video is None:
            self._video = VideoFile(target, fps, picture.shape[:2])
        if kind_of(item.source) == "camera" and self._last is not None and item.time is not None:
            # Detection may be slower than the camera: the picture stays until the next, so that the video keeps time.
            while self._video.written < round(item.time * fps):
                self._video.write(self._last)
        self._video.write(picture)
        self._last = picture

    def close(self) -> None:
        if self._video is not None:
            self._video.close()
        self._video, self._of, self._last = None, None, None


def _as_file(setting: str, draw: Path, sources: Sequence[Path]) -> Path | None:
    """`draw` where it is the file to write; None where it is a folder."""
    suffix = draw.suffix.lower()
    if not draw.exists() and suffix in _NOT_WRITTEN:  # else it would become a folder of that name
        known = " ".join((*SAVE_SUFFIXES, *CODECS))
        raise SettingsError(f"`{setting}` {draw}: {suffix} cannot be written; expected one of {known}, or a folder")
    if draw.is_dir() or (suffix not in SAVE_SUFFIXES and suffix not in CODECS and not draw.exists()):
        return None
    fits = suffix in (SAVE_SUFFIXES if all(kind_of(source) == "image" for source in sources) else CODECS)
    if len(sources) > 1 or (sources and not fits) or real(draw) in {real(source) for source in sources}:
        raise SettingsError(
            f"`{setting}` {draw} is a file; expected a folder, or a new image file for a single picture, "
            f"or a new video file ({' '.join(CODECS)}) for a single video"
        )
    return draw


def _drawn_suffix(source: Path) -> str:
    """That of the source where it can be written, else the most common one that can."""
    writable, other = (SAVE_SUFFIXES, ".png") if kind_of(source) == "image" else (tuple(CODECS), ".mp4")
    return source.suffix if source.suffix.lower() in writable else other
