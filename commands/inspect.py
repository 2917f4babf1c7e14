"""`mtcnn inspect`: what a training would learn from an image."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mtcnn.detectors import DETECTORS
from mtcnn.detectors.decoders import SsdCodes

from .group import Group, command
from .options import DIR, FILE, PATH

ANCHORED = [name for name, spec in DETECTORS.items() if isinstance(spec.decoder, SsdCodes)]


@click.group("inspect", cls=Group)
def inspect() -> None:
    """Look at what a training would be taught."""


@command("matching", inspect)
@click.argument("image", type=PATH)
@click.argument("labels", required=False)
@click.option("--model", type=click.Choice(ANCHORED), required=True, help="Whose anchors.")
@click.option("--work", type=DIR, help="Work folder with the recipe to go by.  [default: the packaged one]")
@click.option("--draw", type=FILE, help="Draw the matched anchors to this picture.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def inspect_matching(image: Path, labels: str | None, model: str, work: Path | None, draw: Path | None,
                     as_json: bool) -> None:  # fmt: skip
    """How many anchors each face of an image is learned at.

    They are counted before and after S3FD's second stage.

    LABELS is a WIDER FACE text file, or FORMAT:PATH[:IMAGES] as with `train --data`; without it, the faces are those
    that the packaged cascade finds.

    \b
    mtcnn inspect matching photo.jpg --model s3fd --draw matching.png
    mtcnn inspect matching photo.jpg wider_face_train_bbx_gt.txt --model retinaface
    """
    from stages.objectives.match_report import match_report

    report = match_report(model, image, labels, work)
    click.echo(json.dumps({"image": str(image), "faces": report.rows()}) if as_json else report.table())
    if draw:
        from mtcnn.pictures.draw import save_image

        save_image(draw, report.picture())
        click.echo(f"picture: {draw}", err=True)
