"""A cache of photo sizes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mtcnn.images import image_size
from mtcnn.types import ImageSize

from .photo_notes import PhotoNotes

__all__ = ["PhotoSizes"]


class PhotoSizes(PhotoNotes):
    """Sizes of photos by path."""

    name, length, lowest = "sizes", 2, 1

    def look(self, path: Path) -> ImageSize:
        return image_size(path)

    def of(self, paths: Iterable[Path]) -> dict[Path, ImageSize | None]:
        """Sizes by path; None for unreadable photos and synthetic scenes."""
        found = self.numbers(paths)
        return {path: None if size is None else ImageSize(*size) for path, size in found.items()}
