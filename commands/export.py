"""`mtcnn export`: a net as an ONNX file."""

from __future__ import annotations

from pathlib import Path

import click

from mtcnn.detectors import DETECTORS

from .group import command
from .options import COUNT, DIR, FILE, NETS, NetType

NAMES = [*NETS.values(), *DETECTORS]


@command("export")
@click.argument("words", nargs=-1, metavar="NET [OUT]")
@click.option("--net", type=NetType(NAMES), help=f"The net, instead of NET: {', '.join(NAMES)}.")
@click.option("--models", type=DIR, help="Folder with its weights.  [default: the packaged ones]")
@click.option("--shape", type=COUNT, nargs=2, metavar="HEIGHT WIDTH",
              help="Take images of this size only: the graph is simplified.")  # fmt: skip
@click.option("--batch", type=COUNT, help="Images at a time, with --shape.  [default: 1]")
def export(
    words: tuple[str, ...], net: str | None, models: Path | None, shape: tuple[int, int] | None, batch: int | None
) -> None:
    """Write a net as an ONNX file.

    The file, OUT, takes any number of images of any size, unless --shape is given.  [default: NET.onnx]

    The input is RGB from 0 to 255, float32 (N, 3, H, W); the outputs are logits and codes, see docs/detectors.md. SCRFD
    is exported as programs that run it expect: with scaled input, and scores instead of logits. Before the file is
    written, its outputs in onnxruntime are compared with torch's at several sizes.

    \b
    mtcnn export pnet
    mtcnn export retinaface retinaface.onnx --models models --shape 480 640
    """
    from mtcnn import export as write

    context = click.get_current_context()
    left = [word for word in words if word != "onnx"]  # the format, which once had to be named
    name = net or (NetType(NAMES).convert(left.pop(0), None, context) if left else None)
    if name is None or len(left) > 1:
        raise click.UsageError(f"a net and at most one file are expected; name one of {', '.join(NAMES)}")
    out = FILE.convert(left[0], None, context) if left else None
    made = write(name, out, models, shape=shape, batch=batch)
    sizes = ", ".join("x".join(map(str, size)) for size in made.checked)
    click.echo(f"{made.path}: {', '.join(made.outputs)}; equal to torch within {made.difference:.1g} at {sizes}")
