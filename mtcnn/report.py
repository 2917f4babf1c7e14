"""Detection over files: which images a user means, and their faces as text, CSV, JSON lines and pictures."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Any, Literal, TextIO

from tqdm import tqdm

from .cascade import Detector
from .draw import SAVE_SUFFIXES, draw_faces, save_image
from .errors import ImageError
from .images import SUFFIXES, read_image
from .types import Faces, ImageSize

__all__ = ["detect_files", "image_files"]

Style = Literal["text", "csv", "json"]


def image_files(named: Iterable[Path]) -> Iterator[Path]:
    """The image files that a user names: files as they are, folders searched through, patterns expanded, in order."""
    for path in named:
        if path.is_dir():
            yield from (file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES)
        elif not path.exists() and has_magic(str(path)):
            yield from (Path(name) for name in sorted(glob(str(path), recursive=True)))
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


def _picture_path(draw: Path, image: Path, single: bool) -> Path:
    """Where the picture of `image` goes: `draw` itself when it names one image file, else a file in that folder."""
    if single and draw.suffix.lower() in SAVE_SUFFIXES and not draw.is_dir():
        return draw
    return draw / (image.name if image.suffix.lower() in SAVE_SUFFIXES else f"{image.stem}.png")


def detect_files(
    named: Sequence[Path], style: Style, draw: Path | None, settings: dict[str, Any], out: TextIO | None = None
) -> bool:
    """Detect over files and folders; print results as they come, problems to stderr. True when every image was read.

    settings  keyword arguments of Detector.
    """
    out = out or sys.stdout
    detector = Detector(**settings)
    files = list(image_files(named))
    write, bad = _writer(style, out), 0
    if not files:
        print(f"mtcnn: no image in {', '.join(map(str, named))}", file=sys.stderr)
    for path in tqdm(files, unit="img", disable=len(files) < 2 or not sys.stderr.isatty()):
        try:
            image = read_image(path)
        except ImageError as error:
            print(f"mtcnn: skipped {error}", file=sys.stderr)
            bad += 1
            continue
        faces = detector.detect(image)
        write(path, ImageSize(*image.shape[:2]), faces)
        if draw is not None:
            target = _picture_path(draw, path, len(files) == 1)
            target.parent.mkdir(parents=True, exist_ok=True)
            save_image(target, draw_faces(image, faces))
    return bad == 0 and bool(files)
