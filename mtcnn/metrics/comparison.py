"""Compares detectors in one evaluation: given detection files, and a detector run over photos.

The commands `mtcnn eval wider|fddb|landmarks`, without their printing. The detector is a function from named photos to
their faces (`detections.detect_all` with its other arguments bound), so it may be any detector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mtcnn.errors import DataError, MtcnnError
from mtcnn.files.outputs import check_place
from mtcnn.metrics import fddb, landmarks, wider
from mtcnn.metrics.detections import event_photos
from mtcnn.metrics.problems import Problems
from mtcnn.terminal import printable
from mtcnn.types import Faces

from ..errors import SettingsError

__all__ = ["OWN", "fddb_results", "landmark_results", "named_files", "wider_results"]

DetectPhotos = Callable[[Mapping[str, Path]], Mapping[str, Faces]]

OWN = "mtcnn"  # name in tables of the detector that is run


def named_files(values: Iterable[str]) -> dict[str, Path]:
    """NAME=PATH arguments as name -> path; NAME defaults to the file's name.

    Raises SettingsError for a name given twice, or reserved for the detector that is run, and where either is empty.
    """
    files: dict[str, Path] = {}
    for value in values:
        name, path = Path(value).name, value
        if "=" in value and not Path(value).exists():
            name, path = value.split("=", 1)
        if not name or not path:  # a path without text would be this folder
            raise SettingsError(f"{value}: the {'path' if name else 'name'} is empty; expected NAME=PATH, or PATH")
        if name in files or name == OWN:
            raise SettingsError(f"{value}: the name {name!r} is taken; expected one of its own: NAME={path}")
        files[printable(name)] = Path(path)
    return files


def _check_any(files: Mapping[str, Path], photos: Path | None) -> None:
    if not files and photos is None:
        raise SettingsError("nothing to evaluate; expected `detections`, or `photos` to run this project's detector")


def _check_known(path: Path, found: Mapping[str, Any], images: Mapping[str, Any], where: str) -> None:
    """Raises DataError for detections in no image that is evaluated: of another data set, or no detections at all."""
    if found.keys().isdisjoint(images):
        name = next(iter(images), "")
        raise DataError(f"{path}: no detections of images in {where}; expected some of its images, such as {name}")


def wider_results(
    files: Mapping[str, Path],
    ground_truth: Path,
    images: Path | None = None,
    photos: Path | None = None,
    detect: DetectPhotos | None = None,
    write: Path | None = None,
    problems: Problems | None = None,
    progress: bool = False,
) -> dict[str, wider.WiderResult]:
    """WIDER FACE results by the detector's name.

    files   name -> detections (`wider.load_detections`).   ground_truth  see `wider.GroundTruth.load`.
    images  the images to evaluate (`wider.load_image_list`); default: those in `photos`, if given.
    photos  folder of <event>/<image>.jpg to run `detect` on.   write  folder for its detections.
    Raises SettingsError without files and photos; so does `fddb_results`.
    """
    _check_any(files, photos)
    if write is not None:
        check_place(write, folder=True)
    problems = Problems.default(problems)
    truth = wider.GroundTruth.load(ground_truth, problems)
    chosen = None if images is None else wider.load_image_list(images)
    found = {name: wider.load_detections(path, problems, progress) for name, path in files.items()}
    for name, path in files.items():
        _check_known(path, found[name], truth.boxes, "the ground truth")
    if photos is not None and detect is not None:
        paths = event_photos(photos, chosen)
        found[OWN] = {name: wider.faces_to_rows(faces) for name, faces in detect(paths).items()}
        if write is not None:
            wider.write_detections(write, found[OWN])
        if chosen is None and not truth.boxes.keys() <= paths.keys():
            chosen = list(paths)
    return {name: wider.evaluate(truth, rows, chosen, problems, progress) for name, rows in found.items()}


def fddb_results(
    files: Mapping[str, Path],
    folds: Path,
    sizes: Path | None = None,
    photos: Path | None = None,
    detect: DetectPhotos | None = None,
    write: str | None = None,
    problems: Problems | None = None,
    progress: bool = False,
) -> dict[str, fddb.FddbResult]:
    """FDDB results by the detector's name.

    files  name -> result file or folder (`fddb.load_results`); without any, `detect` runs on `photos`.
    folds  the folder FDDB-folds.   sizes  a table of image sizes, which takes precedence over `photos`.
    photos folder of <name>.jpg, of every image in the folds.
    write  prefix of the output files: both ROC curves, and the detections of `detect`. With several `files`, their
           names become part of it.
    """
    _check_any(files, photos)
    if write is not None:
        check_place(Path(f"{write}DiscROC.txt"))
    problems = Problems.default(problems)
    faces = fddb.load_folds(folds, problems)
    known = fddb.sizes_of_images(photos, faces) if photos else {}
    known |= fddb.load_sizes(sizes, problems) if sizes else {}
    found = {name: fddb.load_results(path, problems) for name, path in files.items()}
    for name, path in files.items():
        _check_known(path, found[name], faces, "the folds")
    if not found and photos is not None and detect is not None:
        if not any((photos / f"{name}.jpg").is_file() for name in faces):
            raise DataError(f"{photos}: no photo of the folds in it; expected {next(iter(faces))}.jpg below it")
        seen = detect({name: photos / f"{name}.jpg" for name in faces})
        found[OWN] = {name: wider.faces_to_rows(value) for name, value in seen.items()}
        if write is not None:
            fddb.write_results(f"{write}detections.txt", found[OWN])
    results = {}
    for name, rows in found.items():
        results[name] = fddb.evaluate(faces, rows, known, problems, progress)
        if write is not None:
            results[name].write(write if len(found) == 1 else f"{write}{name}-")
    return results


def landmark_results(
    labels: Path,
    photos: Path | None,
    detect: DetectPhotos,
    problems: Problems | None = None,
    progress: bool = False,
) -> dict[str, landmarks.LandmarkResult]:
    """Landmark errors of `detect` on the faces of a CSV file, whose paths are relative to `photos` or to the file."""
    problems = Problems.default(problems)
    truths = landmarks.load_landmarks(labels, problems)
    folder = photos or labels.parent
    if not any((folder / name).is_file() for name in truths):
        raise DataError(f"{folder}: no photo of {labels} in it; expected {next(iter(truths), 'photos')} below it")
    found = detect({name: folder / name for name in truths})
    if any(len(faces) and faces.landmarks is None for faces in found.values()):
        raise MtcnnError("these models find no landmarks to measure; name others with `models` or `detector`")
    return {OWN: landmarks.evaluate(truths, found, problems, progress)}
