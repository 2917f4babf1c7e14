"""The sink for drawn faces: pictures of images, and videos of videos, with their faces drawn in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import SettingsError
from ...files.outputs import note_output, written_in
from ...images import SUFFIXES
from ...pictures.draw import SAVE_SUFFIXES, draw_faces, save_image
from ..items import Item
from ..places import Names, Places
from ..sources import VIDEO_SUFFIXES, Source, kind_of
from ..video import CODECS, FPS
from .video_output import VideoOutput

__all__ = ["Pictures"]


_NOT_WRITTEN = {*SUFFIXES, *VIDEO_SUFFIXES, ".heic", ".pdf", ".svg"} - {*SAVE_SUFFIXES, *CODECS}


class Pictures:
    """Writes what it is given with the faces drawn in, labelled by score, or by id and score where they are tracked.

    draw     a folder, for a picture an image and a video a video; or the file for a single one.
    places   those of the run, or all its sources.

    Raises SettingsError when `draw` is a file and cannot take what comes of the sources.
    """

    setting = "draw"  # as errors call it

    def __init__(self, draw: Path, places: Places | Iterable[Source]) -> None:
        places = Places.of(places)
        self._file = _as_file(self.setting, draw, places)
        self._names = Names(draw, places, _drawn_suffix) if self._file is None else None
        self._video: VideoOutput | None = None
        self._of: Source | None = None  # the source of the video being written

    def path(self, source: Source) -> Path:
        """Where the picture, or the video, of a source goes."""
        if self._names is not None:
            return self._names.path(source)
        assert self._file is not None
        return self._file

    def write(self, item: Item) -> None:
        target = self.path(item.source)
        if item.source != self._of:
            self._finish_video()
            self._of = item.source
            note_output(target, own_folder=self._file is None)
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
        if self._video is None:
            like = None if kind_of(item.source) == "camera" else str(item.source)
            self._video = VideoOutput(target, item.fps or FPS, picture.shape[:2], like)
        self._video.write(picture, item.time)

    def close(self) -> None:
        self._finish_video()

    def _finish_video(self) -> None:
        video, self._video, self._of = self._video, None, None
        if video is not None:
            video.close()


def _as_file(setting: str, draw: Path, places: Places) -> Path | None:
    """`draw` where it is the file to write; None where it is a folder."""
    sources, suffix = places.sources, draw.suffix.lower()
    if not draw.exists() and suffix in _NOT_WRITTEN:  # else it would become a folder of that name
        known = " ".join((*SAVE_SUFFIXES, *CODECS))
        raise SettingsError(f"`{setting}` {draw}: {suffix} cannot be written; expected one of {known}, or a folder")
    if draw.is_dir() or (suffix not in SAVE_SUFFIXES and suffix not in CODECS and not draw.exists()):
        return None
    if len(sources) > 1:
        raise SettingsError(f"`{setting}` {draw} is one file, for {len(sources)} sources; expected a folder")
    if places.is_input(draw):
        raise SettingsError(f"`{setting}` {draw} is the source itself; expected a folder, or a new file")
    picture = all(kind_of(source) == "image" for source in sources)
    if sources and suffix not in (SAVE_SUFFIXES if picture else CODECS):
        kind, known = ("picture", " ".join(SAVE_SUFFIXES)) if picture else ("video", " ".join(CODECS))
        raise SettingsError(
            f"`{setting}` {draw} is no name for a {kind}, as {sources[0]} is; expected one that ends in {known}, or a "
            "folder"
        )
    if draw.exists() and draw.stat().st_size and draw.name not in written_in(draw.parent):
        raise SettingsError(
            f"`{setting}` {draw} exists and was not written by this project; expected a new file; delete it first"
        )
    return draw


def _drawn_suffix(source: Source) -> str:
    """That of the source where it can be written, else the most common one that can."""
    writable, other = (SAVE_SUFFIXES, ".png") if kind_of(source) == "image" else (tuple(CODECS), ".mp4")
    return source.suffix if source.suffix.lower() in writable else other
