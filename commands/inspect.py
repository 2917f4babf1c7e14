"""`mtcnn inspect`: the training targets of an image."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mtcnn.detectors import DETECTORS
from mtcnn.detectors.decoders import SsdCodes

from .group import Group, command, say
from .options import DIR, FILE, PATH, NetType

ANCHORED = [name for name, spec in DETECTORS.items() if isinstance(spec.decoder, SsdCodes)]


@click.group("inspect", cls=Group)
def inspect() -> None:
    """Inspect training targets."""


@command("matching", inspect, renamed={"--model": "--net"})
@click.argument("image", type=PATH)
@click.argument("labels", required=False)
@click.option("--net", type=NetType(ANCHORED), required=True, help=f"Net with these anchors: {', '.join(ANCHORED)}.")
@click.option("--work", type=DIR, help="Work folder with the recipe.  [default: the packaged one]")
@click.option("--draw", type=FILE, help="Draw the matched anchors to this picture.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def inspect_matching(image: Path, labels: str | None, net: str, work: Path | None, draw: Path | None,
                     as_json: bool) -> None:  # fmt: skip
    """Number of anchors matched with each face of an image.

    They are counted before and after S3FD's second stage.

    LABELS is a WIDER FACE text file, or FORMAT:PATH[:IMAGES] as for `train --data`. Without it, the faces are
    detections of the packaged cascade.

    \b
    mtcnn inspect matching photo.jpg --net s3fd --draw matching.png
    mtcnn inspect matching photo.jpg wider_face_train_bbx_gt.txt --net retinaface
    """
    from mtcnn.files.outputs import note_output
    from mtcnn.pictures.draw import check_target, save_image
    from mtcnn.stream.places import identity
    from stages.photos.match_report import match_report

    if draw:
        check_target(draw)
        if identity(draw) == identity(image):
            raise click.UsageError(f"--draw {draw} is the image itself; expected another file")
    report = match_report(net, image, labels, work)
    click.echo(json.dumps({"image": str(image), "faces": report.rows()}) if as_json else report.table())
    if draw:
        note_output(draw, own_folder=False)
        save_image(draw, report.picture())
        say(f"picture: {draw}")
