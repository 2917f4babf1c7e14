"""`mtcnn data`: checks labelled photos before training, and converts them to other formats."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

from mtcnn.terminal import printable

from .group import Group, command, say
from .options import DIR, FILE


@click.group("data", cls=Group)
def data() -> None:
    """Check labelled photos before training on them, and convert them."""


@command("check", data)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--eval-hashes", type=FILE, multiple=True,
              help="Hashes of photos to exclude from training, besides the packaged ones (docs/data.md).")  # fmt: skip
@click.option("--sheet", type=FILE, help="Draw labelled photos, and photos that are nearly the same, to this picture.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a source.")
@click.option("--work", type=DIR, default=Path("work"), show_default=True,
              help="Folder that caches sizes and hashes of photos, shared with training.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="No progress bars.")
def check(
    sources: tuple[str, ...], eval_hashes: tuple[Path, ...], sheet: Path | None, as_json: bool, work: Path, quiet: bool
) -> None:
    """Summarise sources and report their problems.

    SOURCE is as for `--data` of the training commands; the format of a label file may be left out. Every photo is
    decoded once; sizes and hashes are cached for later checks and trainings.

    The exit status is 1 if training would reject a source, or leave out photos of an evaluation.

    \b
    mtcnn data check FOLDER
    mtcnn data check labels.txt wider:more.txt:images --sheet data.png
    mtcnn data check FOLDER --eval-hashes my-test-photos.txt --json
    """
    from mtcnn.pictures.draw import check_target
    from mtcnn.stream.places import check_output
    from prepare.check_sheet import check_sheet
    from prepare.photo_hashes import EvalHashes, PhotoHashes, packaged_hashes
    from prepare.photo_sizes import PhotoSizes
    from prepare.source_check import check_sources

    if sheet:
        check_target(sheet)
    evaluation = EvalHashes.read([packaged_hashes(), *eval_hashes])
    hashes, sizes = PhotoHashes(work / "photo-hashes.json"), PhotoSizes(work / "photo-sizes.json")
    try:
        found = check_sources(sources, evaluation, hashes, sizes, quiet=quiet)
    finally:  # interrupted, it goes on from here
        hashes.save()
        sizes.save()
    if sheet:
        check_output("sheet", sheet, (path for each in found for path in each.photos()))
    for each in found:
        lines = [json.dumps(each.to_dict(), ensure_ascii=False)] if as_json else each.lines()
        click.echo("\n".join(printable(line) for line in lines))
    if sheet:
        check_sheet(found, sheet)
    if not all(each.usable for each in found):
        click.get_current_context().exit(1)


FORMATS = ("celeba", "coco", "csv", "labelme", "labelv2", "retinaface", "voc", "wider", "yolo")


@command("convert", data)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.argument("folder", type=DIR, metavar="FOLDER")
@click.option("--format", "form", type=click.Choice(FORMATS), default="labelv2", show_default=True,
              help="Format to write (docs/data.md).")  # fmt: skip
@click.option("--photos", type=click.Choice(["copy", "link", "leave"]), default="copy", show_default=True,
              help="Copy photos into FOLDER, link them there, or leave them and write labels alone.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="No progress bar.")
def convert_data(sources: tuple[str, ...], folder: Path, form: str, photos: Any, quiet: bool) -> None:
    """Convert labelled photos to another format.

    SOURCE is as for `--data` of the training commands; several are joined. FOLDER must be new or empty, and not in a
    SOURCE: no file is replaced, moved or changed. What a killed conversion left is written anew. What the format has
    no place for is counted.

    \b
    mtcnn data convert FOLDER converted
    mtcnn data convert labels.txt for-yolo --format yolo
    mtcnn data convert FOLDER for-cvat --format coco --photos link
    """
    from prepare.convert import check_target, convert
    from prepare.sources import read_sources

    check_target(sources, folder)
    records = read_sources(sources, quiet=True, fitted=False)
    done = convert(records, form, folder, photos, quiet)
    for what, count in done.lost.items():
        say(f"lost: {count:,} {what}; {form} has no place for them")
    for line in done.unreadable:
        say(f"left out: {line}")
    click.echo(printable(f"{done.path}: {done.photos:,} photos, {done.faces:,} faces, {done.ignored:,} ignore regions"))
    say(f"train on them: --data {shlex.quote(done.source)}")


@command("hash", data)
@click.argument("photos", nargs=-1, required=True, type=DIR)
def hash_photos(photos: tuple[Path, ...]) -> None:
    """Print the hashes of photos, for --eval-hashes.

    PHOTOS are files, folders or patterns: the photos that you evaluate on. Photos that cannot be read are an error.

    \b
    mtcnn data hash my-test-photos > my-test-photos.txt
    """
    from mtcnn.errors import DataError
    from mtcnn.images import difference_hash
    from mtcnn.stream.sources import image_files

    found = list(image_files(photos))
    if not found:
        names = ", ".join(map(str, photos))
        raise DataError(f"{names}: no photos in it; expected image files, or folders of them; check the path")
    for path in found:
        click.echo(printable(f"{difference_hash(path):016x}  {path.name}"))
