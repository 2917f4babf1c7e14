"""Which files `mtcnn label` writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mtcnn.errors import DataError

from ..photo_names import check_listed, common_folder, listed_name, name_key
from ..writers import OF_ALL, OF_EACH, yolo

__all__ = ["NOTE", "label_files"]

NOTE = "teachers.json"


def label_files(form: str, photos: Sequence[Path], folder: Path) -> list[Path]:
    """The files that labels of photos in the format `form`, one of `writers.WRITERS`, replace in a folder.

    Raises DataError for two photos whose labels would have the same file, and for names that labels cannot hold.
    """
    root, files = common_folder(photos), [folder / name for name in (*OF_ALL[form], NOTE)]
    photo_of: dict[str, Path] = {}
    for photo in photos:
        name = listed_name(photo, root)
        if form != "wider":  # a file a photo, which may have any name
            check_listed(photo, name)
        if form not in OF_EACH:
            continue
        file = OF_EACH[form](photo, name)
        other = photo_of.setdefault(name_key(file), photo)
        if other != photo:
            raise DataError(
                f"{photo} and {other} would both have the labels {file}; expected photos of different names; rename "
                "one, or name another format"
            )
        files.append(folder / file)
        link = folder / "images" / name
        if form == "yolo" and link.is_symlink() and not yolo.is_linked(photo, link):
            files.append(link)
    return files
