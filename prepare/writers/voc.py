"""Pascal VOC: an XML file per photo; doubtful regions are objects of another class, and difficult."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtcnn.files.atomic_write import Before, write_whole

if TYPE_CHECKING:
    from ..teachers.photo_labels import PhotoLabels

__all__ = ["write"]

# What XML 1.0 cannot hold, not even escaped: control characters, and bytes of a folder's name that are no UTF-8.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(labels: Iterable[PhotoLabels], folder: Path, before: Before | None = None) -> Path:
    """Write `Annotations/<photo>.xml`. VOC counts pixels from 1 and includes the last one; landmarks and scores have no
    place in it."""
    target = folder / "Annotations"
    target.mkdir(parents=True, exist_ok=True)
    for photo in labels:
        root = ET.Element("annotation")
        _add(root, {"folder": str(photo.path.parent), "filename": Path(photo.name).name})
        _add(ET.SubElement(root, "size"), {"width": photo.size.width, "height": photo.size.height, "depth": 3})
        for name, boxes in (("face", photo.boxes), ("doubtful", photo.doubtful)):
            for box in boxes:
                _add_object(root, name, box)
        ET.indent(root)
        path = target / Path(photo.name).with_suffix(".xml")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, ET.tostring(root, "utf-8") + b"\n", before)
    return target


def _add_object(root: ET.Element, name: str, box: Any) -> None:
    x1, y1, x2, y2 = (float(value) for value in box)
    thing = ET.SubElement(root, "object")
    _add(thing, {"name": name, "pose": "Unspecified", "truncated": 0, "difficult": int(name != "face")})
    corners = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x2, "ymax": y2}
    _add(
        ET.SubElement(thing, "bndbox"),
        {corner: f"{value:.2f}".removesuffix(".00") for corner, value in corners.items()},
    )


def _add(element: ET.Element, values: dict[str, Any]) -> None:
    for name, value in values.items():
        ET.SubElement(element, name).text = _FORBIDDEN.sub("_", str(value))
