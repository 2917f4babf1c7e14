"""Pascal VOC: one XML file per image, as many labelling tools write it.

The image lies in `JPEGImages` where the XML files lie in `Annotations`, or beside its XML file. VOC counts pixels from
1 and includes the last one, so its box `xmin ymin xmax ymax` is (xmin - 1, ymin - 1, xmax, ymax) here.
Source: the development kit of the VOC challenge 2012, section 3.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection
from pathlib import Path
from typing import NoReturn

from mtcnn.errors import DataError

from ..records import ImageRecord, Problem
from .label_file import Face, Gathering, find_image, numbers

__all__ = ["read"]


def read(
    folder: Path, images: Path | None = None, names: Collection[str] | None = None
) -> tuple[list[ImageRecord], list[Problem]]:
    """An image for each XML file of `folder/Annotations`, or else of `folder` and the folders below.

    images  the folder with the images; default: `JPEGImages` for `Annotations`, otherwise that of each XML file.
    names   what objects to take for faces, such as {"face"}; None takes all.

    Objects marked difficult are ignored ones. A bad object is left out and its image marked incomplete; a file that is
    no XML or declares a document type is left out whole. Raises DataError without folder or XML files.
    """
    annotations = folder / "Annotations" if (folder / "Annotations").is_dir() else folder
    files = sorted(annotations.rglob("*.xml"))
    if not files:
        raise DataError(f"{folder}: holds no XML file; give a folder with Annotations and JPEGImages, or of XML files")
    if images is None and annotations != folder:
        images = folder / "JPEGImages"
    if images is not None and not images.is_dir():
        raise DataError(f"{images}: no such image folder; give it as voc:DIR:IMAGES")
    found = Gathering(folder, folder)
    for file in files:
        _add_file(found, file, images or file.parent, names)
    return found.result()


def _add_file(found: Gathering, file: Path, images: Path, names: Collection[str] | None) -> None:
    try:
        root = ET.parse(file, ET.XMLParser(target=_NoDocumentType())).getroot()
        if root.tag != "annotation":
            raise ValueError(f"is a <{root.tag}>, expected an <annotation>")
        path = _image(root, file, images)
    except (ET.ParseError, ValueError, LookupError, OSError) as error:  # LookupError: an encoding nobody knows
        found.problems.append(Problem(str(file), f"{error}; file left out"))
        return
    faces = []
    complete = True
    for number, thing in enumerate(root.iterfind("object"), 1):
        try:
            if names is None or _text(thing, "name") in names:
                faces.append(_face(thing))
        except ValueError as error:
            found.problems.append(Problem(str(file), f"object {number}: {error}; left out"))
            complete = False
    found.add(path, faces, complete)


class _NoDocumentType(ET.TreeBuilder):
    """Builds the tree of a document without DOCTYPE, and so without entities: those can read files or fill the memory.

    The parser calls `doctype` before it reads any declaration, whatever the encoding of the file.
    """

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise ValueError(f"declares a document type {name!r}, expected plain XML")


def _image(root: ET.Element, file: Path, images: Path) -> Path:
    """The image that the file names, else one named as the file: tools leave the name of another machine's path."""
    named = _text(root, "filename").replace("\\", "/").rsplit("/", 1)[-1]
    path = (find_image(images, named) if named else None) or find_image(images, file.stem)
    if path is None:
        raise ValueError(f"no image {named or file.stem!r} in {images}, with this or another suffix")
    return path


def _face(thing: ET.Element) -> Face:
    corners = [f"bndbox/{name}" for name in ("xmin", "ymin", "xmax", "ymax")]  # any order in the file
    values = numbers(" ".join(_text(thing, corner) for corner in corners))
    if len(values) != 4:
        raise ValueError(f"{len(values)} numbers in its bndbox, expected xmin ymin xmax ymax")
    x1, y1, x2, y2 = values
    return Face((x1 - 1, y1 - 1, x2, y2), ignore=_text(thing, "difficult") == "1")


def _text(element: ET.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
