"""Pascal VOC: one XML file per image, written by many labelling tools.

The image lies in `JPEGImages` where the XML files lie in `Annotations`, or beside its XML file. VOC counts pixels from
1 and includes the last one, so its box `xmin ymin xmax ymax` is (xmin - 1, ymin - 1, xmax, ymax) here.
Source: the development kit of the VOC challenge 2012, section 3.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple, NoReturn

from mtcnn.errors import DataError
from mtcnn.types import ImageSize

from ..records import ImageRecord, Note, Problem
from .class_names import is_doubtful, noted_classes, taken_classes
from .label_file import Face, Gathering, find_image, known_size, numbers

__all__ = ["read"]

LARGEST = 1 << 24  # bytes of a file: 50,000 objects


def read(
    folder: Path, images: Path | None = None, names: Collection[str] | None = None
) -> tuple[list[ImageRecord], list[Problem]]:
    """An image for each XML file of `folder/Annotations`, or else of `folder` and the folders below.

    images  the folder with the images; default: `JPEGImages` for `Annotations`, otherwise that of each XML file.
    names   object classes that are faces, such as {"face"}. None: those named "face", in any case, if there are any;
            otherwise all.

    Objects marked difficult, or named "doubtful" or "ignore", become ignore regions. A bad object is skipped and its
    image marked incomplete; a file that is not XML or declares a document type is skipped. If there are several
    classes, a note lists those used.
    Raises DataError without folder or XML files, and for a class that no object has.
    """
    annotations = folder / "Annotations" if (folder / "Annotations").is_dir() else folder
    files = sorted(path for path in annotations.rglob("*.xml") if path.is_file())
    if not files:
        raise DataError(f"{folder}: holds no XML file; give a folder with Annotations and JPEGImages, or of XML files")
    if images is None and annotations != folder:
        images = folder / "JPEGImages"
    if images is not None and not images.is_dir():
        raise DataError(f"{images}: no such image folder; give it as voc:DIR:IMAGES")
    found = Gathering(folder, folder)
    pages = [page for file in files if (page := _page(found, file, _images_of(file, annotations, images)))]
    counts = Counter(name for page in pages for name, _, _ in page.things)
    taken = taken_classes(folder, "voc", counts, names)
    for page in pages:
        _add_page(found, page, taken)
    if note := noted_classes("voc", counts, taken):
        found.problems.append(Note(str(folder), note))
    return found.result()


def _images_of(file: Path, annotations: Path, images: Path | None) -> list[Path]:
    """The folders in which the image of a file may lie: that of the same name first."""
    if images is None:
        return [file.parent]
    return [images / file.parent.relative_to(annotations), images]


class _Page(NamedTuple):
    """An XML file: its image, its size if given, and its objects: class, number, and the face or the error."""

    file: Path
    image: Path
    size: ImageSize | None
    things: list[tuple[str, int, Face | ValueError]]


def _page(found: Gathering, file: Path, images: list[Path]) -> _Page | None:
    """The content of a file; None, with a problem reported, if it is not XML."""
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"has more than {LARGEST} bytes")
        root = ET.parse(file, ET.XMLParser(target=_NoDocumentType())).getroot()
        if root.tag != "annotation":
            raise ValueError(f"is a <{root.tag}>, expected an <annotation>")
        path = _image(root, file, images)
    except (
        ET.ParseError,
        ValueError,
        LookupError,
        OSError,
        MemoryError,
    ) as error:  # LookupError: unknown encoding
        found.problems.append(Problem(str(file), f"{error}; file left out"))
        return None
    things = [(_text(thing, "name"), i, _face_or_error(thing)) for i, thing in enumerate(root.iterfind("object"), 1)]
    return _Page(file, path, _size(root), things)


def _face_or_error(thing: ET.Element) -> Face | ValueError:
    try:
        return _face(thing)
    except ValueError as error:
        return error


def _size(root: ET.Element) -> ImageSize | None:
    sides = [_text(root, f"size/{side}") for side in ("height", "width")]
    good = all(side.isascii() and side.isdigit() and len(side) < 10 for side in sides)
    return known_size(int(sides[0]), int(sides[1])) if good else None


def _add_page(found: Gathering, page: _Page, taken: Collection[str]) -> None:
    faces, complete = [], True
    for name, number, face in page.things:
        if name in taken and isinstance(face, Face):
            faces.append(face)
        elif name in taken:
            found.problems.append(Problem(str(page.file), f"object {number}: {face}; left out"))
            complete = False
    found.add(page.image, faces, complete, page.size)


class _NoDocumentType(ET.TreeBuilder):
    """Builds the tree of a document without DOCTYPE, hence without entities, which can read files or exhaust memory.

    The parser calls `doctype` before it reads any declaration, whatever the encoding of the file.
    """

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise ValueError(f"declares a document type {name!r}, expected plain XML")


def _image(root: ET.Element, file: Path, images: list[Path]) -> Path:
    """The image named in the file, else one with the file's own name: many tools store a path of another machine."""
    named = _text(root, "filename").replace("\\", "/").rsplit("/", 1)[-1]
    for name in filter(None, (named, file.stem)):
        for folder in images:
            if path := find_image(folder, name):
                return path
    raise ValueError(f"no image {named or file.stem!r} in {images[-1]}, with this or another suffix")


def _face(thing: ET.Element) -> Face:
    corners = [f"bndbox/{name}" for name in ("xmin", "ymin", "xmax", "ymax")]  # any order in the file
    values = numbers(" ".join(_text(thing, corner) for corner in corners))
    if len(values) != 4:
        raise ValueError(f"{len(values)} numbers in its bndbox, expected xmin ymin xmax ymax")
    x1, y1, x2, y2 = values
    return Face((x1 - 1, y1 - 1, x2, y2), ignore=_text(thing, "difficult") == "1" or is_doubtful(_text(thing, "name")))


def _text(element: ET.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
