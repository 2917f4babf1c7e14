"""`mtcnn export`: a net as an ONNX file."""

from __future__ import annotations

from pathlib import Path

import click

from mtcnn.detectors import DETECTORS

from .group import command
from .options import DIR, NETS, PATH


@command("export")
@click.argument("form", type=click.Choice(["onnx"]), metavar="onnx")
@click.argument("out", type=PATH)
@click.option("--net", type=click.Choice([*NETS.values(), *DETECTORS]), required=True, help="Which net.")
@click.option("--models", type=DIR, help="Folder with its weights.  [default: the packaged ones]")
def export(form: str, out: Path, net: str, models: Path | None) -> None:
    """Write a net as an ONNX file.

    The file, OUT, takes any number of images of any size.

    Its input is RGB from 0 to 255, float32 (N, 3, H, W); its outputs are logits and codes, as docs/detectors.md tells.
    It is run by onnxruntime on several sizes, and compared with torch, before it is handed over.

    \b
    mtcnn export --net retinaface onnx retinaface.onnx --models models
    mtcnn export --net pnet onnx pnet.onnx
    """
    from mtcnn.export import export_onnx

    made = export_onnx(net, out, models)
    sizes = ", ".join("x".join(map(str, size)) for size in made.checked)
    click.echo(f"{made.path}: {', '.join(made.outputs)}; equal to torch within {made.difference:.1g} at {sizes}")
