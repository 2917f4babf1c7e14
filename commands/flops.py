"""`mtcnn flops`: what a net costs."""

from __future__ import annotations

import dataclasses
import json

import click

from mtcnn.detectors import DETECTORS
from mtcnn.metrics.tables import markdown_table
from mtcnn.weights import SIDES

from .group import command
from .options import COUNT, NetType

LARGEST = 1 << 16  # pixels of a side: above all images, and far below what torch can count


@command("flops")
@click.argument("net", type=NetType([*SIDES, *DETECTORS]), metavar="NET")
@click.option("--size", type=COUNT, nargs=2, metavar="HEIGHT WIDTH",
              help="Size of the image, pixels.  [default: 480 640; the crop of rnet, onet and cnet]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def flops(net: str, size: tuple[int, int] | None, as_json: bool) -> None:
    """Parameters and multiply-adds of a net, in total and by part.

    They are for one image or crop, and for PNet one level of the pyramid. No weights are needed. The figures of thop
    count a bias as one and batch norm as four per value; mmcv counts batch norm as two, and ReLU and pooling as one.

    \b
    mtcnn flops retinaface --size 240 320
    mtcnn flops scrfd-2.5g
    mtcnn flops onet --json
    """
    import torch

    from mtcnn.detectors.load import build
    from mtcnn.flops import cost
    from mtcnn.nets import CLASSES

    side = None if net == "pnet" else SIDES.get(net)
    height, width = size or ((side, side) if side else (480, 640))
    if max(height, width) > LARGEST:
        raise click.UsageError(f"--size is {height} {width}; expected sides of at most {LARGEST}")
    with torch.device("meta"):
        try:
            counted = cost(CLASSES[net]() if net in CLASSES else build(net), height, width)
        except RuntimeError:  # a map without pixels, or a dense layer with another number of inputs
            wrong = (
                f"; expected {side} {side}, the crop of {net}"
                if side
                else f", too small for {net}; expected larger sides"
            )
            raise click.UsageError(f"--size is {height} {width}{wrong}") from None
    if as_json:
        plain = {"net": net, "size": [height, width], **dataclasses.asdict(counted), "thop": counted.thop}
        parts = [part._asdict() for part in counted.parts]
        click.echo(json.dumps({**plain, "mmcv": counted.mmcv, "parts": parts}))
    else:
        click.echo(
            f"{net} at {height} x {width}: {counted.parameters:,} parameters, {counted.multiply_adds / 1e6:.1f} M "
            f"multiply-adds ({2 * counted.multiply_adds / 1e9:.2f} GFLOPs); {counted.thop / 1e6:.1f} M by thop, "
            f"{counted.mmcv / 1e6:.1f} M by mmcv\n"
        )
        rows = [[part.name, f"{part.parameters:,}", f"{part.multiply_adds / 1e6:.1f} M"] for part in counted.parts]
        click.echo(markdown_table(["part", "parameters", "multiply-adds"], rows))
