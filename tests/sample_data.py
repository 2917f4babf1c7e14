"""Small files in the formats of WIDER FACE, FDDB and landmark labels, for tests of whole commands.

Photos are drawn scenes, and their "detections" are the labels, slightly moved.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import write_clip
from numpy.typing import NDArray

from mtcnn.pictures.draw import save_image
from prepare.synthetic import CSV_HEADER, draw_scene
from prepare.teachers.calibration import Calibration, Logistic

Rows = Mapping[str, Sequence[Sequence[float]]]  # image name -> rows of numbers

EVENT = "0--Drawn"
HEIGHT, WIDTH = 120, 160


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def block(name: str, rows: Sequence[Sequence[float]]) -> str:
    """An image in WIDER's and FDDB's files: name, count, rows."""
    lines = [name, str(len(rows)), *(" ".join(f"{value:.6g}" for value in row) for row in rows)]
    return "\n".join(lines) + "\n"


def write_detections(folder: Path, found: Rows) -> Path:
    """<folder>/<event>/<image>.txt, from "<event>/<image>" -> rows x y w h score."""
    for name, rows in found.items():
        write_text(folder / f"{name}.txt", block(name.split("/")[-1], rows))
    return folder


def write_mats(
    folder: Path,
    boxes: Rows,
    counted: Mapping[str, Mapping[str, Sequence[int]]],
    attributes: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
) -> Path:
    """The four official .mat files: boxes x y w h, and by difficulty the numbers, from 1, of those that count.

    attributes  name -> image -> value of each box.
    """
    savemat: Any = pytest.importorskip("scipy.io").savemat
    events = list(dict.fromkeys(name.split("/")[0] for name in boxes))
    images = [[name for name in boxes if name.split("/")[0] == event] for event in events]
    names = {
        "event_list": _cells(events),
        "file_list": _cells([_cells([name.split("/")[1] for name in of]) for of in images]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    rows = _cells([_cells([np.array(boxes[name], float).reshape(-1, 4) for name in of]) for of in images])
    labels = {
        f"{attribute}_label_list": _cells([_cells([np.array(of[name], np.uint8).reshape(-1, 1) for name in images_of])
                                           for images_of in images])
        for attribute, of in (attributes or {}).items()
    }  # fmt: skip
    savemat(folder / "wider_face_val.mat", {**names, "face_bbx_list": rows, **labels})
    for difficulty, keep in counted.items():
        lists = [_cells([np.array(keep[name], np.uint8).reshape(-1, 1) for name in of]) for of in images]
        savemat(folder / f"wider_{difficulty}_val.mat", {**names, "gt_list": _cells(lists)})
    return folder


def _cells(values: Sequence[Any]) -> NDArray[np.object_]:
    """Matlab's cell column (N, 1)."""
    column = np.empty((len(values), 1), object)
    for i, value in enumerate(values):
        column[i, 0] = value
    return column


def scenes(count: int) -> dict[str, tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any]]]:
    """ "<event>/<image>" -> image, boxes xyxy (G, 4), landmarks (G, 5, 2), of scenes that have faces."""
    found: dict[str, tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any]]] = {}
    for index in range(10 * count):
        image, boxes, landmarks = draw_scene(7, index, HEIGHT, WIDTH)
        if len(boxes) and len(found) < count:
            found[f"{EVENT}/0_Drawn_{index}"] = image, boxes, landmarks
    return found


def to_xywh(boxes: NDArray[Any], *more: float) -> list[list[float]]:
    return [[float(x1), float(y1), float(x2 - x1), float(y2 - y1), *more] for x1, y1, x2, y2 in boxes]


def lay_out(folder: Path, count: int = 3) -> Path:
    """Everything that the commands in the documentation name, in one folder, by those names. Returns it.

    photo.jpg  img.jpg  photos/  images/<event>/  originalPics/    the same drawn scenes
    names.txt  clip.mp4                                     a list of two of the photos, and the scenes as a video
    ground_truth/  list.txt  labels.txt                     WIDER FACE: official lists, names, labels as text
    found.tar.xz  found.zip                                 detections of all scenes
    FDDB-folds/  sizes.csv  result.txt                      FDDB: the scenes' faces as ellipses, one fold
    faces_test.csv                                          landmarks
    calibration.json                                        a calibration that changes nothing
    eval.txt                                                a hash of a photo that is none of these
    """
    drawn = scenes(count)
    truth = {name: to_xywh(boxes) for name, (_, boxes, _) in drawn.items()}
    _write_photos(folder, drawn)
    everyone = {name: range(1, len(rows) + 1) for name, rows in truth.items()}
    write_mats(folder / "ground_truth", truth, dict.fromkeys(("easy", "medium", "hard"), everyone))
    write_text(folder / "list.txt", "".join(f"{name}.jpg\n" for name in truth))
    rows = {name: [[*row, 0, 0, 0, 0, 0, 0] for row in of] for name, of in truth.items()}
    write_text(folder / "labels.txt", "".join(block(f"{name}.jpg", of) for name, of in rows.items()))
    _write_found(
        folder, {name: to_xywh(boxes + 1, 0.9 - 0.1 * i) for i, (name, (_, boxes, _)) in enumerate(drawn.items())}
    )
    _write_fddb(folder, drawn)
    points = [
        f"images/{name}.jpg," + ",".join(f"{value:.2f}" for value in (*box, *face.ravel()))
        for name, (_, boxes, landmarks) in drawn.items()
        for box, face in zip(boxes, landmarks, strict=True)
    ]
    Calibration({"retinaface": Logistic(), "yunet-n": Logistic()}).write(folder / "calibration.json")
    write_text(folder / "eval.txt", "0123456789abcdef\n")
    write_text(folder / "faces_test.csv", "\n".join([CSV_HEADER, *points]) + "\n")
    return folder


def _write_photos(folder: Path, drawn: Mapping[str, tuple[Any, ...]]) -> None:
    for i, (name, (image, *_)) in enumerate(drawn.items()):
        for path in (f"images/{name}", f"photos/{i}", f"originalPics/2002/07/24/big/img_{i}"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            save_image(folder / f"{path}.jpg", image)
    for path in ("photo.jpg", "img.jpg"):
        save_image(folder / path, next(iter(drawn.values()))[0])
    write_text(folder / "names.txt", "photo.jpg\nphotos/1.jpg\n")
    write_clip(folder / "clip.mp4", [image for image, *_ in drawn.values() for _ in range(4)])


def _write_found(folder: Path, found: Rows) -> None:
    files = write_detections(folder / "found", found)
    with tarfile.open(folder / "found.tar.xz", "w:xz") as archive:
        archive.add(files, ".")
    with zipfile.ZipFile(folder / "found.zip", "w") as zipped:
        for path in files.rglob("*.txt"):
            zipped.write(path, path.relative_to(files).as_posix())


def _write_fddb(folder: Path, drawn: Mapping[str, tuple[Any, ...]]) -> None:
    fold, result, sizes = "", "", "path,width,height\n"
    for i, (_, boxes, _) in enumerate(drawn.values()):
        name = f"2002/07/24/big/img_{i}"
        ellipses = [[h / 2, w / 2, np.pi / 2, x + w / 2, y + h / 2, 1] for x, y, w, h in to_xywh(boxes)]
        fold += block(name, ellipses)
        result += block(name, to_xywh(boxes, 0.9 - 0.1 * i))
        sizes += f"{name},{WIDTH},{HEIGHT}\n"
    write_text(folder / "FDDB-folds/FDDB-fold-01-ellipseList.txt", fold)
    write_text(folder / "result.txt", result)
    write_text(folder / "sizes.csv", sizes)
