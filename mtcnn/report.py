"""Detection over files: which images a user means, and their faces as text, CSV, JSON lines and pictures."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from glob import glob, has_magic
from io import TextIOWrapper
from itertools import chain, count
from pathlib import Path
from typing import Any, Literal, TextIO

from tqdm import tqdm

from .cascade import Detector
from .draw import SAVE_SUFFIXES, draw_faces, save_image
from .errors import ImageError
from .images import SUFFIXES, read_image
from .types import Faces, ImageSize

__all__ = ["detect_files", "image_files", "picture_paths"]

Style = Literal["text", "csv", "json"]


def image_files(named: Iterable[Path]) -> Iterator[Path]:
    """The image files that a user names: files as they are, folders searched through, patterns expanded, in order."""
    for path in named:
        if path.is_dir():
            files = (file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES)
            yield from (file for file in files if not file.is_dir())
        elif not path.exists() and has_magic(str(path)):
            yield from image_files(Path(name) for name in sorted(glob(str(path), recursive=True)))
        else:
            yield path


def _text(path: Path, size: ImageSize, faces: Faces) -> Iterator[str]:
    yield f"{path}: {len(faces)} face{'' if len(faces) == 1 else 's'}"
    for face in faces.to_dicts():
        x1, y1, x2, y2 = face["box"]
        yield f"  {x1:8.1f} {y1:8.1f} {x2:8.1f} {y2:8.1f}  score {face['score']:.3f}"


def _json(path: Path, size: ImageSize, faces: Faces) -> Iterator[str]:
    found = {"image": str(path), "width": size.width, "height": size.height, "faces": faces.to_dicts()}
    yield json.dumps(found, ensure_ascii=False)


POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COLUMNS = ("image", "x1", "y1", "x2", "y2", "score", *(f"{axis}_{point}" for point in POINTS for axis in "xy"))


def _csv(path: Path, size: ImageSize, faces: Faces) -> Iterator[Sequence[Any]]:
    for face in faces.to_dicts():
        yield (path, *face["box"], face["score"], *(v for point in face.get("landmarks", ()) for v in point))


def _writer(style: Style, out: TextIO) -> Callable[[Path, ImageSize, Faces], None]:
    """A function that prints the faces of one image in `style`."""
    if style == "csv":
        table = csv.writer(out, lineterminator="\n")
        table.writerow(COLUMNS)
        return lambda *found: table.writerows(_csv(*found))
    lines = _json if style == "json" else _text

    def write(path: Path, size: ImageSize, faces: Faces) -> None:
        for line in lines(path, size, faces):
            out.write(f"{line}\n")
        out.flush()

    return write


def picture_paths(draw: Path, images: Sequence[Path]) -> list[Path]:
    """Where the pictures of `images` go: to `draw` itself when it names an image file, else into that folder.

    No two go to one file, and none to one of `images`: a number makes the name another. Raises ValueError when `draw`
    is a file and cannot take these pictures.
    """
    taken = {image.resolve() for image in images}
    writable = draw.suffix.lower() in SAVE_SUFFIXES
    if not draw.is_dir() and (writable or draw.exists()):
        if len(images) > 1 or not writable or draw.resolve() in taken:
            raise ValueError(f"--draw {draw} is a file; expected a folder, or a new image file for a single picture")
        return [draw]
    targets = []
    for image in images:
        suffix = image.suffix if image.suffix.lower() in SAVE_SUFFIXES else ".png"
        names = chain([image.stem], (f"{image.stem}-{number}" for number in count(2)))
        targets.append(next(path for name in names if (path := draw / f"{name}{suffix}").resolve() not in taken))
        taken.add(targets[-1].resolve())
    return targets


def _files(named: Sequence[Path]) -> tuple[list[Path], int]:
    """All image files that are named, and how many names stand for none, which are printed to stderr."""
    found = {name: list(image_files([name])) for name in named}
    for name, files in found.items():
        if not files:
            print(f"mtcnn: no image in {name}; expected image files, folders of them, or patterns", file=sys.stderr)
    return [file for files in found.values() for file in files], sum(not files for files in found.values())


def detect_files(
    named: Sequence[Path], style: Style, draw: Path | None, settings: dict[str, Any], out: TextIO | None = None
) -> bool:
    """Detect over files and folders; print results as they come, problems to stderr. True when there were none.

    draw      folder, or image file, to write pictures to; see `picture_paths`.
    settings  keyword arguments of Detector.

    Raises ValueError for settings or a `draw` that make no sense, before anything is printed.
    """
    out = out or sys.stdout
    if isinstance(out, TextIOWrapper):
        out.reconfigure(errors="surrogateescape")  # a name that is no valid text is printed as it is stored
    files, bad = _files(named)
    targets = None if draw is None else picture_paths(draw, files)
    detector = Detector(**settings)
    write = _writer(style, out)
    for i, path in enumerate(tqdm(files, unit="img", disable=len(files) < 2 or not sys.stderr.isatty())):
        try:
            image = read_image(path)
        except ImageError as error:
            tqdm.write(f"mtcnn: skipped {error}", file=sys.stderr)
            bad += 1
            continue
        faces = detector.detect(image)
        write(path, ImageSize(*image.shape[:2]), faces)
        if targets is not None:
            with suppress(OSError):  # what is wrong with the folder, save_image tells
                targets[i].parent.mkdir(parents=True, exist_ok=True)
            save_image(targets[i], draw_faces(image, faces))
    return bad == 0
