"""Names of photos in a data set that is being written, and the photos themselves: copied, linked or left."""

from __future__ import annotations

import errno
import os
import shutil
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Literal

from mtcnn.errors import DataError, SettingsError, WriteError
from mtcnn.files.atomic_write import Before, written_by
from mtcnn.pictures.draw import save_image

from . import synthetic
from .build import image_of
from .records import ImageRecord

__all__ = [
    "Photos",
    "check_listed",
    "common_folder",
    "common_root",
    "listed_name",
    "name_key",
    "names_of",
    "place_photo",
]

Photos = Literal["copy", "link", "leave"]

_UNLISTED = ("Cc", "Cs", "Zl", "Zp")  # categories of letters that end a line, or are no UTF-8


def common_root(paths: Sequence[Path]) -> Path:
    """The folder that holds all photos; names are relative to it. Raises DataError where there is none."""
    real = [path for path in paths if not synthetic.is_synthetic(path)]
    try:
        return Path(os.path.commonpath([path.resolve().parent for path in real])) if real else Path()
    except ValueError:
        raise DataError("photos lie on several drives; expected one; convert those of each drive alone") from None


def common_folder(photos: Iterable[Path]) -> Path:
    """The same for photos that stay where they are, or links to them. Raises SettingsError where there is none."""
    try:
        return Path(os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in photos]))
    except ValueError:
        raise SettingsError("photos lie on several drives; expected one; label those of each drive alone") from None


def listed_name(photo: Path, root: Path) -> str:
    """The name of a photo that stays where it is, relative to the `common_folder`, with / between folders."""
    return Path(os.path.relpath(photo, root)).as_posix()


def check_listed(photo: Path, name: str) -> None:
    """Raises DataError for a name that a list of labels, one a line, cannot hold."""
    if name != name.strip() or any(unicodedata.category(letter) in _UNLISTED for letter in name):
        raise DataError(
            f"{photo}: its name cannot stand in labels; expected UTF-8 on one line, without white space around it; "
            "rename the photo, or the folder that has such a name"
        )


def names_of(paths: Sequence[Path], root: Path, photos: Photos, by_stem: bool, events: bool) -> list[str]:
    """The name of each photo, with / between folders; no two are the same.

    by_stem  no two are the same without their suffix either.
    events   each lies in one folder, as WIDER FACE's do.

    Photos that are left where they are keep their names: raises DataError where a name does not fit.
    """
    names, taken = list[str](), dict[str, Path]()
    for path in paths:
        plain = _plain(path, root)
        if photos == "leave":
            name, wanted = plain, _sound(plain, False)
        else:
            name = wanted = _sound(plain, events)
        whole = PurePosixPath(name)
        others = (str(whole.with_name(f"{whole.stem}-{number}{whole.suffix}")) for number in count(2))
        free = next(each for each in chain([name], others) if name_key(each, by_stem) not in taken)
        if photos == "leave" and (free != name or wanted != name):
            other = taken.get(name_key(wanted, by_stem))
            if other is not None and other.samefile(path):
                raise DataError(f"{path}: is the photo {other} by another name; expected each once; leave one out")
            raise DataError(f"{path}: {_why_not(plain, wanted, by_stem)}; rename it, or copy photos to a new folder")
        taken[name_key(free, by_stem)] = path
        names.append(free)
    return names


def _why_not(name: str, wanted: str, by_stem: bool) -> str:
    """Why labels cannot have this name of a photo that stays where it is."""
    if wanted != name:
        return "its name cannot stand in labels of this format; expected one without control characters"
    apart = "letter case or its suffix" if by_stem else "letter case"
    return f"differs from the name of another photo by {apart} alone; expected names that labels keep apart"


def _plain(path: Path, root: Path) -> str:
    if synthetic.is_synthetic(path):
        return f"{''.join(letter if letter.isalnum() else '-' for letter in str(path)).strip('-')}.png"
    return path.resolve().relative_to(root).as_posix()


def _sound(name: str, events: bool) -> str:
    """Without control characters, and without white space at the ends of a part, which lists of photos lose; a # at the
    beginning would be a headline."""
    parts = []
    for part in name.split("/"):
        letters = "".join("_" if unicodedata.category(letter)[0] == "C" else letter for letter in part)
        parts.append(letters.strip().lstrip("#") or "_")
    if events:
        parts = ["-".join(parts[:-1]) or "photos", parts[-1]]
    return "/".join(parts)


def name_key(name: str, by_stem: bool = False) -> str:
    """Equal for names that some file systems take for the same one."""
    whole = PurePosixPath(name)
    return unicodedata.normalize("NFC", str(whole.with_suffix("") if by_stem else whole)).casefold()


def place_photo(record: ImageRecord, target: Path, photos: Photos, before: Before | None = None) -> Path:
    """Copy or link the photo of a record to `target`, where nothing may be; a drawn scene is saved. Returns its path.

    before  see `atomic_write`.

    Raises WriteError if that fails, DataError for a drawn scene that is to be linked or left.
    """
    drawn = synthetic.is_synthetic(record.path)
    if drawn and photos != "copy":
        raise DataError(f"{record.path}: a drawn scene has no file; expected `photos` copy")
    if photos == "leave":
        return record.path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if drawn:
            save_image(target, image_of(record), before)
            return target
        with written_by(target, before=before) as draft:
            _place(record.path, draft, photos)
    except OSError as error:
        raise WriteError(f"{target}: cannot be written ({error.strerror}); `photos` was {photos}") from None
    return target


def _place(photo: Path, draft: Path, photos: Photos) -> None:
    if photos == "link":
        draft.symlink_to(photo.resolve())
        return
    with photo.open("rb") as source, draft.open("xb") as file:
        shutil.copyfileobj(source, file)
