"""`mtcnn label`: teachers label photos."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from mtcnn.terminal import printable

from .group import command, say
from .options import DIR, FILE, SOURCE, options, workers_option

FORMATS = ("labelv2", "coco", "yolo", "wider")
CALIBRATION, CALIBRATED = "calibration.json", "calibrated.json"  # in the folder of labels; what the first was made of

teacher_options = options(
    click.option("--teachers", required=True, metavar="NAME,NAME",
                 help="Detectors with weights: mtcnn, retinaface, yunet, ...; the beginning of a name is enough."),
    click.option("--models", type=DIR,
                 help="Folder with their weights, as `mtcnn weights import` writes it; those that ship come second."),
    click.option("--scales", multiple=True, metavar="[NAME=]1,1.5",
                 help="Factors by which photos are scaled for all teachers, or for one of them.  [default: 1]"),
    click.option("--flip", is_flag=True, help="Look at mirror images too."),
    click.option("--calibrate", metavar="SOURCE|FILE",
                 help="Labelled photos on which scores are made comparable, or the calibration.json of an earlier "
                 "run.  [default: scores as they are]"),
)  # fmt: skip

class_options = options(
    click.option("--sure", type=float, default=0.5, show_default=True, help="Lowest score of a face."),
    click.option("--doubtful", type=float, default=0.1, show_default=True,
                 help="Lowest score of a doubtful region, which is neither face nor background."),
    click.option("--min-landmark-face", type=float, default=16.0, show_default=True, metavar="PIXELS",
                 help="Smaller faces get no landmarks."),
)  # fmt: skip


@command("label")
@click.argument("photos", nargs=-1, type=SOURCE)
@click.option("--labels", metavar="SOURCE",
              help="Labelled photos instead: their boxes stay, and get landmarks where they have none.")  # fmt: skip
@teacher_options
@class_options
@click.option("--to", "folder", type=DIR, required=True, help="Folder for labels.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="labelv2", show_default=True,
              help="Format of the labels; wider is for `mtcnn eval wider`.")  # fmt: skip
@click.option("--sheet", type=FILE, help="Draw some faces, doubtful regions and background to this picture.")
@workers_option("Processes that run teachers; labels do not depend on their number.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def label(
    photos: tuple[Any, ...], labels: str | None, teachers: str, models: Path | None, scales: tuple[str, ...],
    flip: bool, calibrate: str | None, sure: float, doubtful: float, min_landmark_face: float, folder: Path, form: str,
    sheet: Path | None, workers: Any, quiet: bool,
) -> None:  # fmt: skip
    """Label photos with detectors, for training or for correction by hand.

    PHOTOS are image files, folders, patterns and lists, as for `mtcnn detect`. What the teachers find is joined to
    faces, doubtful regions, which a training ignores, and background.

    A repeated run resumes where it was stopped, and processes new and changed photos only; other thresholds or another
    format take seconds. Labels that were corrected since are never replaced. The exit status is 1 if a photo could not
    be read.

    \b
    mtcnn label photos --teachers retinaface,yunet-n --to labels
    mtcnn label photos --teachers retinaface,yunet,centerface --models models --scales retinaface=1,1.5 --to labels
    mtcnn label photos --teachers retinaface,yunet-n --calibrate wider:labels.txt --to labels --sheet labels.png
    mtcnn label --labels wider:labels.txt --teachers retinaface --to with-landmarks
    """
    from mtcnn.files.locks import alone_in
    from mtcnn.pictures.draw import check_target
    from mtcnn.stream.places import check_output
    from prepare.teachers.label_sheet import label_sheet
    from prepare.teachers.labelling import Counts, label_photos, open_found, read_labels, write_labels
    from prepare.teachers.photo_labels import LabelSettings
    from prepare.teachers.teacher import find_teachers
    from prepare.teachers.written import label_files
    from prepare.written_files import WrittenFiles

    began, settings = time.monotonic(), LabelSettings(sure, doubtful, min_landmark_face)
    if sheet:
        check_target(sheet)
    if bool(photos) == (labels is not None):
        raise click.UsageError("expected photos, or --labels SOURCE in their place")
    found_teachers = find_teachers([name.strip() for name in teachers.split(",")], models, scales, flip)
    records, people, problems = _photos(photos, labels)
    paths = [record.path for record in records]
    if sheet:
        check_output("sheet", sheet, paths)
    files = label_files(form, paths, folder)
    with alone_in(folder, "folder"):
        written = WrittenFiles(folder)
        written.check(files)  # now, not after hours of labelling
        calibration, key = _calibration(calibrate, found_teachers, folder, workers, quiet)
        found = open_found(folder, found_teachers, calibration)
        if key:
            _store(calibration, key, folder)
        label_photos(records, found_teachers, calibration, found, workers, quiet)
        every = read_labels(found, paths, settings, people)
        skipped = Counts(skipped=sum(path not in found for path in paths))
        written.check(files)  # again: someone may have corrected labels meanwhile
        path, counts = write_labels(every, form, written, found_teachers, settings, calibration, skipped)
        if sheet:
            label_sheet(read_labels(found, paths, settings, people), sheet)
    bad = f", {counts.skipped:,} skipped" if counts.skipped else ""
    click.echo(
        printable(
            f"{path}: {counts.photos:,} photos{bad}, {counts.sure:,} faces, {counts.doubtful:,} doubtful, "
            f"{counts.dropped:,} dropped, in {time.monotonic() - began:.1f} s"
        )
    )
    if form == "labelv2":
        from prepare.photo_names import common_folder

        say(f"train on them: --data labelv2:{path}:{common_folder(paths)}")
    if problems or counts.skipped:
        click.get_current_context().exit(1)


def _photos(photos: tuple[Any, ...], labels: str | None) -> tuple[list[Any], dict[Path, Any] | None, list[str]]:
    """The records to look at; by path those that people labelled, None where nobody did; names without a photo."""
    from mtcnn.errors import DataError, SettingsError
    from mtcnn.stream.sources import find_sources, kind_of
    from prepare import synthetic
    from prepare.joined_records import merged
    from prepare.records import ImageRecord
    from prepare.sources import read_sources

    if labels is not None:
        records = {record.path: record for record in merged(read_sources([labels], quiet=True))}
        if any(map(synthetic.is_synthetic, records)):
            raise SettingsError(
                f"labels are {labels}, drawn scenes without files; expected photos; `mtcnn data convert` writes some"
            )
        return list(records.values()), records, []
    found, problems = find_sources(photos)
    for problem in problems:
        say(f"mtcnn: {problem}")
    images = [Path(str(source)) for source in found if isinstance(source, Path) and kind_of(source) == "image"]
    if len(images) < len(found):
        say(f"mtcnn: {len(found) - len(images)} sources that are no image files passed over")
    if not images:
        raise DataError("no photo to label; expected image files or folders of them")
    return [ImageRecord(path, complete=False) for path in images], None, problems


def _calibration(given: str | None, teachers: Any, folder: Path, workers: Any, quiet: bool) -> tuple[Any, str]:
    """The calibration of a file, that of an earlier run with the same labels, or one fitted now, with what it was made
    of, to be stored; "" for the others."""
    import json
    from contextlib import suppress

    from mtcnn.errors import DataError
    from prepare.readers import form_of
    from prepare.sources import read_sources
    from prepare.teachers.calibration import Calibration
    from prepare.teachers.labelling import calibrate

    if given is None:
        return Calibration(), ""
    if given.endswith(".json") and not form_of(given):  # no labels in JSON
        read = Calibration.read(Path(given))
        read.check_teachers([teacher.name for teacher in teachers])
        return read, ""
    from stages.graph.dag import data_key

    records = read_sources([given], quiet=True)
    key = json.dumps([given, data_key(records), [teacher.to_dict() for teacher in teachers]])
    made_of, stored = folder / CALIBRATED, folder / CALIBRATION
    if stored.is_file() and made_of.is_file() and made_of.read_bytes() == key.encode():
        with suppress(DataError):  # a damaged one is made again
            return Calibration.read(stored), ""
    return calibrate(records, teachers, workers, quiet), key


def _store(calibration: Any, key: str, folder: Path) -> None:
    """Store a calibration and, once it is whole, what it was made of."""
    from mtcnn.files.atomic_write import write_whole

    (folder / CALIBRATED).unlink(missing_ok=True)
    calibration.write(folder / CALIBRATION)
    write_whole(folder / CALIBRATED, key.encode())
